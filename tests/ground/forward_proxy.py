"""A small forward proxy: it makes tunnels, and passes on requests that name their server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

REFUSAL = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


class ForwardProxy:
    """``heads`` are those of the requests that were made to it, tunnels included.

    ``login`` is the field's value without which nobody is let through;
    ``says`` is sent instead of letting anybody through, and ``is_silent`` means
    that nothing is.
    """

    def __init__(
        self, login: str | None = None, says: bytes | None = None, *, is_silent: bool = False
    ) -> None:
        self._login = login
        self._says = says
        self._is_silent = is_silent
        self._tasks: set[asyncio.Task[None]] = set()
        self.heads: list[bytes] = []
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(
                asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError
            ):
                await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def end(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if self._is_silent:
            await reader.read()
        elif self._says is not None:
            writer.write(self._says)
        elif self._login is not None and self._login.encode() not in head:
            writer.write(REFUSAL)
            await writer.drain()
        elif head.startswith(b"CONNECT "):
            await _tunnel(head, reader, writer)
        else:
            await self._pass_on(head, reader, writer)

    async def _pass_on(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        parts = urlsplit(head.split(b" ", 2)[1].decode())
        theirs, ours = await asyncio.open_connection(parts.hostname, parts.port)
        back = asyncio.ensure_future(_pipe(theirs, writer))
        try:
            while True:
                ours.write(_rewritten(head))
                ours.write(await reader.readexactly(_length(head)))
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
        finally:
            back.cancel()
            ours.close()


async def _tunnel(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    host, _, port = head.split(b" ", 2)[1].decode().rpartition(":")
    theirs, ours = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    back = asyncio.ensure_future(_pipe(theirs, writer))
    try:
        await _pipe(reader, ours)
    finally:
        back.cancel()
        ours.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


def _rewritten(head: bytes) -> bytes:
    """The request as the server itself would be sent it."""
    method, url, rest = head.split(b" ", 2)
    fields = [
        line for line in rest.split(b"\r\n") if not line.lower().startswith(b"proxy-authorization:")
    ]
    return b"%b %b %b" % (method, urlsplit(url).path, b"\r\n".join(fields))


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


@contextlib.asynccontextmanager
async def proxying(proxy: ForwardProxy) -> AsyncIterator[ForwardProxy]:
    """The proxy, listening on a free port."""
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()
        await server.wait_closed()
