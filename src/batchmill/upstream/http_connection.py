"""One connection to an upstream: one request in flight, one answer awaited.

Sets time-outs and reports how each exchange ended. Which connection is used for
what is the pool's affair.
"""

import asyncio
import fcntl
import math
import socket
import struct
import sys
import termios
from collections.abc import Callable
from typing import Protocol, cast

from batchmill.ports import FaultKind, Outcome, Reply, TransportFault
from batchmill.upstream.http_answer import AnswerReader

# Larger bodies are handed to the transport as they are, instead of being copied behind the head.
COPY_LIMIT = 16 * 1024
# An upstream whose machine has gone is noticed in about this many seconds plus the probes.
KEEPALIVE_IDLE = 60
# Event loops count in milliseconds: a timer may fire this much early.
TIMER_SLACK = 0.001


class Waiting(Protocol):
    """Who waits for an answer."""

    def end(self, outcome: Outcome | None) -> None:
        """The exchange is over.

        None where a connection that has served before ended without a byte of
        an answer: then the upstream had closed it already, and the request may
        be sent again elsewhere.
        """
        ...


class Connection(asyncio.Protocol):
    """An open connection.

    An answer must begin within ``first_byte_timeout`` seconds, or by its deadline where
    that is None. ``on_free`` is told when it may serve again, with the loop's time of that;
    ``on_lost`` when it has ended.
    """

    __slots__ = (
        "_answer",
        "_deadline",
        "_first_by",
        "_first_byte_timeout",
        "_is_used",
        "_loop",
        "_on_free",
        "_on_lost",
        "_timer",
        "_timer_at",
        "_tls_file",
        "_transport",
        "_waiting",
    )
    _transport: asyncio.Transport

    def __init__(
        self,
        answer: AnswerReader,
        *,
        first_byte_timeout: float | None,
        on_free: Callable[["Connection", float], None],
        on_lost: Callable[["Connection"], None],
    ) -> None:
        self._answer = answer
        self._first_byte_timeout = first_byte_timeout
        self._on_free = on_free
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._waiting: Waiting | None = None
        self._is_used = False
        self._deadline = self._first_by = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._tls_file: int | None = None

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._transport.is_closing()

    def begin(self, head: bytes, body: bytes, deadline: float, waiting: Waiting) -> None:
        """Send a request; ``deadline`` is in the loop's time. ``waiting`` is told later, once."""
        self._waiting = waiting
        self._deadline = due = deadline
        if self._first_byte_timeout is not None:
            due = min(deadline, self._loop.time() + self._first_byte_timeout)
        self._first_by = due
        if due < self._timer_at:
            self._set_timer(due)
        if len(body) < COPY_LIMIT:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def abandon(self) -> None:
        """Drop the connection and the request in flight, of whose end nobody is told."""
        self._waiting = None
        self._transport.abort()

    def fail(self, fault: TransportFault) -> None:
        """Drop the connection; the request in flight ends with ``fault``."""
        waiting, self._waiting = self._waiting, None
        self._transport.abort()
        if waiting is not None:
            waiting.end(fault)

    # --- Called by the event loop. ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and let the kernel watch over long silences."""
        self._transport = cast("asyncio.Transport", transport)
        endpoint = transport.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
        if sys.platform == "linux" and transport.get_extra_info("sslcontext") is not None:
            self._tls_file = endpoint.fileno()

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the answer; without a request in flight they make the line useless."""
        waiting = self._waiting
        if waiting is None:
            self._transport.abort()
        elif (outcome := self._answer.feed(data)) is not None:
            self._settle(waiting, outcome)

    def eof_received(self) -> None:
        """The upstream says no more: it will not be waited for until it reads the rest."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end: say what it means for the request in flight."""
        if self._timer is not None:
            self._timer.cancel()
        self._on_lost(self)
        waiting = self._waiting
        if waiting is None:
            return
        if exc is None and (outcome := self._answer.end()) is not None:
            self._settle(waiting, outcome)
        elif self._is_used and not self._answer.has_begun:
            self._waiting = None
            waiting.end(None)
        else:
            self.fail(TransportFault(FaultKind.RESET, "the connection ended before the answer did"))

    def _settle(self, waiting: Waiting, outcome: Reply | TransportFault) -> None:
        if not isinstance(outcome, Reply):
            self.fail(outcome)
            return
        self._waiting = None
        self._is_used = True
        # What is left of a request would stand before the next one.
        if (
            self._answer.is_reusable
            and not self._transport.get_write_buffer_size()
            and (self._tls_file is None or _is_received(self._tls_file))
        ):
            self._on_free(self, self._loop.time())
        else:
            self._transport.abort()
        waiting.end(outcome)

    # The timer is left running from request to request and looks at the deadline
    # when it fires: arming one for each request would cost more than the parsing.

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self._waiting is None:
            return
        has_begun = self._answer.has_begun
        due = self._deadline if has_begun else self._first_by
        if self._loop.time() + TIMER_SLACK < due:
            self._set_timer(due)
        else:
            missing = "no whole answer" if has_begun else "no byte of an answer"
            self.fail(TransportFault(FaultKind.TIMEOUT, f"{missing} in time"))


def _is_received(file: int) -> bool:
    # What TLS has encrypted its transport does not count any more: the kernel is asked, which
    # has some of it for as long as there is any.
    (unacknowledged,) = struct.unpack("i", fcntl.ioctl(file, termios.TIOCOUTQ, bytes(4)))
    return not unacknowledged
