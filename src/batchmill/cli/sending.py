"""Files to clients by ``sendfile``: from the disk to the socket, past this process's memory.

It is ASGI's extension ``http.response.zerocopysend``, which uvicorn has not: an
application that finds it in its scope may send an open file, or part of one,
where it would send a body. Copying the bytes through Python costs twice the CPU.
"""

import asyncio
import os
import select
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from batchmill.cli.receiving import ReceivingProtocol
from batchmill.door.content import ZERO_COPY

if TYPE_CHECKING:
    from uvicorn._types import (
        ASGI3Application,
        ASGIReceiveCallable,
        ASGISendCallable,
        ASGISendEvent,
        Scope,
    )

# A client that reads fast is served in one go: handing over to a thread costs as much as sending
# a few hundred KiB. One that reads slowly waits in the loop, where waiting costs nothing.
_TURN_SECONDS: Final = 0.05
_PATIENCE_MS: Final = 5
_PIECE_BYTES: Final = 8 * 1024 * 1024


class SendingProtocol(ReceivingProtocol):
    """The server's protocol, with the extension. Not for TLS, whose bytes have to be encrypted."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        super()._start_asgi_task(cycle, _Sending(cycle, app))


class _Sending:
    """An application for one request, around another: it sends the files."""

    def __init__(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._cycle = cycle
        self._app = app

    async def __call__(
        self, scope: "Scope", receive: "ASGIReceiveCallable", send: "ASGISendCallable"
    ) -> None:
        # A mapping of the framework's, typed as one that knows no such extension.
        cast("dict[str, Any]", scope)["extensions"] = {ZERO_COPY: {}}
        await self._app(scope, receive, partial(self._send, send))

    async def _send(self, send: "ASGISendCallable", message: "ASGISendEvent") -> None:
        event = cast("Mapping[str, Any]", message)
        if event["type"] == ZERO_COPY:
            await self._send_file(event["file"].fileno(), event["offset"], event["count"])
            more = event.get("more_body", False)
            message = {"type": "http.response.body", "body": b"", "more_body": more}
        await send(message)

    async def _send_file(self, file: int, offset: int, count: int) -> None:
        """Send it all, or what the client stays for; raises OSError where the file is too short."""
        cycle = self._cycle
        if self._has_left():
            return
        if count > cycle.expected_content_length:
            raise RuntimeError("The file is longer than the response's content-length.")
        await self._flushed()
        if self._has_left():
            return
        socket = cycle.transport.get_extra_info("socket").fileno()
        try:
            await _pour(_Ends(os.dup(file), os.dup(socket)), offset, offset + count)
            cycle.expected_content_length -= count
        except (ConnectionError, TimeoutError):
            cycle.disconnected = True
            cycle.transport.abort()

    def _has_left(self) -> bool:
        """Whether the client is gone; if so, what else is sent goes nowhere."""
        cycle = self._cycle
        cycle.disconnected = cycle.disconnected or cycle.transport.is_closing()
        return cycle.disconnected

    async def _flushed(self) -> None:
        """Return when all that was written before has gone to the socket."""
        transport = self._cycle.transport
        transport.set_write_buffer_limits(0)
        try:
            await self._cycle.flow.drain()
        finally:
            if not transport.is_closing():
                transport.set_write_buffer_limits()


@dataclass(frozen=True, slots=True)
class _Ends:
    """A file and the socket that it goes to: descriptors of their own, whoever closes theirs."""

    file: int
    socket: int

    def close(self) -> None:
        os.close(self.file)
        os.close(self.socket)


async def _pour(ends: _Ends, at: int, end: int) -> None:
    """Send bytes ``[at, end)`` and close; waits in the loop whenever the client is slow."""
    turn = asyncio.ensure_future(asyncio.to_thread(_push, ends, at, end))
    try:
        while (at := await asyncio.shield(turn)) < end:
            await _writable(ends.socket)
            turn = asyncio.ensure_future(asyncio.to_thread(_push, ends, at, end))
    finally:
        # Not before the turn is over: the descriptors could be another file's.
        turn.add_done_callback(partial(_leave, ends))


def _leave(ends: _Ends, turn: "asyncio.Future[int]") -> None:
    """Close after the last turn. Where nobody waited for it any more, nobody asks how it ended."""
    ends.close()
    if not turn.cancelled():
        turn.exception()


def _push(ends: _Ends, at: int, end: int) -> int:
    """Send for one turn, or until the client is slow; how far it came. It blocks."""
    poll = select.poll()
    poll.register(ends.socket, select.POLLOUT)
    stop = time.monotonic() + _TURN_SECONDS
    while at < end and time.monotonic() < stop:
        try:
            sent = os.sendfile(ends.socket, ends.file, at, min(_PIECE_BYTES, end - at))
        except BlockingIOError:
            if not poll.poll(_PATIENCE_MS):
                break
            continue
        if not sent:
            raise OSError("A file ended before what was to be sent of it did.")
        at += sent
    return at


async def _writable(socket: int) -> None:
    """Return when the socket takes bytes, or is broken."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(socket, _set, ready)
    try:
        await ready
    finally:
        loop.remove_writer(socket)


def _set(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
