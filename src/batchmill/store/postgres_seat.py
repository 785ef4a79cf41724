"""The seat in PostgreSQL: an advisory lock, held by a connection that does nothing else.

The server frees it when the connection ends. It ends the connection itself
once that says nothing for a while: so neither a machine without power nor a
process that is stopped keeps the seat for good.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import asyncpg

from batchmill.domain.errors import BatchmillError


class Connection(Protocol):
    """As much as is needed of a connection of the driver's."""

    async def fetchval(self, query: str, *values: object, timeout: float) -> object:
        """The only value that a query answers; raises TimeoutError."""
        ...

    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None:
        """Call ``callback`` at every notification."""
        ...

    def add_termination_listener(self, callback: Callable[..., None]) -> None:
        """Call ``callback`` when the connection has ended."""
        ...

    def is_closed(self) -> bool:
        """Whether it has ended."""
        ...

    async def close(self, *, timeout: float) -> None:
        """End it with a word to the server."""
        ...

    def terminate(self) -> None:
        """End it at once; harmless where it has ended."""
        ...


Dial = Callable[..., Awaitable[Connection]]
Explain = Callable[[BaseException], BatchmillError | None]

DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What the driver raises; the last one between a server's last word and the connection's end."""

_BROKEN = (OSError, *DRIVER_ERRORS)


@dataclass(frozen=True, slots=True)
class Terms:
    """Times in seconds: between two signs of life, and of a silence that ends the hold.

    ``again`` is the pause before a seat that is taken is tried once more.
    """

    sign: float = 1.0
    silence: float = 5.0
    again: float = 0.5


USUAL = Terms()


class PostgresSeat:
    """The advisory lock ``key``, on a connection that ``dial`` makes."""

    def __init__(self, dial: Dial, explain: Explain, key: int, terms: Terms = USUAL) -> None:
        self._dial = dial
        self._explain = explain
        self._key = key
        self._terms = terms
        self._connection: Connection | None = None
        self._ended = asyncio.Event()
        self._is_held = False

    async def try_take(self) -> bool:
        """Whether it is held now; False too where the database cannot be reached."""
        try:
            connection = self._connection or await self._connect()
            if self._is_held:
                await self._ask(connection, "SELECT 1")
            else:
                self._is_held = bool(
                    await self._ask(connection, "SELECT pg_try_advisory_lock($1)", self._key)
                )
        except _BROKEN as error:
            is_over = self._connection is not None and self._connection.is_closed()
            self._drop()
            if not is_over and self._explain(error) is None:
                raise
        return self._is_held

    async def pause(self) -> None:
        """Return when it is worth trying again."""
        await asyncio.sleep(self._terms.again)

    async def lost(self) -> None:
        """Return when it may be somebody else's; until then, show that this process lives."""
        while self._is_held and await self.try_take():
            # Not wait_for: before Python 3.12 it may take no notice of being cancelled.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._terms.sign):
                    await self._ended.wait()

    async def leave(self) -> None:
        """Give it up: the lock goes with its connection."""
        connection = self._connection
        if connection is not None:
            with suppress(*_BROKEN):
                await connection.close(timeout=self._terms.sign)
        self._drop()

    async def _connect(self) -> Connection:
        self._connection = connection = await self._dial(
            idle_session_timeout=f"{int(self._terms.silence * 1000)}ms",
            **_keepalives(self._terms),
        )
        # One for each connection: the end of the one before may be told late.
        self._ended = ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        return connection

    async def _ask(self, connection: Connection, question: str, *values: int) -> object:
        return await connection.fetchval(question, *values, timeout=self._terms.silence)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._is_held = False
        if connection is not None:
            connection.terminate()


def _keepalives(terms: Terms) -> dict[str, str]:
    """How the server finds out that the other machine is gone."""
    probes = 3
    each = str(max(1, int(terms.silence / (probes + 1))))
    return {
        "tcp_keepalives_idle": each,
        "tcp_keepalives_interval": each,
        "tcp_keepalives_count": str(probes),
    }
