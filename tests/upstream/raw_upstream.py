"""An upstream made of bare bytes, for what no well-meant server would send."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import cast

from batchmill.ports import Target


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> tuple[bytes, bytes]:
        """The next request's head and body; raises IncompleteReadError at the end."""
        head = await self.receive_head()
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return head, await self._reader.readexactly(length)

    async def receive_head(self) -> bytes:
        """The next request's head; its body stays unread."""
        return await self._reader.readuntil(b"\r\n\r\n")

    async def receive_body(self, length: int) -> bytes:
        """What follows a head that was received by itself."""
        return await self._reader.readexactly(length)

    async def send(self, *pieces: bytes) -> None:
        """Send the pieces, each on its own."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()

    async def wait_for_end(self) -> None:
        """Return when the client has closed."""
        with contextlib.suppress(ConnectionError):
            await self._reader.read()

    def close(self) -> None:
        """Close the connection after what was sent."""
        self._writer.close()

    def cut(self) -> None:
        """End the connection at once, without a farewell."""
        self._writer.transport.abort()

    def reset(self) -> None:
        """End it so that the other side sees an error, and no end."""
        linger = struct.pack("ii", 1, 0)
        endpoint = self._writer.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()

    def stop_sending(self) -> None:
        """Close only the server's direction."""
        self._writer.write_eof()

    def stop_reading(self) -> None:
        """Leave what comes from now on in the kernel."""
        cast("asyncio.Transport", self._writer.transport).pause_reading()


Script = Callable[[Peer], Awaitable[None]]


class RawUpstream:
    """A listening socket whose every connection is played by ``script``."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.port = 0
        self.server: asyncio.Server | None = None

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Play a new connection, and know of that from the start."""
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._play(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(partial(self._leave, writer))

    def _leave(self, writer: asyncio.StreamWriter, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            writer.transport.abort()
        else:
            task.result()

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(
                asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError
            ):
                await self._script(Peer(reader, writer))
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def end(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await self.wait_until_left()

    def stop_listening(self) -> None:
        """Take no new connections; those that are open go on."""
        assert self.server is not None
        self.server.close()

    async def wait_until_left(self) -> None:
        """Return when every connection has ended; those that come meanwhile too."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def target(self, **settings: float) -> Target:
        return Target(f"http://127.0.0.1:{self.port}/v1", **settings)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def listen(
    script: Script,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[RawUpstream]:
    """A raw upstream, on a free port if none is named."""
    upstream = RawUpstream(script)
    upstream.server = server = await asyncio.start_server(
        upstream.accept, host, port, ssl=tls, limit=2**26, backlog=4096
    )
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        await upstream.end()
        await server.wait_closed()


def answer(*pieces: bytes, close: bool = False) -> Script:
    """A script that gives every request the same bytes, and closes after the first if told to."""

    async def play(peer: Peer) -> None:
        while True:
            await peer.receive()
            await peer.send(*pieces)
            if close:
                peer.close()
                return

    return play


def plain(body: bytes, status: str = "200 OK", fields: str = "") -> bytes:
    """An answer with a Content-Length."""
    return f"HTTP/1.1 {status}\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body
