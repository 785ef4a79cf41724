"""The driver's connection, made cheaper and mended in one place.

A transaction begins in the same turn of the driver's thread as its first
statement, and to commit or roll back what was not begun takes none.

A query that is cancelled has SQLAlchemy close its connection, and stop it as
well where that is cancelled in turn. The driver (aiosqlite 0.22) then tells its
thread twice to end, and waits for the answer to the second time, which never
comes: neither would the event loop come to its end.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

import aiosqlite

from batchmill.store.sqlite_cursor import QuickCursor


class DriverConnection(aiosqlite.Connection):
    """A connection whose thread is told to end once, and does not outlive the process."""

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(lambda: sqlite3.connect(path, **options), iter_chunk_size=64)
        self._thread.daemon = True
        self._is_to_begin = False
        self._is_unsure = False

    def begin(self) -> None:
        """Begin a writer's transaction with the next statement."""
        self._is_to_begin = True

    def cursor(self) -> QuickCursor:  # type: ignore[override]
        """A cursor for one statement; nothing is asked of the thread for it."""
        return QuickCursor(self._run)

    async def commit(self) -> None:
        """Commit what was begun, if anything was."""
        await self._finish(sqlite3.Connection.commit)

    async def rollback(self) -> None:
        """Roll back what was begun, if anything was."""
        await self._finish(sqlite3.Connection.rollback)

    async def _finish(self, how: Callable[[sqlite3.Connection], None]) -> None:
        self._is_to_begin = False
        if self._is_unsure or self.in_transaction:
            await self._run(how)
            # The thread does one thing after the other: what it was at is over.
            self._is_unsure = False

    def stop(self) -> "asyncio.Future[Any] | None":
        """End the thread; what tells of its end, None where that was asked for before."""
        return super().stop() if self._running else None

    async def _run(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Do ``work`` on the connection, in the thread; raises what that raises."""
        is_first, self._is_to_begin = self._is_to_begin, False

        def run(connection: sqlite3.Connection) -> None:
            if is_first:
                connection.execute("BEGIN IMMEDIATE")
            work(connection)

        try:
            await self._execute(run, self._conn)  # type: ignore[no-untyped-call]
        except asyncio.CancelledError:
            # The thread goes on with it: what it has done is not known before it is asked again.
            self._is_unsure = True
            raise
