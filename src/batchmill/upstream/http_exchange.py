"""One request from its first connection to its end, over as many as that takes.

It is written once and, where a kept connection turns out to be closed, once more
on a new one: callers never see that.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from batchmill.ports import FaultKind, Outcome, TransportFault
from batchmill.upstream.http_connection import Connection
from batchmill.upstream.http_pool import Pool


class HttpExchange:
    """A request on its way; implements ``ports.Exchange``."""

    __slots__ = ("_body", "_connection", "_deadline", "_head", "_on_end", "_pool", "_task")

    def __init__(
        self, pool: Pool, head: bytes, body: bytes, on_end: Callable[[Outcome], None]
    ) -> None:
        self._pool = pool
        self._head = head
        self._body = body
        self._on_end = on_end
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, timeout: float) -> None:
        """Send it; it ends within ``timeout`` seconds."""
        self._deadline = self._pool.now() + timeout
        if timeout <= 0:
            self._spawn(self._refuse())
        elif (connection := self._pool.take()) is not None:
            self._use(connection)
        else:
            self._spawn(self._connect())

    def cancel(self) -> None:
        """See ``ports.Exchange.cancel``."""
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None

    def end(self, outcome: Outcome | None) -> None:
        """The connection has an outcome, or was closed before it could be used."""
        self._connection = None
        if outcome is not None:
            self._on_end(outcome)
        else:
            # Other kept ones may have been closed too: take none of them.
            self._spawn(self._connect())

    def _use(self, connection: Connection) -> None:
        self._connection = connection
        connection.begin(self._head, self._body, self._deadline, self)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.create_task(work)

    async def _refuse(self) -> None:
        self._task = None
        self.end(TransportFault(FaultKind.TIMEOUT, "no time was left to send it"))

    async def _connect(self) -> None:
        try:
            connection = await self._pool.open(self._deadline)
            self._task = None
            self._use(connection)
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            self._task = None
            self.end(error)
