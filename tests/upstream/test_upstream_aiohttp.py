"""aiohttp's transport where it is alone: its time to begin, its place behind the port."""

import asyncio

import pytest
from raw_upstream import Peer, answer, listen, plain
from upstream_loops import Run, on_both_loops

from batchmill.domain.errors import ConfigError
from batchmill.ports import FaultKind, Outcome, Reply, Target, TransportFault
from batchmill.upstream import transports
from batchmill.upstream.aiohttp_connections import Connector
from batchmill.upstream.aiohttp_transport import AiohttpTransport
from batchmill.upstream.http import HttpTransport
from batchmill.upstream.mock import MockUpstream
from batchmill.upstream.transports import check_installed, open_asking, open_transport

pytestmark = on_both_loops

SHORT = 0.05
OK = plain(b"{}")


def test_a_head_that_does_not_come_in_time_is_a_timeout(run: Run) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.receive()
            await peer.send(OK[:20])
            await peer.wait_for_end()

        async with listen(play) as upstream:
            transport = AiohttpTransport(upstream.target(first_byte_timeout=SHORT))
            with pytest.raises(TransportFault) as caught:
                await transport.send("/x", b"{}", "k")
            assert caught.value.kind == FaultKind.TIMEOUT
            assert caught.value.detail == "no head of an answer in time"
            await transport.close()

    run(main())


def test_behind_its_head_an_answer_may_take_longer(run: Run) -> None:
    async def main() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def play(peer: Peer) -> None:
            head, _ = await peer.receive()
            if b"/silent" in head:
                await peer.wait_for_end()
                return
            await peer.send(OK[:-1])
            begun.set()
            await go_on.wait()
            await peer.send(OK[-1:])

        async with listen(play) as upstream:
            transport = AiohttpTransport(upstream.target(first_byte_timeout=SHORT))
            sending = asyncio.ensure_future(transport.send("/slow", b"{}", "k"))
            await begun.wait()
            # Sent later and given up: so the first one's time to begin is over too.
            with pytest.raises(TransportFault):
                await transport.send("/silent", b"{}", "k")
            assert not sending.done()
            go_on.set()
            assert (await sending).status == 200
            await transport.close()

    run(main())


def test_the_time_to_begin_does_not_run_while_it_connects(run: Run) -> None:
    async def main() -> None:
        target = Target("http://no-such-host.invalid", first_byte_timeout=1e-9)
        transport = AiohttpTransport(target)
        with pytest.raises(TransportFault) as caught:
            await transport.send("/x", b"{}", "k")
        assert caught.value.kind == FaultKind.UNREACHABLE
        await transport.close()

    run(main())


def test_connections_are_forgotten_when_they_end(run: Run) -> None:
    async def main() -> None:
        async with listen(answer(OK, close=True)) as upstream:
            transport = AiohttpTransport(upstream.target())
            for _ in range(3):
                await transport.send("/x", b"{}", "k")
            await upstream.end()
            connectors = [session.connector for session in transport._sessions.values()]
            assert connectors
            await transport.close()
        for connector in connectors:
            assert isinstance(connector, Connector)
            assert not connector._lines

    run(main())


def test_behind_the_port_it_calls_back(run: Run) -> None:
    async def main() -> None:
        mock = MockUpstream()
        transport = open_transport(Target(await mock.start(), with_aiohttp=True))
        ended: asyncio.Queue[Outcome] = asyncio.Queue()
        body = b'{"model":"m","messages":[]}'
        transport.post("/chat/completions", body, "k", None, ended.put_nowait)
        outcome = await ended.get()
        assert isinstance(outcome, Reply)
        assert outcome.status == 200
        mock.hold()
        transport.post("/chat/completions", body, "k", None, ended.put_nowait)
        await mock.wait_for_hits(2)
        await transport.close()
        outcome = await ended.get()
        assert isinstance(outcome, TransportFault)
        assert outcome.kind == FaultKind.RESET
        await mock.stop()

    run(main())


def test_a_target_gets_the_transport_that_it_asks_for(run: Run) -> None:
    async def main() -> None:
        plain_one, other = Target("http://x"), Target("http://x", with_aiohttp=True)
        assert isinstance(open_transport(plain_one), HttpTransport)
        assert isinstance(open_asking(plain_one), HttpTransport)
        assert isinstance(open_asking(other), AiohttpTransport)

    run(main())


def test_where_it_is_not_installed_that_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(transports, "find_spec", lambda _: None)
        check_installed(Target("http://x/v1"))
        for ask in (check_installed, open_transport, open_asking):
            with pytest.raises(ConfigError) as caught:
                ask(Target("http://x/v1", with_aiohttp=True))
            assert caught.value.message == (
                'The transport of the upstream http://x/v1 is "aiohttp", which is not installed: '
                'pip install "batchmill[aiohttp]".'
            )

    run(main())
