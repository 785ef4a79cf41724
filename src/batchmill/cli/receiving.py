"""Bodies from clients, in large pieces that are copied once on their way to the application.

uvicorn takes what the event loop's own buffer holds, at most a quarter of a MiB, and copies
each piece three times more. The largest share of what an upload costs was that.
"""

import asyncio
from typing import Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_PIECE_BYTES: Final = 1024 * 1024
# How much of a body is taken in before the application has to ask for it. So a piece that is
# larger than this goes on as it is, and no two are put together without need.
_READ_AHEAD_BYTES: Final = 512 * 1024


class ReceivingProtocol(HttpToolsProtocol):
    """uvicorn's own protocol, fed from a larger buffer. Not for TLS, which has its own."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; from now on the transport speaks to whoever holds the buffer."""
        super().connection_made(transport)
        transport.set_protocol(_Inlet(self))

    def on_body(self, body: bytes) -> None:
        """Take in what came of a body, and more of it before the application is woken for it."""
        # Paused already means that an earlier request on this connection is still answered.
        was_paused = self.flow.read_paused
        if not self.cycle.body:
            # Bytes that are added to no bytes are not copied; to a bytearray they are.
            self.cycle.body = cast("bytearray", b"")
        super().on_body(body)
        if not was_paused and len(self.cycle.body) < _READ_AHEAD_BYTES:
            self.flow.resume_reading()


class _Inlet(asyncio.BufferedProtocol):
    """Between a transport and its protocol: passes all on, what comes by way of the buffer.

    One buffer serves all connections: what was read into it is parsed before anything else
    is read, and the parser keeps none of it.
    """

    _buffer: Final = memoryview(bytearray(_PIECE_BYTES))

    def __init__(self, protocol: ReceivingProtocol) -> None:
        self._protocol = protocol

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        # A memory view is what the parser reads from, as it would from bytes.
        self._protocol.data_received(cast("bytes", self._buffer[:nbytes]))

    def eof_received(self) -> None:
        self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()
