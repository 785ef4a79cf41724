"""The driver's connection, mended in one place.

A query that is cancelled has SQLAlchemy close its connection, and stop it as
well where that is cancelled in turn. The driver (aiosqlite 0.22) then tells its
thread twice to end, and waits for the answer to the second time, which never
comes: neither would the event loop come to its end.
"""

import asyncio
import sqlite3
from typing import Any

import aiosqlite


class OnceStopped(aiosqlite.Connection):
    """A connection whose thread is told to end once, and does not outlive the process."""

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(lambda: sqlite3.connect(path, **options), iter_chunk_size=64)
        self._thread.daemon = True

    def stop(self) -> "asyncio.Future[Any] | None":
        """End the thread; what tells of its end, None where that was asked for before."""
        return super().stop() if self._running else None
