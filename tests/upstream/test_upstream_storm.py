"""Thousands of requests at once at a server that misbehaves: every answer is its own request's."""

import asyncio
import random
import resource
from collections import Counter

import pytest
import uvloop
from raw_upstream import Peer, listen, plain
from upstream_loops import run_on
from upstream_transports import Make, on_both_transports

from batchmill.cli.descriptors import open_many
from batchmill.ports import TransportFault

pytestmark = pytest.mark.slow

IN_FLIGHT = 5_000
REQUESTS = 20_000
LONGEST = 6_000
SEEN = 1_000

# How often of a hundred times.
FAULTS = {
    "none": 60,
    "split": 10,
    "chunks": 10,
    "interim": 5,
    "cut": 5,
    "reset": 4,
    "twice": 3,
    "close": 3,
}


class Storm:
    """Echoes bodies: whole, in pieces, twice, too short, after another one's, or not at all."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.faults: Counter[str] = Counter()

    async def play(self, peer: Peer) -> None:
        while True:
            _, body = await peer.receive()
            [fault] = self._chance.choices(list(FAULTS), list(FAULTS.values()))
            self.faults[fault] += 1
            if not await getattr(self, f"_{fault}")(peer, body):
                return

    async def _none(self, peer: Peer, body: bytes) -> bool:
        await peer.send(plain(body))
        return True

    async def _split(self, peer: Peer, body: bytes) -> bool:
        answer = plain(body)
        at = self._chance.randrange(1, len(answer))
        await peer.send(answer[:at])
        await asyncio.sleep(0)
        await peer.send(answer[at:])
        return True

    async def _chunks(self, peer: Peer, body: bytes) -> bool:
        at = self._chance.randrange(1, len(body))
        chunks = (b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:at], body[at:]) if part)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        await peer.send(head, *chunks, b"0\r\n\r\n")
        return True

    async def _interim(self, peer: Peer, body: bytes) -> bool:
        await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", plain(body))
        return True

    async def _cut(self, peer: Peer, body: bytes) -> bool:
        answer = plain(body)
        await peer.send(answer[: self._chance.randrange(1, len(answer))])
        peer.close()
        return False

    async def _reset(self, peer: Peer, _body: bytes) -> bool:
        peer.close()
        return False

    async def _twice(self, peer: Peer, body: bytes) -> bool:
        """Behind it an answer that nobody asked for, close enough to be seen with it."""
        await peer.send(plain(body) + (plain(b"%b again" % body) if len(body) < SEEN else b""))
        return True

    async def _close(self, peer: Peer, body: bytes) -> bool:
        """Announced, and not done at once."""
        await peer.send(plain(body, fields="Connection: close\r\n"))
        await peer.wait_for_end()
        return False


@on_both_transports
def test_no_answer_is_taken_for_anothers_with_5000_in_flight_under_faults(make: Make) -> None:
    open_many()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 2 * IN_FLIGHT + 100, "both ends are here"
    chance = random.Random(11)
    storm = Storm(chance)
    outcomes: Counter[str] = Counter()

    async def main() -> None:
        async with listen(storm.play) as upstream:
            transport = make(upstream.target())
            numbers = iter(range(REQUESTS))

            async def send_on() -> None:
                for number in numbers:
                    body = (
                        b"%d:" % number + chance.randbytes(chance.randrange(LONGEST)).hex().encode()
                    )
                    try:
                        reply = await transport.send("/x", body, f"k{number}")
                    except TransportFault as fault:
                        outcomes[fault.kind] += 1
                    else:
                        outcomes["whole" if reply.body == body else "crossed"] += 1

            await asyncio.gather(*(send_on() for _ in range(IN_FLIGHT)))
            await transport.close()

    run_on(uvloop.new_event_loop, main())
    assert outcomes.total() == REQUESTS
    assert outcomes["crossed"] == 0
    assert set(outcomes) == {"whole", "reset"}
    assert outcomes["reset"] <= storm.faults["cut"] + storm.faults["reset"]
    assert storm.faults.keys() == FAULTS.keys()
