"""How connections end: half, early, without a farewell, for a restart, or while nobody reads."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from certificates import Authority
from raw_upstream import Peer, RawUpstream, Script, answer, listen, plain
from upstream_loops import Run, on_both_loops

from batchmill.ports import FaultKind, Reply, Target, TransportFault
from batchmill.upstream.http import HttpTransport

pytestmark = on_both_loops

BODY = b'{"model":"m"}'
# More than two sockets hold between them.
LONG = b"x" * 2**25
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n{}"
REFUSAL = plain(b"{}", "413 Content Too Large")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


async def ask(target: Target, body: bytes = BODY) -> Reply | FaultKind:
    """What comes of one request on a transport of its own."""
    transport = HttpTransport(target)
    try:
        return await transport.send("/x", body, "k")
    except TransportFault as fault:
        return fault.kind
    finally:
        await transport.close()


def over_tls(upstream: RawUpstream, authority: Authority) -> Target:
    return replace(
        upstream.target(), url=f"https://127.0.0.1:{upstream.port}/v1", ca=authority.path
    )


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (UNTIL_CLOSE, Reply(200, b"{}")),
        (REFUSAL, Reply(413, b"{}")),
        (b"HTTP/1.1 200", FaultKind.RESET),
        (b"", FaultKind.RESET),
    ],
    ids=["until-close", "sized", "cut", "nothing"],
)
def test_a_server_that_says_no_more_is_not_waited_for(
    run: Run, said: bytes, outcome: Reply | FaultKind
) -> None:
    """It neither reads the rest of the request nor closes its ear to it."""

    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.receive_head()
            peer.stop_reading()
            await peer.send(said)
            peer.stop_sending()
            await over.wait()

        over = asyncio.Event()
        async with listen(play) as upstream:
            assert await ask(upstream.target(), LONG) == outcome
            over.set()

    run(main())


@pytest.mark.parametrize("size", [2**power for power in range(10, 26)])
def test_a_refusal_is_heard_from_a_server_that_does_not_read_the_rest(run: Run, size: int) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.receive_head()
            await peer.send(REFUSAL)

        async with listen(play) as upstream:
            assert await ask(upstream.target(), b"x" * size) == Reply(413, b"{}")

    run(main())


def test_an_early_answer_over_tls_ends_the_connection(run: Run, authority: Authority) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            head = await peer.receive_head()
            if b" /v1/long " in head:
                peer.stop_reading()
            await peer.send(REFUSAL)
            await over.wait()

        over = asyncio.Event()
        async with listen(play, tls=authority.sign().serve()) as upstream:
            transport = HttpTransport(over_tls(upstream, authority))
            assert (await transport.send("/long", LONG, "k")).status == 413
            assert (await transport.send("/short", BODY, "k")).status == 413
            assert upstream.connections == 2
            over.set()
            await transport.close()

    run(main())


def test_long_requests_over_tls_share_a_connection(run: Run, authority: Authority) -> None:
    async def main() -> None:
        async with listen(answer(plain(b"{}")), tls=authority.sign().serve()) as upstream:
            transport = HttpTransport(over_tls(upstream, authority))
            for power in range(10, 24):
                assert (await transport.send("/x", b"x" * 2**power, "k")).status == 200
            assert upstream.connections == 1
            await transport.close()

    run(main())


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (UNTIL_CLOSE, Reply(200, b"{}")),
        (plain(b"{}"), Reply(200, b"{}")),
        (plain(b"{}")[:-1], FaultKind.RESET),
        (b"", FaultKind.RESET),
    ],
    ids=["until-close", "sized", "cut", "nothing"],
)
def test_the_end_of_a_tls_connection_ends_the_answer(
    run: Run, authority: Authority, said: bytes, outcome: Reply | FaultKind
) -> None:
    async def main() -> None:
        script = answer(said, close=True)
        async with listen(script, tls=authority.sign().serve()) as upstream:
            assert await ask(over_tls(upstream, authority)) == outcome

    run(main())


def test_a_tls_connection_that_is_cut_within_an_answer_is_a_reset(
    run: Run, authority: Authority
) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.receive()
            await peer.send(plain(b"{}")[:-1])
            peer.cut()

        async with listen(play, tls=authority.sign().serve()) as upstream:
            assert await ask(over_tls(upstream, authority)) == FaultKind.RESET

    run(main())


def test_a_kept_tls_connection_that_was_closed_is_replaced_unseen(
    run: Run, authority: Authority
) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.receive()
            await peer.send(plain(b"{}"))
            await peer.receive()

        async with listen(play, tls=authority.sign().serve()) as upstream:
            transport = HttpTransport(over_tls(upstream, authority))
            for _ in range(4):
                assert (await transport.send("/x", BODY, "k")).status == 200
            assert upstream.connections == 4
            await transport.close()

    run(main())


class Draining:
    """Answers when told to; from then on it says goodbye with each answer, and closes."""

    def __init__(self) -> None:
        self.waiting = 0
        self.all_wait = asyncio.Event()
        self.drain = asyncio.Event()

    async def play(self, peer: Peer) -> None:
        while True:
            _, body = await peer.receive()
            if body == b"warm":
                await peer.send(plain(body))
                continue
            self.waiting += 1
            if self.waiting == 16:
                self.all_wait.set()
            await self.drain.wait()
            await peer.send(plain(body, fields="Connection: close\r\n"))
            return


def test_a_server_that_drains_for_a_restart_costs_nothing(run: Run) -> None:
    """16 are in flight and 16 idle when it takes no more; the next server has its port by then."""

    async def main() -> None:
        server = Draining()
        async with AsyncExitStack() as stack:
            old = await stack.enter_async_context(listen(server.play))
            transport = HttpTransport(old.target())
            in_flight = [
                asyncio.ensure_future(transport.send("/x", b"%d" % at, "k")) for at in range(16)
            ]
            await server.all_wait.wait()
            await asyncio.gather(*(transport.send("/x", b"warm", "k") for _ in range(16)))
            old.stop_listening()
            new = await stack.enter_async_context(listen(answer(plain(b"new")), port=old.port))
            server.drain.set()
            replies = await asyncio.gather(*in_flight)
            assert [reply.body for reply in replies] == [b"%d" % at for at in range(16)]
            # The idle ones end as well, some of them just when they are used again.
            await old.end()
            replies = await asyncio.gather(*(transport.send("/x", BODY, "k") for _ in range(32)))
            assert {reply.body for reply in replies} == {b"new"}
            assert new.connections == 32
            await transport.close()

    run(main())


def stuck() -> tuple[Script, asyncio.Event]:
    """A script that reads no body, and what is set when it has begun to."""
    begun = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.receive_head()
        peer.stop_reading()
        begun.set()
        await asyncio.Event().wait()

    return play, begun


def test_closing_does_not_wait_for_a_server_that_does_not_read(run: Run) -> None:
    async def main() -> None:
        play, begun = stuck()
        async with listen(play) as upstream:
            transport = HttpTransport(upstream.target())
            sending = asyncio.ensure_future(transport.send("/x", LONG, "k"))
            await begun.wait()
            await transport.close()
            assert not transport._pool._all
            with pytest.raises(TransportFault) as caught:
                await sending
            assert caught.value.kind == FaultKind.RESET

    run(main())


def test_a_server_that_does_not_read_is_a_timeout(run: Run) -> None:
    async def main() -> None:
        play, _ = stuck()
        async with listen(play) as upstream:
            assert await ask(upstream.target(request_timeout=0.05), LONG) == FaultKind.TIMEOUT

    run(main())


def test_a_request_can_be_called_off_while_nobody_reads_it(run: Run) -> None:
    async def main() -> None:
        play, begun = stuck()
        async with listen(play) as upstream:
            transport = HttpTransport(upstream.target())
            sending = asyncio.ensure_future(transport.send("/x", LONG, "k"))
            await begun.wait()
            sending.cancel()
            await asyncio.wait([sending])
            assert sending.cancelled()
            await transport.close()
            assert not transport._pool._all

    run(main())
