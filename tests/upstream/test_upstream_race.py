"""The keep-alive race: a server closes a kept connection just as the next request leaves."""

import asyncio
from collections.abc import Callable

import pytest
from raw_upstream import Peer, listen, plain
from upstream_loops import Run, on_both_loops
from upstream_transports import Make, on_both_transports

from batchmill.ports import FaultKind, Target, TransportFault
from batchmill.upstream.mock import MockUpstream, Script

pytestmark = [on_both_loops, on_both_transports]

CHAT = "/chat/completions"
BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
OK = plain(b"{}")


@pytest.mark.parametrize("delay", [0.0, 0.0005])
def test_a_server_that_closes_after_each_third_answer_causes_no_fault(
    run: Run, make: Make, delay: float
) -> None:
    async def main() -> None:
        mock = MockUpstream(Script(close_after=3, close_delay=delay))
        transport = make(Target(await mock.start()))
        keys = iter(range(1000))

        async def worker() -> None:
            for key in keys:
                assert (await transport.send(CHAT, BODY, str(key))).status == 200

        await asyncio.gather(*(worker() for _ in range(64)))
        assert len(mock.hits) == 1000
        await transport.close()
        await mock.stop()

    run(main())


@pytest.mark.parametrize("end", [Peer.close, Peer.reset])
def test_a_kept_connection_that_ends_unanswered_is_replaced_unseen(
    run: Run, make: Make, end: Callable[[Peer], None]
) -> None:
    """The server reads the second request of each connection and ends it without a byte.

    It closes, or resets as that of a server does which was killed.
    """

    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.receive()
            await peer.send(OK)
            await peer.receive()
            end(peer)

        async with listen(play) as upstream:
            transport = make(upstream.target())
            for _ in range(4):
                assert (await transport.send(CHAT, BODY, "k")).status == 200
            assert upstream.connections == 4
            await transport.close()

    run(main())


def test_bytes_that_nobody_asked_for_are_no_answer_to_the_next(run: Run, make: Make) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.receive()
            await peer.send(OK)
            await say_more.wait()
            await peer.send(plain(b"stray", "408 Request Timeout"))
            said.set()
            await peer.wait_for_end()

        say_more, said = asyncio.Event(), asyncio.Event()
        async with listen(play) as upstream:
            transport = make(upstream.target())
            assert (await transport.send(CHAT, BODY, "k")).status == 200
            say_more.set()
            await said.wait()
            for _ in range(50):
                await asyncio.sleep(0)
            assert (await transport.send(CHAT, BODY, "k")).body == b"{}"
            assert upstream.connections == 2
            await transport.close()

    run(main())


def test_many_dead_connections_cost_one_new_one(run: Run, make: Make) -> None:
    """After a stale connection the rest of the pool is not tried one by one."""

    async def main() -> None:
        requests = 0

        async def play(peer: Peer) -> None:
            nonlocal requests
            await peer.receive()
            if upstream.connections == 8:
                all_sent.set()
            await all_sent.wait()
            await peer.send(OK)
            await peer.receive()
            requests += 1
            if upstream.connections == 8:
                peer.close()
            else:
                await peer.send(OK)

        all_sent = asyncio.Event()
        async with listen(play) as upstream:
            transport = make(upstream.target())
            await asyncio.gather(*(transport.send(CHAT, BODY, "k") for _ in range(8)))
            await transport.send(CHAT, BODY, "k")
            assert (requests, upstream.connections) == (1, 9)
            await transport.close()

    run(main())


def test_a_new_connection_that_ends_unanswered_is_a_reset(run: Run, make: Make) -> None:
    async def main() -> None:
        mock = MockUpstream(Script(rate_reset=1.0))
        transport = make(Target(await mock.start()))
        with pytest.raises(TransportFault) as caught:
            await transport.send(CHAT, BODY, "k")
        assert caught.value.kind == FaultKind.RESET
        assert mock.hits == {"k": 1}
        await transport.close()
        await mock.stop()

    run(main())


def test_a_kept_connection_that_ends_within_the_answer_is_a_reset(run: Run, make: Make) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.receive()
            await peer.send(OK)
            await peer.receive()
            await peer.send(b"H")
            peer.close()

        async with listen(play) as upstream:
            transport = make(upstream.target())
            await transport.send(CHAT, BODY, "k")
            with pytest.raises(TransportFault) as caught:
                await transport.send(CHAT, BODY, "k")
            assert caught.value.kind == FaultKind.RESET
            assert upstream.connections == 1
            await transport.close()

    run(main())


def test_a_server_that_drops_the_line_twice_is_a_reset(run: Run, make: Make) -> None:
    """The repeat on a new connection is the last: a request that kills servers is not hammered."""

    async def main() -> None:
        mock = MockUpstream()
        transport = make(Target(await mock.start()))
        await transport.send(CHAT, BODY, "first")
        mock.script = Script(rate_reset=1.0)
        with pytest.raises(TransportFault) as caught:
            await transport.send(CHAT, BODY, "second")
        assert caught.value.kind == FaultKind.RESET
        assert mock.hits == {"first": 1, "second": 2}
        await transport.close()
        await mock.stop()

    run(main())


def test_a_restarted_server_is_reached_without_a_fault(run: Run, make: Make) -> None:
    async def main() -> None:
        mock = MockUpstream()
        url = await mock.start()
        transport = make(Target(url))
        await asyncio.gather(*(transport.send(CHAT, BODY, "k") for _ in range(8)))
        await mock.stop()
        await mock.start(port=int(url.rsplit(":", 1)[1].removesuffix("/v1")))
        replies = await asyncio.gather(*(transport.send(CHAT, BODY, "k") for _ in range(8)))
        assert {reply.status for reply in replies} == {200}
        await transport.close()
        await mock.stop()

    run(main())
