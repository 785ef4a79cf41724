"""A cursor that asks the driver's thread once for a statement.

The driver (aiosqlite 0.22) goes to its thread and back for each of: making a
cursor, executing, fetching, closing. A turn there costs more than most
statements do. Here a statement, its first rows and the end of a cursor that
has no more of them are one turn.
"""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Self

# More than most answers have; what is beyond is fetched as it is asked for.
_ROWS_AT_ONCE: Final = 256

InThread = Callable[[Callable[[sqlite3.Connection], None]], Awaitable[None]]


class QuickCursor:
    """A cursor as SQLAlchemy uses it. ``in_thread`` calls a function in the driver's thread.

    Each verb raises what SQLite raises.
    """

    def __init__(self, in_thread: InThread) -> None:
        self._in_thread = in_thread
        self._cursor: sqlite3.Cursor | None = None
        self._rows: list[Any] = []
        self.arraysize = 1
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Execute a statement, and fetch its first rows."""

        def run(connection: sqlite3.Connection) -> None:
            cursor = self._cursor = connection.execute(sql, parameters)
            self.description = cursor.description
            self._fetch(_ROWS_AT_ONCE)
            self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid

        await self._in_thread(run)

    async def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Execute a statement that has no rows, once for each of ``parameters``."""

        def run(connection: sqlite3.Connection) -> None:
            cursor = connection.executemany(sql, parameters)
            self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid
            cursor.close()

        await self._in_thread(run)

    async def fetchone(self) -> Any:
        """The next row, None behind the last."""
        rows = await self.fetchmany(1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """Up to ``size`` rows, none behind the last."""
        wanted = self.arraysize if size is None else size
        lacking = wanted - len(self._rows)
        if lacking > 0 and self._cursor is not None:
            await self._in_thread(lambda _: self._fetch(lacking))
        rows, self._rows = self._rows[:wanted], self._rows[wanted:]
        return rows

    async def fetchall(self) -> Sequence[Any]:
        """All rows that are left."""
        if self._cursor is not None:
            await self._in_thread(lambda _: self._fetch(None))
        rows, self._rows = self._rows, []
        return rows

    async def __aiter__(self) -> AsyncIterator[Any]:
        while rows := await self.fetchmany(_ROWS_AT_ONCE):
            for row in rows:
                yield row

    async def close(self) -> None:
        """Free what SQLite holds for it."""
        if self._cursor is not None:
            await self._in_thread(lambda _: self._end())

    # --- in the thread ---

    def _fetch(self, most: int | None) -> None:
        """Fetch rows; behind the last the cursor is at its end."""
        cursor = self._cursor
        if cursor is None:
            return
        rows = cursor.fetchall() if most is None else cursor.fetchmany(most)
        self._rows += rows
        if most is None or len(rows) < most:
            self._end()

    def _end(self) -> None:
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            cursor.close()
