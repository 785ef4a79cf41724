"""SQLite's own ways: everything that another database would do otherwise.

One writer at a time, taken with BEGIN IMMEDIATE so that a transaction never
finds out half-way that another process wrote meanwhile. Readers take no lock.
"""

import asyncio
import errno
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from batchmill.domain.errors import StorageFull
from batchmill.store.seat import OnlySeat
from batchmill.store.sqlite_connection import DriverConnection
from batchmill.store.sqlite_thread import SqliteThread

Answer = TypeVar("Answer")

# How long a writer waits for those of other processes before it gives up.
_BUSY_SECONDS = 60
_CONNECTIONS = 5

# FULL syncs the log at every commit. NORMAL leaves that to the next commit that does, or to
# the checkpoint, which syncs the log before it touches the database: a power cut may take the
# last such commits back, but breaks nothing. Each connection has a setting of its own.
_DURABLE = "PRAGMA synchronous = FULL"
_RELAXED = "PRAGMA synchronous = NORMAL"

_PRAGMAS = (
    f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}",
    "PRAGMA foreign_keys = ON",
)

# The second is a write that the file system cut short for another reason than
# ENOSPC (a quota, a file-size limit), the third is no room for the shared index.
_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
_FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})


class SqliteBackend:
    """A database in the file at ``path``, which is made when it is not there."""

    has_row_locks = False
    reading: Mapping[str, Any] = {}
    writing: Mapping[str, Any] = {"writes": True}

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        # Writers of this process queue here, first come first served; without it
        # each would poll the database's lock and some could starve.
        self._turn = asyncio.Lock()
        # One each: questions come in groups, one after the other, and so do changes.
        self._asking = SqliteThread("questions", self._connect_to_ask)
        self._changing = SqliteThread("changes", self._connect_to_change)

    def connect(self, *, durable: bool = True) -> AsyncEngine:
        """An engine that opens connections as they are needed; a relaxed one needs but one."""
        engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(self.path)),
            hide_parameters=True,  # rows hold what clients wrote; errors end up in logs
            pool_size=_CONNECTIONS if durable else 1,
            max_overflow=0,
            pool_timeout=_BUSY_SECONDS,
            # None: the driver begins nothing by itself, _begin below does.
            connect_args={
                "async_creator_fn": DriverConnection,
                "timeout": _BUSY_SECONDS,
                "isolation_level": None,
            },
        )
        event.listen(engine.sync_engine, "connect", _set_up if durable else _set_up_relaxed)
        event.listen(engine.sync_engine, "begin", _begin)
        return engine

    def _connect_to_ask(self) -> Connection:
        return self._plain_engine().connect()

    def _connect_to_change(self) -> Connection:
        engine = self._plain_engine()
        event.listen(engine, "begin", _begin_now)
        return engine.connect()

    def _plain_engine(self) -> Engine:
        """An engine for one thread, which keeps its connection."""
        engine = create_engine(
            URL.create("sqlite+pysqlite", database=str(self.path)),
            hide_parameters=True,
            poolclass=StaticPool,
            connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None},
        )
        event.listen(engine, "connect", _set_up)
        return engine

    def turn(self) -> AbstractAsyncContextManager[None]:
        """One writer of this process at a time."""
        return self._turn

    @asynccontextmanager
    async def opening(self) -> AsyncIterator[None]:
        """Hold a lock file beside the database, for the change to WAL does not wait."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    async def prepare(self, engine: AsyncEngine) -> None:
        """Turn the write-ahead log on; the file remembers it."""
        async with engine.connect() as connection:
            mode = (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one()
            if mode != "wal":
                await connection.exec_driver_sql("PRAGMA journal_mode = WAL")

    def serialize(self, connection: Connection, *names: str) -> None:
        """Nothing to do: there is one writer at a time."""

    def seat(self) -> OnlySeat:
        """The lock of the data folder has been taken before."""
        return OnlySeat()

    async def ring(self, connection: AsyncConnection) -> None:
        """Nobody listens: one machine has a pipe for that."""

    async def listen(self, on_ring: Callable[[], None]) -> None:  # noqa: ARG002
        """Nobody rings."""
        await asyncio.Event().wait()

    async def ask(self, engine: AsyncEngine, work: Callable[[Connection], Answer]) -> Answer:  # noqa: ARG002
        """Do ``work``, which only reads, in one turn of a thread."""
        return await self._asking.do(work)

    async def transact(self, engine: AsyncEngine, work: Callable[[Connection], Answer]) -> Answer:  # noqa: ARG002
        """Do ``work`` and commit it, in one turn of a thread."""

        def change(connection: Connection) -> Answer:
            with connection.begin():
                return work(connection)

        async with self._turn:
            return await self._changing.do(change)

    async def close(self) -> None:
        """Close the connections of its own."""
        await self._asking.close()
        await self._changing.close()

    def explain(self, error: BaseException) -> StorageFull | None:
        """A full disk, if that is what ``error`` means."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        is_full = getattr(cause, "sqlite_errorcode", None) in _FULL
        if is_full or (isinstance(cause, OSError) and cause.errno in _FULL_DISK):
            message = "The disk is full, the database took no more; make room in the data folder."
            return StorageFull(message)
        return None


def _set_up(connection: DBAPIConnection, _record: object) -> None:
    _execute(connection, (_DURABLE, *_PRAGMAS))


def _set_up_relaxed(connection: DBAPIConnection, _record: object) -> None:
    _execute(connection, (_RELAXED, *_PRAGMAS))


def _execute(connection: DBAPIConnection, pragmas: Iterable[str]) -> None:
    cursor = connection.cursor()
    for pragma in pragmas:
        cursor.execute(pragma)
    cursor.close()


def _begin(connection: Connection) -> None:
    # A reader's statements stand alone: a transaction would cost it two more turns
    # of the driver's thread and show it nothing newer.
    if connection.get_execution_options().get("writes"):
        _driver_of(connection).begin()


def _begin_now(connection: Connection) -> None:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - made by the plain engine
    driver.execute("BEGIN IMMEDIATE")


def _driver_of(connection: Connection) -> DriverConnection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, DriverConnection)  # noqa: S101 - made by connect above
    return driver
