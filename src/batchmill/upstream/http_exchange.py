"""One request from its first connection to its end, over as many as that takes.

It is written once and, where a kept connection turns out to be closed, once more
on a new one: callers never see that.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from batchmill.ports import FaultKind, Outcome, TransportFault
from batchmill.upstream.http_connection import Connection
from batchmill.upstream.http_pool import Pool


class HttpExchange(msgspec.Struct, eq=False):  # a Struct for the same reason as Reply
    """A request on its way, to end by ``deadline`` in the loop's time; a ``ports.Exchange``."""

    _pool: Pool
    _head: bytes
    _body: bytes
    _deadline: float
    _on_end: Callable[[Outcome], None]
    _connection: Connection | None = None
    _task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        # The event loop shows whose callback is broken; and the head holds the API key.
        return "HttpExchange()"

    def begin(self) -> None:
        """Send it, on a kept connection if there is one."""
        connection = self._connection = self._pool.take()
        if connection is not None:
            connection.begin(self._head, self._body, self._deadline, self)
        else:
            self._spawn(self._connect())

    def refuse(self) -> None:
        """Do not send it: it has no time left."""
        self._spawn(self._refuse())

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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.create_task(work)

    async def _refuse(self) -> None:
        self._task = None
        self.end(TransportFault(FaultKind.TIMEOUT, "no time was left to send it"))

    async def _connect(self) -> None:
        try:
            connection = self._connection = await self._pool.open(self._deadline)
            self._task = None
            connection.begin(self._head, self._body, self._deadline, self)
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            self._task = None
            self.end(error)
