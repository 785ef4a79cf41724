"""A request that is called off at any turn of the loop leaves nothing open and nothing behind."""

import asyncio
import itertools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from certificates import Authority
from raw_upstream import Peer, RawUpstream, listen, plain
from upstream_loops import Run, on_both_loops

from batchmill.ports import FaultKind, Outcome, Reply, Target, TransportFault
from batchmill.upstream.http import HttpTransport

pytestmark = on_both_loops

BODY = b'{"n":%d}'
CLOSING = 5  # turns of the loop that it may take to close a socket
Call = Callable[[HttpTransport, bytes, int], Awaitable[bool]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


async def echo(peer: Peer) -> None:
    while True:
        _, body = await peer.receive()
        await peer.send(plain(body))


async def echo_in_pieces(peer: Peer) -> None:
    """Every byte of an answer comes by itself."""
    while True:
        _, body = await peer.receive()
        answer = plain(body)
        for at in range(len(answer)):
            await peer.send(answer[at : at + 1])
            await asyncio.sleep(0)


async def echo_once(peer: Peer) -> None:
    """The second request on each connection is read, and the connection closed."""
    _, body = await peer.receive()
    await peer.send(plain(body))
    await peer.receive()


def open_files() -> int:
    """How many files and sockets this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def turn(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def call_off_send(transport: HttpTransport, body: bytes, turns: int) -> bool:
    """Whether the request ended by itself within so many turns."""
    sending = asyncio.ensure_future(transport.send("/x", body, "k"))
    await turn(turns)
    is_over = sending.done()
    sending.cancel()
    await asyncio.wait([sending])
    if not sending.cancelled():
        assert sending.result() == Reply(200, body)
    return is_over


async def call_off_post(transport: HttpTransport, body: bytes, turns: int) -> bool:
    outcomes: list[Outcome] = []
    exchange = transport.post("/x", body, "k", None, outcomes.append)
    assert not outcomes, "told before it was handed on"
    await turn(turns)
    told = list(outcomes)
    exchange.cancel()
    await turn(3)
    assert outcomes == told, "told after it was called off"
    assert told in ([], [Reply(200, body)])
    return bool(told)


def check_idle(transport: HttpTransport) -> None:
    pool = transport._pool
    assert pool._all == set(pool._idle)
    assert not pool._dialing


async def call_off_everywhere(call: Call, target: Target, *, is_warm: bool, grow: float) -> None:
    """Call off at turn 0, 1, 2 … until a request ends before it is called off."""
    turns = 0
    transport = HttpTransport(target)
    for number in itertools.count():
        if is_warm:
            assert (await transport.send("/x", b"warm", "k")).body == b"warm"
        is_over = await call(transport, BODY % number, turns)
        later = b"after %d" % number
        assert (await transport.send("/x", later, "k")).body == later
        check_idle(transport)
        if is_over:
            break
        turns = int(turns * grow) + 1
        if not is_warm:
            await transport.close()
            transport = HttpTransport(target)
    await transport.close()


async def check_left(upstream: RawUpstream, files: int) -> None:
    """Nothing is open any more."""
    await upstream.wait_until_left()
    await turn(CLOSING)
    assert open_files() <= files


@asynccontextmanager
async def listening(
    script: Callable[[Peer], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[RawUpstream, int]]:
    """A raw upstream, and how many files are open beside its connections."""
    async with listen(script, tls=tls) as upstream:
        yield upstream, open_files()


calls = pytest.mark.parametrize("call", [call_off_send, call_off_post], ids=["send", "post"])


@calls
@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("script", [echo, echo_in_pieces, echo_once])
def test_a_request_can_be_called_off_at_any_turn(
    run: Run, call: Call, script: Callable[[Peer], Awaitable[None]], *, is_warm: bool
) -> None:
    async def main() -> None:
        async with listening(script) as (upstream, files):
            await call_off_everywhere(call, upstream.target(), is_warm=is_warm, grow=1.0)
            await check_left(upstream, files)

    run(main())


@calls
@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
def test_a_request_over_tls_can_be_called_off_at_any_turn(
    run: Run, call: Call, authority: Authority, *, is_warm: bool
) -> None:
    async def main() -> None:
        async with listening(echo, tls=authority.sign().serve()) as (upstream, files):
            url = f"https://127.0.0.1:{upstream.port}/v1"
            target = replace(upstream.target(), url=url, ca=authority.path)
            await call_off_everywhere(call, target, is_warm=is_warm, grow=1.0)
            await check_left(upstream, files)

    run(main())


@calls
def test_a_request_can_be_called_off_while_a_name_is_looked_up(run: Run, call: Call) -> None:
    async def main() -> None:
        # The thread that looks names up stays, with what it has open.
        await asyncio.get_running_loop().getaddrinfo("localhost", 80)
        async with listening(echo) as (upstream, files):
            target = replace(upstream.target(), url=f"http://localhost:{upstream.port}/v1")
            await call_off_everywhere(call, target, is_warm=False, grow=1.5)
            await check_left(upstream, files)

    run(main())


@pytest.mark.parametrize("pause", range(4))
def test_requests_that_end_by_closing_end_once_at_any_turn(run: Run, pause: int) -> None:
    """The transport is closed at turn 0, 1, 2 … of a request, and a little later again."""

    async def close_at(target: Target, turns: int) -> Outcome:
        transport = HttpTransport(target)
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        transport.post("/x", b"{}", "k", None, ended.set_result)
        await turn(turns)
        closing = asyncio.ensure_future(transport.close())
        await turn(pause)
        await transport.close()
        await closing
        outcome = await ended
        await turn(CLOSING)
        check_idle(transport)
        return outcome

    async def main() -> None:
        async with listening(echo) as (upstream, files):
            for turns in itertools.count():
                outcome = await close_at(upstream.target(), turns)
                if isinstance(outcome, Reply):
                    break
                assert isinstance(outcome, TransportFault)
                assert outcome.kind == FaultKind.RESET
            await check_left(upstream, files)

    run(main())


def test_a_request_on_its_way_shows_neither_key_nor_body(run: Run) -> None:
    async def main() -> None:
        async with listen(echo) as upstream:
            transport = HttpTransport(replace(upstream.target(), api_key="sk-hush"))
            exchange = transport.post("/x", b'{"prompt":"hush"}', "k", None, lambda _: None)
            assert "hush" not in repr(exchange)
            exchange.cancel()
            await transport.close()

    run(main())
