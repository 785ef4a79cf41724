"""Files sent by the server itself: whole, in part, slowly, to clients that leave."""

import asyncio
import gc
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import uvloop

from batchmill.cli.sending import SendingProtocol
from batchmill.door.content import ZERO_COPY

LARGE = 24 * 1024 * 1024
PATIENCE = 60.0
App = Callable[[Any, Any, Any], Awaitable[None]]
Run = Callable[[Any], None]


def run_on(loop_factory: Callable[[], asyncio.AbstractEventLoop], main: Any) -> None:
    """Run ``main``; whatever ends badly with nobody to hear of it fails the test too."""
    unheard: list[str] = []
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.get_loop().set_exception_handler(lambda _, told: unheard.append(told["message"]))
        runner.run(asyncio.wait_for(main, PATIENCE))
    gc.collect()
    assert unheard == []


pytestmark = pytest.mark.parametrize(
    "run",
    [partial(run_on, asyncio.new_event_loop), partial(run_on, uvloop.new_event_loop)],
    ids=["asyncio", "uvloop"],
)


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[int]:
    """The port of a server of ``app``."""
    config = uvicorn.Config(app, http=SendingProtocol, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        started = asyncio.Event()
        serve = asyncio.create_task(_serve(server, listening, started))
        await started.wait()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await serve


async def _serve(server: uvicorn.Server, listening: socket.socket, started: asyncio.Event) -> None:
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listening])
    started.set()
    await server.main_loop()
    await server.shutdown(sockets=[listening])


class Sender:
    """Sends bytes ``[start, end)`` of a file; ``length`` is how many it promises."""

    def __init__(self, path: Path, start: int, end: int, *, length: int | None = None) -> None:
        self._path = path
        self._span = {"offset": start, "count": end - start}
        self._length = end - start if length is None else length
        self.failure: BaseException | None = None
        self.ended = asyncio.Event()

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        assert ZERO_COPY in scope["extensions"]
        length = [(b"content-length", b"%d" % self._length)]
        try:
            with self._path.open("rb") as file:
                await send({"type": "http.response.start", "status": 200, "headers": length})
                await send({"type": ZERO_COPY, "file": file, **self._span})
        except BaseException as failure:
            self.failure = failure
            raise
        finally:
            self.ended.set()


def a_file(folder: Path, size: int) -> tuple[Path, bytes]:
    data = os.urandom(size)
    path = folder / "file"
    path.write_bytes(data)
    return path, data


async def ask(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return reader, writer


async def read_answer(reader: asyncio.StreamReader, size: int) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: %d\r\n" % size in head
    return await reader.readexactly(size)


async def closed_down_to(before: int) -> None:
    while open_descriptors() > before:  # noqa: ASYNC110 - they are closed by a callback
        await asyncio.sleep(0)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.parametrize(("start", "end"), [(0, LARGE), (5, LARGE - 7), (LARGE - 1, LARGE)])
def test_what_is_asked_for_arrives_whole(run: Run, tmp_path: Path, start: int, end: int) -> None:
    path, data = a_file(tmp_path, LARGE)

    async def main() -> None:
        async with serving(Sender(path, start, end)) as port:
            reader, writer = await ask(port)
            assert await read_answer(reader, end - start) == data[start:end]
            writer.close()

    run(main())


def test_a_connection_serves_one_file_after_the_other(run: Run, tmp_path: Path) -> None:
    path, data = a_file(tmp_path, 100_000)

    async def main() -> None:
        async with serving(Sender(path, 0, 100_000)) as port:
            reader, writer = await ask(port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
            for _ in range(3):
                assert await read_answer(reader, 100_000) == data
            writer.close()

    run(main())


def test_a_body_goes_on_behind_a_file(run: Run, tmp_path: Path) -> None:
    path, data = a_file(tmp_path, 1_000)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = [(b"content-length", b"1010")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": b"begin", "more_body": True})
        with path.open("rb") as file:
            span = {"file": file, "offset": 0, "count": 1_000, "more_body": True}
            await send({"type": ZERO_COPY, **span})
        await send({"type": "http.response.body", "body": b"ended"})

    async def main() -> None:
        async with serving(app) as port:
            reader, writer = await ask(port)
            assert await read_answer(reader, 1_010) == b"begin" + data + b"ended"
            writer.close()

    run(main())


def test_a_client_that_leaves_costs_no_descriptor_and_is_no_failure(
    run: Run, tmp_path: Path
) -> None:
    path, _ = a_file(tmp_path, LARGE)

    async def main() -> None:
        sender = Sender(path, 0, LARGE)
        async with serving(sender) as port:
            before = open_descriptors()
            reader, writer = await ask(port)
            await reader.readexactly(1_000)
            writer.transport.abort()
            await sender.ended.wait()
            assert sender.failure is None
            await closed_down_to(before)

    run(main())


def test_a_client_that_leaves_before_the_answer_begins_is_no_failure(
    run: Run, tmp_path: Path
) -> None:
    path, _ = a_file(tmp_path, 1_000)

    async def main() -> None:
        sender, arrived = Sender(path, 0, 1_000), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            arrived.set()
            while (await receive())["type"] != "http.disconnect":
                pass
            await sender(scope, receive, send)

        async with serving(app) as port:
            _, writer = await ask(port)
            await arrived.wait()
            writer.transport.abort()
            await sender.ended.wait()
            assert sender.failure is None

    run(main())


def test_a_client_that_leaves_while_more_is_to_go_before_the_file_is_no_failure(
    run: Run, tmp_path: Path
) -> None:
    path, _ = a_file(tmp_path, 1_000)

    async def main() -> None:
        sending, ended = asyncio.Event(), asyncio.Event()
        failures: list[BaseException] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            length = [(b"content-length", b"%d" % (LARGE + 1_000))]
            await send({"type": "http.response.start", "status": 200, "headers": length})
            await send({"type": "http.response.body", "body": bytes(LARGE), "more_body": True})
            sending.set()
            try:
                with path.open("rb") as file:
                    await send({"type": ZERO_COPY, "file": file, "offset": 0, "count": 1_000})
            except BaseException as failure:
                failures.append(failure)
                raise
            finally:
                ended.set()

        async with serving(app) as port:
            reader, writer = await ask(port)
            await reader.readexactly(1)
            await sending.wait()
            writer.transport.abort()
            await ended.wait()
            assert failures == []

    run(main())


def test_a_sending_that_is_cancelled_costs_no_descriptor(run: Run, tmp_path: Path) -> None:
    path, _ = a_file(tmp_path, LARGE)

    async def main() -> None:
        sender, sendings = Sender(path, 0, LARGE), list[asyncio.Task[Any]]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            sendings.append(task)
            await sender(scope, receive, send)

        async with serving(app) as port:
            before = open_descriptors()
            reader, writer = await ask(port)
            await reader.readexactly(1_000)
            sendings[0].cancel()
            await sender.ended.wait()
            assert isinstance(sender.failure, asyncio.CancelledError)
            writer.close()
            await closed_down_to(before)

    run(main())


def test_a_sending_that_breaks_when_it_was_cancelled_is_no_failure_of_the_server_s(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = a_file(tmp_path, 1_000)
    may_break = threading.Event()
    # What it logs of the cancelled application would hold on to the sending.
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "disabled", True)

    async def main() -> None:
        loop, begun = asyncio.get_running_loop(), asyncio.Event()
        sender, sendings = Sender(path, 0, 1_000), list[asyncio.Task[Any]]()

        def sendfile(*_: int) -> int:
            loop.call_soon_threadsafe(begun.set)
            may_break.wait(PATIENCE)
            raise ConnectionResetError

        async def app(scope: Any, receive: Any, send: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            sendings.append(task)
            await sender(scope, receive, send)

        monkeypatch.setattr(os, "sendfile", sendfile)
        async with serving(app) as port:
            before = open_descriptors()
            _, writer = await ask(port)
            await begun.wait()
            sendings[0].cancel()
            await sender.ended.wait()
            may_break.set()
            writer.close()
            await closed_down_to(before)

    run(main())


def test_a_file_that_is_too_short_ends_the_connection(run: Run, tmp_path: Path) -> None:
    path, data = a_file(tmp_path, 1_000)

    async def main() -> None:
        sender = Sender(path, 0, 1_001)
        async with serving(sender) as port:
            reader, writer = await ask(port)
            _, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            assert body == data
            assert isinstance(sender.failure, OSError)

    run(main())


def test_no_more_is_sent_than_was_promised(run: Run, tmp_path: Path) -> None:
    path, _ = a_file(tmp_path, 1_000)

    async def main() -> None:
        sender = Sender(path, 0, 1_000, length=999)
        async with serving(sender) as port:
            reader, writer = await ask(port)
            _, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            assert body == b""
            assert isinstance(sender.failure, RuntimeError)

    run(main())


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_bodies_that_come_at_once_are_not_mixed_up(run: Run, framing: str) -> None:
    """All connections are read by way of one buffer; what is in it is gone before the next."""
    bodies = [os.urandom(3_000_001 + number) for number in range(4)]

    async def echo(_scope: Any, receive: Any, send: Any) -> None:
        got, more = bytearray(), True
        while more:
            message = await receive()
            got.extend(message["body"])
            more = message["more_body"]
            await asyncio.sleep(0)
        length = [(b"content-length", b"%d" % len(got))]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": bytes(got)})

    async def ask_twice(port: int, body: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + framed(body, framing))
            assert await read_answer(reader, len(body)) == body
        writer.close()

    async def main() -> None:
        async with serving(echo) as port:
            await asyncio.gather(*(ask_twice(port, body) for body in bodies))

    run(main())


def framed(body: bytes, framing: str) -> bytes:
    if framing == "length":
        return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    half = len(body) // 2
    parts = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:half], body[half:]))
    return b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"


def test_a_client_that_leaves_in_a_body_is_noticed(run: Run) -> None:
    async def main() -> None:
        left = asyncio.Event()

        async def app(_scope: Any, receive: Any, _send: Any) -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()

        async with serving(app) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
            await writer.drain()
            writer.close()
            await left.wait()

    run(main())


def test_a_body_is_read_ahead_up_to_a_bound(run: Run) -> None:
    data = os.urandom(LARGE)

    async def main() -> None:
        got, longest = bytearray(), 0

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal longest
            more = True
            while more:
                message = await receive()
                got.extend(message["body"])
                longest = max(longest, len(message["body"]))
                more = message["more_body"]
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        async with serving(app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n"
            writer.write(head.encode() + data)
            await reader.readuntil(b"\r\n\r\n")
            writer.close()
        assert bytes(got) == data
        # the bound, and the one read that reached it
        assert longest <= 2 * 1024 * 1024

    run(main())
