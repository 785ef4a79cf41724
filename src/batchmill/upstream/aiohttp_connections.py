"""aiohttp's connections, watched: what its own errors do not tell of how a request ended.

A ``Line`` is one connection over all of its requests, a ``Writing`` one request on one of them.
"""

import asyncio
import math
import socket
import ssl
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from aiohttp.tracing import Trace

from batchmill.upstream.http_answer import FRAMING_ALLOWANCE
from batchmill.upstream.http_connection import KEEPALIVE_IDLE


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Times are seconds. Where ``keeps`` is false, a connection serves one request."""

    keeps: bool
    connect_timeout: float
    idle_timeout: float
    tls: ssl.SSLContext | None


class Line:
    """One connection."""

    def __init__(self, protocol: ResponseHandler) -> None:
        self._protocol = protocol
        self.has_served = False
        # What is read from it now.
        self.content: aiohttp.StreamReader | None = None

    @property
    def is_garbled(self) -> bool:
        """Whether it ended because of what came over it."""
        return isinstance(self._protocol.exception(), HttpProcessingError)

    @property
    def is_broken(self) -> bool:
        """Whether it ended otherwise than by being closed."""
        return isinstance(self._protocol.exception(), OSError)

    def end(self) -> None:
        """It has ended: whoever still reads from it is told, which the library forgets to do.

        That is so after a broken chunk.
        """
        content = self.content
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError())


class Writing:
    """One writing of a request: the line on which it goes out, once there is one."""

    def __init__(self, first_byte_timeout: float | None) -> None:
        # To be entered by whoever writes; it does not run before there is a line.
        self.first_byte = asyncio.timeout(None)
        self._first_byte_timeout = first_byte_timeout
        self._is_repeatable = False
        self.line: Line | None = None

    def begin(self, line: Line) -> None:
        """It goes out; from now on the answer is waited for."""
        self.line = line
        self._is_repeatable = line.has_served
        line.has_served = True
        if self._first_byte_timeout is not None:
            now = asyncio.get_running_loop().time()
            self.first_byte.reschedule(now + self._first_byte_timeout)

    def is_stale_by(self, error: Exception) -> bool:
        """Whether ``error`` means that a kept connection had been closed before its next use.

        One that is reset within the head of an answer cannot be told from that.
        """
        if isinstance(error, aiohttp.ServerDisconnectedError):
            # Otherwise the message is what had come of the answer.
            return self._is_repeatable and isinstance(error.message, str)
        return self._is_repeatable and isinstance(error, ConnectionError | aiohttp.ClientOSError)


# aiohttp has no place where a request could carry this to its connection.
WRITING: ContextVar[Writing] = ContextVar("WRITING")


class Connector(aiohttp.TCPConnector):
    """Tells each ``Writing`` of the line that it got."""

    def __init__(self, settings: SessionSettings) -> None:
        super().__init__(
            # How many there may be is the lane's affair.
            limit=0,
            ssl=settings.tls or True,
            force_close=not settings.keeps,
            keepalive_timeout=settings.idle_timeout if settings.keeps else None,
            socket_factory=_open_socket,
        )
        self._lines: dict[ResponseHandler, Line] = {}

    async def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """As the library's own, but that a line which spoke unasked is not used again.

        What it said would be taken for the next answer.
        """
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None or not protocol.should_close:
                break
            connection.close()
        if protocol is not None:
            WRITING.get().begin(self._lines.get(protocol) or self._watch(protocol))
        return connection

    def _watch(self, protocol: ResponseHandler) -> Line:
        line = Line(protocol)
        ended = protocol.closed
        if ended is not None:
            self._lines[protocol] = line
            ended.add_done_callback(partial(self._forget, protocol))
        return line

    def _forget(self, protocol: ResponseHandler, ended: asyncio.Future[None]) -> None:
        # Asked for, so that nobody complains of an error that is told elsewhere.
        _ = ended.cancelled() or ended.exception()
        self._lines.pop(protocol).end()


def open_session(settings: SessionSettings) -> aiohttp.ClientSession:
    """A session that adds nothing to requests and takes nothing from answers."""
    return aiohttp.ClientSession(
        connector=Connector(settings),
        cookie_jar=aiohttp.DummyCookieJar(),
        # The cap holds for the unpacked size, which must be known while it is unpacked.
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(
            total=None, connect=settings.connect_timeout, ceil_threshold=math.inf
        ),
        max_line_size=FRAMING_ALLOWANCE,
        max_field_size=FRAMING_ALLOWANCE,
    )


def _open_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    """A socket whose long silences the kernel watches over."""
    family, kind, protocol, _, _ = info
    opened = socket.socket(family, kind, protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
    return opened
