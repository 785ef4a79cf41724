"""The transport against live sockets: each clause of its port."""

import asyncio
import gzip
import socket
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from raw_upstream import Peer, answer, listen, plain
from upstream_loops import Run, on_both_loops
from upstream_transports import Make, on_both_transports

from batchmill.domain.errors import ConfigError
from batchmill.ports import FaultKind, Reply, Target, TransportFault
from batchmill.upstream.http import fetch_models
from batchmill.upstream.http_connection import COPY_LIMIT
from batchmill.upstream.mock import MockUpstream, Script

pytestmark = [on_both_loops, on_both_transports]

CHAT = "/chat/completions"
BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
OK = plain(b"{}")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def post(make: Make, target: Target, **settings: Any) -> Reply:
    """One request on a transport of its own."""
    transport = make(target, **settings)
    try:
        return await transport.send(CHAT, BODY, "key-1")
    finally:
        await transport.close()


async def fault_of(sending: Coroutine[Any, Any, object]) -> FaultKind:
    """Why there was no answer."""
    with pytest.raises(TransportFault) as caught:
        await sending
    assert "hello" not in str(caught.value)
    return caught.value.kind


async def some_turns() -> None:
    """Let the other side read what it was sent."""
    for _ in range(50):
        await asyncio.sleep(0)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_request_arrives_as_it_should_and_its_answer_comes_back(run: Run, make: Make) -> None:
    async def main() -> None:
        seen: list[tuple[bytes, bytes]] = []

        async def play(peer: Peer) -> None:
            seen.append(await peer.receive())
            await peer.send(plain(b'{"a":1}', "429 Slow", "Retry-After-Ms: 250\r\n"))

        async with listen(play) as upstream:
            target = Target(f"http://127.0.0.1:{upstream.port}/v1/", api_key="sk-1")
            reply = await post(make, target)
        assert reply == Reply(429, b'{"a":1}', 0.25)
        [(head, body)] = seen
        lines = head.decode().split("\r\n")
        assert lines[0] == "POST /v1/chat/completions HTTP/1.1"
        assert body == BODY
        assert set(lines[1:-2]) >= {
            f"Host: 127.0.0.1:{upstream.port}",
            "Authorization: Bearer sk-1",
            "Content-Type: application/json",
            "Idempotency-Key: key-1",
            "Accept-Encoding: identity",
            f"Content-Length: {len(BODY)}",
        }

    run(main())


@pytest.mark.parametrize("size", [0, COPY_LIMIT - 1, COPY_LIMIT, 7_000_000])
def test_a_body_of_any_size_arrives_whole(run: Run, make: Make, size: int) -> None:
    async def main() -> None:
        received: list[bytes] = []
        body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

        async def play(peer: Peer) -> None:
            received.append((await peer.receive())[1])
            await peer.send(OK)

        async with listen(play) as upstream:
            transport = make(upstream.target())
            await transport.send(CHAT, body, "k")
            await transport.close()
        assert received == [body]

    run(main())


@pytest.mark.parametrize(
    ("pieces", "close"),
    [
        ([OK], False),
        ([b"HTTP/1.1 200 OK\r\nConte", b"nt-Length: 2\r\n\r\n{", b"}"], False),
        ([CHUNKED, b"1\r\n{", b"\r\n1\r\n}\r\n0\r\n\r\n"], False),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], False),
        ([b"HTTP/1.1 200 OK\r\n\r\n{", b"}"], True),
        ([b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"], True),
        ([plain(gzip.compress(b"{}"), fields="Content-Encoding: gzip\r\n")], False),
    ],
    ids=["length", "pieces", "chunked", "continue", "until-close", "1.0", "gzip"],
)  # fmt: skip
def test_every_framing_of_an_answer_is_understood(
    run: Run, make: Make, pieces: list[bytes], close: bool
) -> None:
    async def main() -> None:
        async with listen(answer(*pieces, close=close)) as upstream:
            transport = make(upstream.target())
            for _ in range(3):
                assert await transport.send(CHAT, BODY, "k") == Reply(200, b"{}")
            await transport.close()
            assert upstream.connections == (3 if close else 1)

    run(main())


def test_a_redirect_is_an_answer(run: Run, make: Make) -> None:
    async def main() -> None:
        moved = plain(b"", "307 Temporary Redirect", "Location: http://elsewhere/\r\n")
        async with listen(answer(moved)) as upstream:
            assert await post(make, upstream.target()) == Reply(307, b"")

    run(main())


@pytest.mark.parametrize("cut", [*range(len(OK)), -1])
def test_an_answer_that_is_cut_off_anywhere_is_a_reset(run: Run, make: Make, cut: int) -> None:
    async def main() -> None:
        async with listen(answer(OK[:cut], close=True)) as upstream:
            assert await fault_of(post(make, upstream.target())) == FaultKind.RESET

    run(main())


def test_a_chunked_answer_without_its_last_chunk_is_a_reset(run: Run, make: Make) -> None:
    async def main() -> None:
        chunked = CHUNKED + b"2\r\n{}\r\n0\r\n\r\n"
        for cut in range(len(chunked) - 7, len(chunked)):
            async with listen(answer(chunked[:cut], close=True)) as upstream:
                assert await fault_of(post(make, upstream.target())) == FaultKind.RESET

    run(main())


def test_a_connection_on_which_something_else_is_spoken_is_garbled(run: Run, make: Make) -> None:
    async def main() -> None:
        async with listen(answer(b"220 mail.example ESMTP\r\n")) as upstream:
            assert await fault_of(post(make, upstream.target())) == FaultKind.GARBLED

    run(main())


def test_a_chunk_that_is_none_is_garbled_though_the_head_was_good(run: Run, make: Make) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.receive()
            await peer.send(CHUNKED, b"1\r\n{\r\n")
            await some_turns()
            await peer.send(b"zz\r\n")
            await peer.wait_for_end()

        async with listen(play) as upstream:
            assert await fault_of(post(make, upstream.target())) == FaultKind.GARBLED

    run(main())


def test_an_answer_until_the_close_that_is_broken_off_is_a_reset(run: Run, make: Make) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.receive_head()
            await peer.send(b"HTTP/1.1 200 OK\r\n\r\n{")
            await some_turns()
            peer.reset()

        async with listen(play) as upstream:
            assert await fault_of(post(make, upstream.target())) == FaultKind.RESET

    run(main())


def test_nothing_of_one_answer_goes_into_the_next_request(run: Run, make: Make) -> None:
    async def main() -> None:
        heads: list[bytes] = []

        async def play(peer: Peer) -> None:
            while True:
                heads.append(await peer.receive_head())
                await peer.send(plain(b"{}", fields="Set-Cookie: a=b; Path=/\r\n"))

        async with listen(play) as upstream:
            transport = make(upstream.target())
            for _ in range(2):
                assert (await transport.send(CHAT, b"", "k")).status == 200
            await transport.close()
        assert heads[0] == heads[1]

    run(main())


def test_no_proxy_of_the_environment_is_used(
    run: Run, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def main() -> None:
        async with listen(answer(OK)) as upstream:
            assert (await post(make, upstream.target())).status == 200

    run(main())


def test_an_answer_beyond_the_cap_drops_the_connection_at_once(run: Run, make: Make) -> None:
    async def main() -> None:
        dropped = asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.receive()
            await peer.send(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 101)
            await peer.wait_for_end()
            dropped.set()

        async with listen(play) as upstream:
            transport = make(upstream.target(max_answer_bytes=100))
            sending = transport.send(CHAT, BODY, "k")
            assert await fault_of(sending) == FaultKind.TOO_LARGE
            await dropped.wait()
            await transport.close()

    run(main())


def test_an_oversized_answer_is_refused_and_the_next_one_is_read(run: Run, make: Make) -> None:
    async def main() -> None:
        mock = MockUpstream(Script(rate_oversized=1.0, oversized_bytes=300_000_000))
        transport = make(Target(await mock.start(), max_answer_bytes=2000))
        assert await fault_of(transport.send(CHAT, BODY, "k")) == FaultKind.TOO_LARGE
        mock.script = Script(rate_oversized=1.0, oversized_bytes=2000)
        assert len((await transport.send(CHAT, BODY, "k")).body) == 2000
        mock.script = Script(rate_oversized=1.0, oversized_bytes=2001)
        assert await fault_of(transport.send(CHAT, BODY, "k")) == FaultKind.TOO_LARGE
        await transport.close()
        await mock.stop()

    run(main())


def test_nobody_listening_is_unreachable(run: Run, make: Make) -> None:
    async def main() -> None:
        for host in ("127.0.0.1", "[::1]", "no-such-host.invalid"):
            target = Target(f"http://{host}:{free_port()}/v1")
            assert await fault_of(post(make, target)) == FaultKind.UNREACHABLE

    run(main())


def test_a_connect_that_takes_too_long_is_unreachable(run: Run, make: Make) -> None:
    async def main() -> None:
        with full_socket() as port:
            target = Target(f"http://127.0.0.1:{port}", connect_timeout=0.05)
            assert await fault_of(post(make, target)) == FaultKind.UNREACHABLE

    run(main())


def test_a_deadline_that_comes_during_the_connect_is_a_timeout(run: Run, make: Make) -> None:
    async def main() -> None:
        with full_socket() as port:
            transport = make(Target(f"http://127.0.0.1:{port}"))
            sending = transport.send(CHAT, BODY, "k", timeout=0.05)
            assert await fault_of(sending) == FaultKind.TIMEOUT
            await transport.close()

    run(main())


def test_closing_ends_a_connect_that_is_under_way(run: Run, make: Make) -> None:
    async def main() -> None:
        with full_socket() as port:
            target = Target(f"http://127.0.0.1:{port}", connect_timeout=3600.0)
            transport = make(target)
            sending = asyncio.ensure_future(transport.send(CHAT, BODY, "k"))
            await asyncio.sleep(0)
            await transport.close()
            assert await fault_of(wait_for(sending)) == FaultKind.RESET

    run(main())


class full_socket:  # noqa: N801 - used like a function
    """A listening port whose backlog is full: connects to it wait for ever."""

    def __enter__(self) -> int:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        port = int(self._listener.getsockname()[1])
        self._fillers = [socket.socket() for _ in range(4)]
        for filler in self._fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        return port

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._fillers):
            each.close()


async def wait_for(sending: asyncio.Future[Reply]) -> Reply:
    return await sending


def test_no_answer_in_time_is_a_timeout_and_closes_the_connection(run: Run, make: Make) -> None:
    async def main() -> None:
        mock = MockUpstream(Script(rate_hang=1.0))
        url = await mock.start()
        by_target = make(Target(url, request_timeout=0.05))
        assert await fault_of(by_target.send(CHAT, BODY, "k")) == FaultKind.TIMEOUT
        by_call = make(Target(url))
        sending = by_call.send(CHAT, BODY, "k", timeout=0.05)
        assert await fault_of(sending) == FaultKind.TIMEOUT
        await mock.wait_until(lambda stats: stats.aborted == 2)
        await by_target.close()
        await by_call.close()
        await mock.stop()

    run(main())


def test_a_timeout_does_not_outlive_its_request(run: Run, make: Make) -> None:
    """A kept connection carries a request with a long time-out after one with a short one."""

    async def main() -> None:
        mock = MockUpstream()
        transport = make(Target(await mock.start()))
        await transport.send(CHAT, BODY, "k", timeout=0.05)
        mock.hold()
        long = asyncio.ensure_future(transport.send(CHAT, BODY, "k"))
        await mock.wait_for_hits(2)
        later = transport.send(CHAT, BODY, "k", timeout=0.1)
        assert await fault_of(later) == FaultKind.TIMEOUT
        assert not long.done()
        mock.release()
        assert (await long).status == 200
        assert mock.stats.connections == 2
        await transport.close()
        await mock.stop()

    run(main())


def test_a_short_timeout_holds_after_a_long_one(run: Run, make: Make) -> None:
    """A kept connection carries a request with a short time-out after one with a long one."""

    async def main() -> None:
        mock = MockUpstream()
        transport = make(Target(await mock.start()))
        await transport.send(CHAT, BODY, "k", timeout=500)
        mock.hold()
        sending = transport.send(CHAT, BODY, "k", timeout=0.05)
        assert await fault_of(sending) == FaultKind.TIMEOUT
        assert mock.stats.connections == 1
        await transport.close()
        await mock.stop()

    run(main())


def test_without_time_left_nothing_is_sent(run: Run, make: Make) -> None:
    async def main() -> None:
        mock = MockUpstream()
        transport = make(Target(await mock.start()))
        for timeout in (0.0, -1.0):
            sending = transport.send(CHAT, BODY, "k", timeout=timeout)
            assert await fault_of(sending) == FaultKind.TIMEOUT
        assert mock.stats.requests == 0
        await transport.close()
        await mock.stop()

    run(main())


def test_cancelling_closes_that_connection_and_no_other(run: Run, make: Make) -> None:
    async def main() -> None:
        mock = MockUpstream()
        transport = make(Target(await mock.start()))
        mock.hold()
        doomed, spared = (
            asyncio.ensure_future(transport.send(CHAT, BODY, key)) for key in ("a", "b")
        )
        await mock.wait_for_hits(2)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        await mock.wait_until(lambda stats: stats.aborted == 1)
        mock.release()
        assert (await spared).status == 200
        assert mock.hits == {"a": 1, "b": 1}
        await transport.close()
        await mock.stop()

    run(main())


def test_a_cancel_that_crosses_the_answer_leaves_a_usable_transport(run: Run, make: Make) -> None:
    async def main() -> None:
        mock = MockUpstream()
        transport = make(Target(await mock.start()))
        for turns in range(40):
            sending = asyncio.ensure_future(transport.send(CHAT, BODY, "k"))
            for _ in range(turns):
                await asyncio.sleep(0)
            sending.cancel()
            await asyncio.wait([sending])
            assert (await transport.send(CHAT, BODY, "k")).status == 200
        await transport.close()
        await mock.stop()

    run(main())


def test_closing_fails_what_is_in_flight_and_what_comes_later(run: Run, make: Make) -> None:
    async def main() -> None:
        mock = MockUpstream()
        transport = make(Target(await mock.start()))
        await transport.send(CHAT, BODY, "k")
        mock.hold()
        sendings = [asyncio.ensure_future(transport.send(CHAT, BODY, "k")) for _ in range(3)]
        await mock.wait_for_hits(4)
        await transport.close()
        for sending in sendings:
            assert await fault_of(wait_for(sending)) == FaultKind.RESET
        assert await fault_of(transport.send(CHAT, BODY, "k")) == FaultKind.RESET
        await transport.close()
        await mock.wait_until(lambda stats: stats.aborted == 3)
        await mock.stop()

    run(main())


def test_512_in_flight_over_a_cold_pool(run: Run, make: Make) -> None:
    async def main() -> None:
        mock = MockUpstream()
        transport = make(Target(await mock.start()))
        mock.hold()
        sendings = [
            asyncio.ensure_future(transport.send(CHAT, BODY, f"k{at}")) for at in range(512)
        ]
        await mock.wait_for_hits(512)
        mock.release()
        assert {reply.status for reply in await asyncio.gather(*sendings)} == {200}
        assert mock.stats.max_in_flight == 512
        await asyncio.gather(*(transport.send(CHAT, BODY, "again") for _ in range(100)))
        assert mock.stats.connections == 512
        await transport.close()
        await mock.stop()

    run(main())


def test_an_answer_that_comes_before_the_request_is_sent_ends_the_connection(
    run: Run, make: Make
) -> None:
    """A server may refuse a body by its head; it need not read it then."""

    async def main() -> None:
        over = asyncio.Event()

        async def play(peer: Peer) -> None:
            head = await peer.receive_head()
            await peer.send(
                plain(b"{}", "413 Content Too Large" if b" /long " in head else "200 OK")
            )
            await over.wait()

        async with listen(play) as upstream:
            transport = make(replace(upstream.target(), url=upstream.target().url[:-3]))
            assert (await transport.send("/long", b"x" * 2**26, "k")).status == 413
            assert (await transport.send("/short", BODY, "k")).status == 200
            assert upstream.connections == 2
            over.set()
            await transport.close()

    run(main())


def test_connections_without_use_are_closed(run: Run, make: Make) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.receive()
            await peer.send(OK)
            await peer.wait_for_end()
            ended.set()

        async with listen(play) as upstream:
            transport = make(upstream.target(), idle_timeout=0.02)
            await transport.send(CHAT, BODY, "k")
            await ended.wait()
            await transport.close()

    run(main())


def test_a_server_that_announces_the_close_need_not_do_it(run: Run, make: Make) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def play(peer: Peer) -> None:
            await peer.receive()
            await peer.send(plain(b"{}", fields="Connection: close\r\n"))
            await peer.wait_for_end()
            ended.set()

        async with listen(play) as upstream:
            transport = make(upstream.target(), idle_timeout=3600.0)
            assert (await transport.send(CHAT, BODY, "k")).status == 200
            await ended.wait()
            assert (await transport.send(CHAT, BODY, "k")).status == 200
            assert upstream.connections == 2
            await transport.close()

    run(main())


def test_an_ipv6_address_is_reached(run: Run, make: Make) -> None:
    async def main() -> None:
        async with listen(answer(OK), host="::1") as upstream:
            assert (await post(make, Target(f"http://[::1]:{upstream.port}"))).status == 200

    run(main())


def test_dates_in_retry_after_are_measured_by_the_clock_that_is_given(run: Run, make: Make) -> None:
    async def main() -> None:
        fields = "Retry-After: Thu, 01 Jan 1970 00:02:00 GMT\r\n"
        async with listen(answer(plain(b"{}", "503 Busy", fields))) as upstream:
            reply = await post(make, upstream.target(), wall_clock=lambda: 90.0)
            assert reply.retry_after == 30.0

    run(main())


@pytest.mark.parametrize("key", ["a\r\nX: y", "é", "a\x00"])
def test_a_key_that_breaks_the_head_is_not_sent(run: Run, make: Make, key: str) -> None:
    async def main() -> None:
        transport = make(Target("http://127.0.0.1:9"))
        with pytest.raises(ValueError, match="idempotency key") as caught:
            await transport.send(CHAT, BODY, key)
        assert key not in str(caught.value)
        await transport.close()

    run(main())


def test_models_are_listed_in_their_order(run: Run, make: Make) -> None:
    async def main() -> None:
        mock = MockUpstream(Script(models=("zeta", "alpha"), require_key="sk-1"))
        url = await mock.start()
        assert await fetch_models(Target(url, api_key="sk-1"), make) == ["zeta", "alpha"]
        with pytest.raises(ConfigError, match="key"):
            await fetch_models(Target(url, api_key="sk-2"), make)
        with pytest.raises(ConfigError, match="404"):
            await fetch_models(Target(url.removesuffix("/v1"), api_key="sk-1"), make)
        await mock.stop()
        assert await fault_of(fetch_models(Target(url), make)) == FaultKind.UNREACHABLE

    run(main())


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"data":{}}', b'{"data":[{"name":"x"}]}', b'"\xff"']
)
def test_an_answer_that_is_no_model_list_is_said_to_be_so(
    run: Run, make: Make, body: bytes
) -> None:
    async def main() -> None:
        async with listen(answer(plain(body))) as upstream:
            with pytest.raises(ConfigError, match="model list"):
                await fetch_models(upstream.target(), make)

    run(main())


def test_an_unusual_model_list_is_read(run: Run, make: Make) -> None:
    async def main() -> None:
        body = msgspec.json.encode({"data": [{"id": "a", "x": 1}], "models": []})
        async with listen(answer(plain(body))) as upstream:
            assert await fetch_models(upstream.target(), make) == ["a"]

    run(main())
