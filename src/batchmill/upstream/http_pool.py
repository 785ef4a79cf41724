"""The connections to one upstream: opened on demand, kept while they are warm.

The one used last is used next, so that the surplus of a burst goes idle and is
closed. The pool never decides what is sent.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from batchmill.ports import FaultKind, TransportFault
from batchmill.upstream.http_address import Address
from batchmill.upstream.http_answer import AnswerReader
from batchmill.upstream.http_connection import Connection
from batchmill.upstream.http_head import UsualHead


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Times are seconds. ``tls`` is None for plain HTTP."""

    max_answer_bytes: int
    connect_timeout: float
    first_byte_timeout: float | None
    idle_timeout: float
    tls: ssl.SSLContext | None
    wall_clock: Callable[[], float] = time.time


class Pool:
    """Opens, lends and closes connections to one address."""

    def __init__(self, address: Address, settings: PoolSettings) -> None:
        self._address = address
        self._settings = settings
        self._usual = UsualHead()
        self._is_closed = False
        self._all: set[Connection] = set()
        # In the order in which they went idle, each with the loop's time of that.
        self._idle: dict[Connection, float] = {}
        self._dialing: set[asyncio.Timeout] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None
        # The loop's time, in which deadlines are told. The loop is found by the first request, and
        # not again: to ask for the running one costs a call of the system.
        self.now: Callable[[], float] = self._first_now

    def _first_now(self) -> float:
        self.now = asyncio.get_running_loop().time
        return self.now()

    def take(self) -> Connection | None:
        """The connection that went idle last, or None."""
        return self._idle.popitem()[0] if self._idle else None

    async def open(self, deadline: float) -> Connection:
        """A new connection; ``deadline`` is in the loop's time.

        Raises TransportFault: UNREACHABLE where none comes about, TIMEOUT where
        the deadline comes before the connect time-out, RESET where the pool is
        closed.
        """
        self._check_open()
        connect_by = asyncio.get_running_loop().time() + self._settings.connect_timeout
        try:
            async with asyncio.timeout_at(min(connect_by, deadline)) as limit:
                connection = await self._dial(limit)
        except TimeoutError:
            self._check_open()
            if deadline < connect_by:
                raise TransportFault(FaultKind.TIMEOUT, "no connection in time") from None
            raise self._unreachable("no connection within the connect time-out") from None
        except OSError as error:
            raise self._unreachable(str(error) or type(error).__name__) from None
        return self._admit(connection)

    async def close(self) -> None:
        """Fail what is in flight with RESET, and return when every connection is gone."""
        self._is_closed = True
        loop = asyncio.get_running_loop()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for limit in tuple(self._dialing):
            # One that has just run out ends by itself, and may not be moved any more.
            if not limit.expired():
                limit.reschedule(loop.time())
        for connection in tuple(self._all):
            connection.fail(_closed())
        if self._all:
            self._emptied = self._emptied or loop.create_future()
            await asyncio.shield(self._emptied)

    async def _dial(self, limit: asyncio.Timeout) -> Connection:
        address, tls = self._address, self._settings.tls
        self._dialing.add(limit)
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                self._make_connection,
                address.host,
                address.port,
                ssl=tls,
                server_hostname=address.host if tls is not None else None,
            )
        finally:
            self._dialing.discard(limit)
        return connection

    def _make_connection(self) -> Connection:
        settings = self._settings
        return Connection(
            AnswerReader(settings.max_answer_bytes, settings.wall_clock, self._usual),
            first_byte_timeout=settings.first_byte_timeout,
            on_free=self._idle.__setitem__,
            on_lost=self._forget,
        )

    def _admit(self, connection: Connection) -> Connection:
        if connection.is_closing:
            raise TransportFault(FaultKind.RESET, "the upstream closed a new connection at once")
        self._all.add(connection)
        if self._is_closed:
            connection.fail(_closed())
            raise _closed()
        if self._sweeper is None:
            self._sweep()
        return connection

    def _forget(self, connection: Connection) -> None:
        self._all.discard(connection)
        self._idle.pop(connection, None)
        if not self._all and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _sweep(self) -> None:
        """Close what has been idle for too long, and look again when the next one may have been."""
        loop = asyncio.get_running_loop()
        now, timeout = loop.time(), self._settings.idle_timeout
        for connection, since in tuple(self._idle.items()):
            if since + timeout > now:
                break
            del self._idle[connection]
            connection.fail(_closed())
        oldest = next(iter(self._idle.values()), now)
        self._sweeper = loop.call_at(oldest + timeout, self._sweep) if self._all else None

    def _check_open(self) -> None:
        if self._is_closed:
            raise _closed()

    def _unreachable(self, why: str) -> TransportFault:
        return TransportFault(FaultKind.UNREACHABLE, f"{self._address.authority}: {why}")


def _closed() -> TransportFault:
    return TransportFault(FaultKind.RESET, "the transport is closed")
