"""An upstream made of bare bytes, for what no well-meant server would send."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

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


Script = Callable[[Peer], Awaitable[None]]


class RawUpstream:
    """A listening socket whose every connection is played by ``script``."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.port = 0

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(
                asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError
            ):
                await self._script(Peer(reader, writer))
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def end(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def target(self, **settings: float) -> Target:
        return Target(f"http://127.0.0.1:{self.port}/v1", **settings)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def listen(
    script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawUpstream]:
    """A raw upstream on a free port."""
    upstream = RawUpstream(script)
    server = await asyncio.start_server(upstream.play, host, 0, ssl=tls, limit=2**26, backlog=4096)
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
