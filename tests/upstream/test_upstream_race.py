"""The keep-alive race: a server closes a kept connection just as the next request leaves."""

import asyncio

import pytest
from raw_upstream import Peer, listen, plain
from upstream_loops import Run, on_both_loops

from batchmill.ports import FaultKind, Target, TransportFault
from batchmill.upstream.http import HttpTransport
from batchmill.upstream.mock import MockUpstream, Script

pytestmark = on_both_loops

CHAT = "/chat/completions"
BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
OK = plain(b"{}")


@pytest.mark.parametrize("delay", [0.0, 0.0005])
def test_a_server_that_closes_after_each_third_answer_causes_no_fault(
    run: Run, delay: float
) -> None:
    async def main() -> None:
        mock = MockUpstream(Script(close_after=3, close_delay=delay))
        transport = HttpTransport(Target(await mock.start()))
        keys = iter(range(2000))

        async def worker() -> None:
            for key in keys:
                assert (await transport.send(CHAT, BODY, str(key))).status == 200

        await asyncio.gather(*(worker() for _ in range(64)))
        assert len(mock.hits) == 2000
        await transport.close()
        await mock.stop()

    run(main())


def test_a_kept_connection_that_ends_unanswered_is_replaced_unseen(run: Run) -> None:
    """The server reads the second request of each connection and closes without a byte."""

    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.receive()
            await peer.send(OK)
            await peer.receive()
            peer.close()

        async with listen(play) as upstream:
            transport = HttpTransport(upstream.target())
            for _ in range(4):
                assert (await transport.send(CHAT, BODY, "k")).status == 200
            assert upstream.connections == 4
            await transport.close()

    run(main())


def test_many_dead_connections_cost_one_new_one(run: Run) -> None:
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
            transport = HttpTransport(upstream.target())
            await asyncio.gather(*(transport.send(CHAT, BODY, "k") for _ in range(8)))
            await transport.send(CHAT, BODY, "k")
            assert (requests, upstream.connections) == (1, 9)
            await transport.close()

    run(main())


def test_a_new_connection_that_ends_unanswered_is_a_reset(run: Run) -> None:
    async def main() -> None:
        mock = MockUpstream(Script(rate_reset=1.0))
        transport = HttpTransport(Target(await mock.start()))
        with pytest.raises(TransportFault) as caught:
            await transport.send(CHAT, BODY, "k")
        assert caught.value.kind == FaultKind.RESET
        assert mock.hits == {"k": 1}
        await transport.close()
        await mock.stop()

    run(main())


def test_a_kept_connection_that_ends_within_the_answer_is_a_reset(run: Run) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.receive()
            await peer.send(OK)
            await peer.receive()
            await peer.send(b"H")
            peer.close()

        async with listen(play) as upstream:
            transport = HttpTransport(upstream.target())
            await transport.send(CHAT, BODY, "k")
            with pytest.raises(TransportFault) as caught:
                await transport.send(CHAT, BODY, "k")
            assert caught.value.kind == FaultKind.RESET
            assert upstream.connections == 1
            await transport.close()

    run(main())


def test_a_server_that_drops_the_line_twice_is_a_reset(run: Run) -> None:
    """The repeat on a new connection is the last: a request that kills servers is not hammered."""

    async def main() -> None:
        mock = MockUpstream()
        transport = HttpTransport(Target(await mock.start()))
        await transport.send(CHAT, BODY, "first")
        mock.script = Script(rate_reset=1.0)
        with pytest.raises(TransportFault) as caught:
            await transport.send(CHAT, BODY, "second")
        assert caught.value.kind == FaultKind.RESET
        assert mock.hits == {"first": 1, "second": 2}
        await transport.close()
        await mock.stop()

    run(main())


def test_a_restarted_server_is_reached_without_a_fault(run: Run) -> None:
    async def main() -> None:
        mock = MockUpstream()
        url = await mock.start()
        transport = HttpTransport(Target(url))
        await asyncio.gather(*(transport.send(CHAT, BODY, "k") for _ in range(8)))
        await mock.stop()
        await mock.start(port=int(url.rsplit(":", 1)[1].removesuffix("/v1")))
        replies = await asyncio.gather(*(transport.send(CHAT, BODY, "k") for _ in range(8)))
        assert {reply.status for reply in replies} == {200}
        await transport.close()
        await mock.stop()

    run(main())
