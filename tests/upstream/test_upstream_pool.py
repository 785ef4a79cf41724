"""The pool of our own transport: which connection is used, and when one is let go."""

import asyncio

from raw_upstream import Peer, answer, listen, plain
from upstream_loops import Run, on_both_loops

from batchmill.ports import Target
from batchmill.upstream.http import HttpTransport
from batchmill.upstream.mock import MockUpstream

pytestmark = on_both_loops

CHAT = "/chat/completions"
BODY = b"{}"
OK = plain(b"{}")


def test_the_connection_used_last_is_used_next(run: Run) -> None:
    async def main() -> None:
        ports: list[int] = []

        async def play(peer: Peer) -> None:
            while True:
                await peer.receive()
                ports.append(id(peer))
                await peer.send(OK)

        async with listen(play) as upstream:
            transport = HttpTransport(upstream.target())
            await asyncio.gather(*(transport.send(CHAT, BODY, "k") for _ in range(4)))
            assert len(set(ports)) == 4
            for _ in range(4):
                await transport.send(CHAT, BODY, "k")
            assert len(set(ports[4:])) == 1
            await transport.close()

    run(main())


def test_bytes_that_nobody_asked_for_end_an_idle_connection(run: Run) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.receive()
            await peer.send(OK)
            await say_more.wait()
            await peer.send(plain(b"stray", "408 Request Timeout"))
            await peer.wait_for_end()
            ended.set()

        say_more = asyncio.Event()
        async with listen(play) as upstream:
            transport = HttpTransport(upstream.target(), idle_timeout=3600.0)
            assert (await transport.send(CHAT, BODY, "k")).status == 200
            say_more.set()
            await ended.wait()
            await transport.close()

    run(main())


def test_a_connection_that_is_closing_costs_nothing(run: Run) -> None:
    async def main() -> None:
        async with listen(answer(OK)) as upstream:
            transport = HttpTransport(upstream.target())
            await transport.send(CHAT, BODY, "k")
            (connection,) = transport._pool._idle
            connection._transport.abort()
            assert (await transport.send(CHAT, BODY, "k")).status == 200
            await transport.close()

    run(main())


def test_connections_that_the_server_closes_are_forgotten(run: Run) -> None:
    async def main() -> None:
        mock = MockUpstream()
        transport = HttpTransport(Target(await mock.start()), idle_timeout=3600.0)
        await asyncio.gather(*(transport.send(CHAT, BODY, "k") for _ in range(8)))
        assert len(transport._pool._idle) == 8
        emptied = transport._pool._emptied = asyncio.get_running_loop().create_future()
        await mock.stop()
        await emptied
        assert not transport._pool._idle
        await transport.close()

    run(main())
