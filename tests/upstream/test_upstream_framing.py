"""Every canned answer, cut in two at every byte: without a socket, and over live ones."""

import asyncio

import pytest
from canned_answers import BAD, BODY, CAP, KEPT, LAST, Canned
from raw_upstream import Peer, listen
from read_answers import feed_all, kind_of
from upstream_loops import Run, on_both_loops

from batchmill.ports import FaultKind, Reply, Target, TransportFault
from batchmill.upstream.http import HttpTransport
from batchmill.upstream.http_answer import AnswerReader

ALL = {**KEPT, **LAST, **BAD}
LARGE = 300


def read(
    reader: AnswerReader, canned: Canned, *pieces: bytes
) -> tuple[Reply | FaultKind | None, int]:
    """What comes out of the pieces and the end behind them, and how many of them that took."""
    outcome, fed = feed_all(reader, pieces)
    if outcome is None and canned.ends:
        outcome = kind_of(reader.end())
    return outcome, fed


@pytest.mark.parametrize("name", ALL)
def test_an_answer_reads_the_same_however_it_is_cut(name: str) -> None:
    canned = ALL[name]
    data = canned.data
    cuts = [[data[:at], data[at:]] for at in range(1, len(data))]
    bytewise = [data[at : at + 1] for at in range(len(data))]
    for pieces in [[data], bytewise, *cuts]:
        reader = AnswerReader(CAP, lambda: 0.0)
        outcome, fed = read(reader, canned, *pieces)
        assert outcome == canned.outcome
        # What is not fed any more would come on an idle connection, and end it.
        assert (reader.is_reusable and fed == len(pieces)) == (name in KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_an_answer_that_is_cut_off_is_none(name: str) -> None:
    data = KEPT[name].data
    for size in range(len(data)):
        reader = AnswerReader(CAP)
        assert reader.feed(data[:size]) is None
        assert reader.end() is None


@pytest.mark.parametrize("first", KEPT)
def test_no_answer_leaves_anything_to_the_next(first: str) -> None:
    for second, canned in ALL.items():
        reader = AnswerReader(CAP, lambda: 0.0)
        assert reader.feed(KEPT[first].data)
        assert reader.is_reusable
        assert read(reader, canned, canned.data)[0] == canned.outcome, second


class Cutter:
    """Answers with what is canned, cut at each byte in turn."""

    def __init__(self, canned: Canned) -> None:
        self._canned = canned
        self._next = 0

    @property
    def cuts(self) -> range:
        data = self._canned.data
        return range(1, len(data), 1 + len(data) // LARGE)

    async def play(self, peer: Peer) -> None:
        while True:
            await peer.receive()
            at = self.cuts[self._next]
            self._next += 1
            await peer.send(self._canned.data[:at])
            await asyncio.sleep(0)
            await peer.send(self._canned.data[at:])
            if self._canned.ends:
                return


async def outcome_over(transport: HttpTransport) -> Reply | FaultKind:
    try:
        return await transport.send("/x", BODY, "k")
    except TransportFault as fault:
        return fault.kind


@on_both_loops
@pytest.mark.parametrize("name", ALL)
def test_an_answer_is_the_same_over_a_socket_however_it_is_cut(run: Run, name: str) -> None:
    async def main() -> None:
        cutter = Cutter(ALL[name])
        async with listen(cutter.play) as upstream:
            target = Target(f"http://127.0.0.1:{upstream.port}", max_answer_bytes=CAP)
            transport = HttpTransport(target)
            for at in cutter.cuts:
                outcome = await outcome_over(transport)
                if name in LAST and not ALL[name].ends:
                    # What comes late may have been taken for a part of the next answer.
                    await transport.close()
                    transport = HttpTransport(target)
                assert outcome == ALL[name].outcome, at
            assert (upstream.connections == 1) == (name in KEPT)
            await transport.close()
            await upstream.wait_until_left()

    run(main())
