"""Receivers of every kind, and ways to them that no name server knows."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from batchmill.webhooks.names import Names
from batchmill.webhooks.sender import Place, Sender, Streams, connect

PUBLIC = "93.184.216.34"
PATIENT = 60.0


@dataclass
class Message:
    """One request as it came."""

    target: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Receiver:
    """A listening socket whose every connection is played by ``script``, and what it heard."""

    script: Script
    port: int = 0
    connections: int = 0
    heard: list[Message] = field(default_factory=list)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                await self.script(reader, writer)
        finally:
            self.tasks.discard(task)
            writer.transport.abort()

    @property
    def url(self) -> str:
        return f"http://hooks.example.com:{self.port}/in?x=1"


async def receive(reader: asyncio.StreamReader) -> Message:
    """The next request; raises IncompleteReadError where none comes."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    pairs = [line.partition(": ") for line in head[1:] if line]
    headers = {name.lower(): value for name, _, value in pairs}
    body = await reader.readexactly(int(headers["content-length"]))
    return Message(head[0], headers, body)


def plain(status: int, more: bytes = b"") -> bytes:
    """A whole answer."""
    return b"HTTP/1.1 %d Said\r\n%sContent-Length: 2\r\n\r\nok" % (status, more)


def answering(*answers: bytes) -> Callable[[Receiver], Script]:
    """Answer the first request with the first answer and so on; the last answer stays."""

    def of(receiver: Receiver) -> Script:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            message = await receive(reader)
            answer = answers[min(len(receiver.heard), len(answers) - 1)]
            receiver.heard.append(message)
            writer.write(answer)
            await writer.drain()
            await reader.read()

        return script

    return of


def silent(receiver: Receiver) -> Script:
    """Take the request, and never answer."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiver.heard.append(await receive(reader))
        await reader.read()

    return script


def endless(first: bytes, again: bytes) -> Callable[[Receiver], Script]:
    """Send ``first``, and then ``again`` for ever."""

    def of(receiver: Receiver) -> Script:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            receiver.heard.append(await receive(reader))
            writer.write(first)
            while True:
                writer.write(again)
                await writer.drain()

        return script

    return of


@asynccontextmanager
async def listen(
    kind: Callable[[Receiver], Script], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver on a free port."""

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...

    receiver = Receiver(nothing)
    receiver.script = kind(receiver)
    server = await asyncio.start_server(receiver.play, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tuple(receiver.tasks):
            task.cancel()
        while receiver.tasks:
            await asyncio.wait(tuple(receiver.tasks))
        await server.wait_closed()


class Dns:
    """Name servers that say one thing after the other; the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = answers
        self.asked: list[str] = []

    def look_up(self, name: str, _port: int) -> Sequence[str]:
        answer = self._answers[min(len(self.asked), len(self._answers) - 1)]
        self.asked.append(name)
        return answer


class Detour:
    """Connects to this machine instead of the address, and remembers which that was."""

    def __init__(self, dead: Sequence[str] = ()) -> None:
        self.places: list[Place] = []
        self._dead = dead

    async def connect(self, place: Place) -> Streams:
        self.places.append(place)
        if place.address in self._dead:
            raise ConnectionRefusedError
        return await connect(Place("127.0.0.1", place.port, place.tls, place.tls_name))


def a_sender(dns: Dns | None = None, detour: Detour | None = None, **more: Any) -> Sender:
    """A sender in a world where every name is public, unless it is told otherwise."""
    return Sender(
        timeout=more.pop("timeout", PATIENT),
        names=Names((dns or Dns([PUBLIC])).look_up),
        connect=(detour or Detour()).connect,
        **more,
    )


Run = Callable[[Coroutine[Any, Any, None]], None]


def run_plain(main: Coroutine[Any, Any, None]) -> None:
    """On the standard library's loop."""
    asyncio.run(main)


def run_fast(main: Coroutine[Any, Any, None]) -> None:
    """On the loop that serves in production."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


on_both_loops = pytest.mark.parametrize("run", [run_plain, run_fast])
