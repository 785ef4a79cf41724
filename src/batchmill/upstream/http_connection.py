"""One connection to an upstream: one request in flight, one answer awaited.

Sets time-outs and reports how each exchange ended. Which connection is used for
what is the pool's affair. Whoever awaits a future from ``begin`` must call
``abandon`` with it when done waiting, whatever the outcome.
"""

import asyncio
import math
import socket
from collections.abc import Callable
from typing import cast

from batchmill.ports import FaultKind, Reply, TransportFault
from batchmill.upstream.http_answer import AnswerReader

# Larger bodies are handed to the transport as they are, instead of being copied behind the head.
COPY_LIMIT = 16 * 1024
# An upstream whose machine has gone is noticed in about this many seconds plus the probes.
KEEPALIVE_IDLE = 60
# Event loops count in milliseconds: a timer may fire this much early.
TIMER_SLACK = 0.001


class Connection(asyncio.Protocol):
    """An open connection.

    ``on_free`` is told when it may serve again, with the loop's time of that;
    ``on_lost`` when it has ended.
    """

    __slots__ = (
        "_answer",
        "_deadline",
        "_is_used",
        "_loop",
        "_on_free",
        "_on_lost",
        "_timer",
        "_timer_at",
        "_transport",
        "_waiter",
    )
    _transport: asyncio.Transport

    def __init__(
        self,
        answer: AnswerReader,
        *,
        on_free: Callable[["Connection", float], None],
        on_lost: Callable[["Connection"], None],
    ) -> None:
        self._answer = answer
        self._on_free = on_free
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[Reply | None] | None = None
        self._is_used = False
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._transport.is_closing()

    def begin(self, head: bytes, body: bytes, deadline: float) -> asyncio.Future[Reply | None]:
        """Send a request; ``deadline`` is in the loop's time.

        The future ends with the Reply, with a TransportFault, or with None
        where a connection that has served before ended without a byte of an
        answer: then the upstream had closed it already, and the request may be
        sent again elsewhere.
        """
        self._answer.expect()
        self._waiter = waiter = self._loop.create_future()
        self._deadline = deadline
        if deadline < self._timer_at:
            self._set_timer(deadline)
        if len(body) < COPY_LIMIT:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        return waiter

    def abandon(self, waiter: asyncio.Future[Reply | None]) -> None:
        """Drop the connection if it is still busy with ``waiter``'s request."""
        if self._waiter is waiter:
            self._waiter = None
            self._transport.abort()

    def fail(self, fault: TransportFault) -> None:
        """Drop the connection; the request in flight ends with ``fault``."""
        waiter, self._waiter = self._waiter, None
        self._transport.abort()
        if waiter is not None and not waiter.done():
            waiter.set_exception(fault)

    # --- Called by the event loop. ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and let the kernel watch over long silences."""
        self._transport = cast("asyncio.Transport", transport)
        endpoint = transport.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the answer; without a request in flight they make the line useless."""
        waiter = self._waiter
        if waiter is None:
            self._transport.abort()
        elif self._answer.feed(data):
            self._settle(waiter)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end: say what it means for the request in flight."""
        if self._timer is not None:
            self._timer.cancel()
        self._on_lost(self)
        waiter = self._waiter
        if waiter is None:
            return
        if exc is None and self._answer.end():
            self._settle(waiter)
        elif self._is_used and not self._answer.has_begun:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)
        else:
            self.fail(TransportFault(FaultKind.RESET, "the connection ended before the answer did"))

    def _settle(self, waiter: asyncio.Future[Reply | None]) -> None:
        answer = self._answer
        reply = answer.reply
        if reply is None:
            self.fail(answer.fault or TransportFault(FaultKind.GARBLED))
            return
        self._waiter = None
        self._is_used = True
        # What is left of a request would stand before the next one.
        if answer.is_reusable and not self._transport.get_write_buffer_size():
            self._on_free(self, self._loop.time())
        else:
            self._transport.abort()
        if not waiter.done():
            waiter.set_result(reply)

    # The timer is left running from request to request and looks at the deadline
    # when it fires: arming one for each request would cost more than the parsing.

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self._waiter is None:
            return
        if self._loop.time() + TIMER_SLACK < self._deadline:
            self._set_timer(self._deadline)
        else:
            self.fail(TransportFault(FaultKind.TIMEOUT, "no whole answer in time"))
