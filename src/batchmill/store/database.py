"""A connection for reading or for writing, and foreign errors in the house's words.

``write`` is a transaction; ``relaxed`` is one as well, but a power cut may undo
it. Whether others write meanwhile depends on the kind of database: who decides
by what it read calls ``serialize`` first, or locks the rows that it read. No SQL
of one database only: that lives with its ``Backend``.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Protocol

from sqlalchemy import Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from batchmill.domain.errors import BatchmillError, Superseded
from batchmill.store.seat import Seat
from batchmill.store.tables import leadership

# The lock, which SQLite neither knows nor needs, makes the next leader's update wait: what is
# written here commits before the next epoch begins, or not at all.
_LEADING = (
    select(leadership.c.epoch)
    .where(leadership.c.epoch == bindparam("mine"))
    .with_for_update(read=True)
)

# What transactions wait for each other about: what an account keeps, and what batches it has.
QUOTA, BATCHES = "quota", "batches"


class Backend(Protocol):
    """What one kind of database does in its own way."""

    reading: Mapping[str, Any]
    """The options of a connection whose statements stand alone."""
    writing: Mapping[str, Any]
    """The options of a connection that begins a transaction."""

    def connect(self, *, durable: bool = True) -> AsyncEngine:
        """An engine, for connections with the options of one of the two kinds.

        Without ``durable`` a commit does not wait for the disk. It survives the
        end of the process all the same, and never undoes a durable one.
        """
        ...

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Where writers of this process wait for each other, if they must."""
        ...

    def opening(self) -> AbstractAsyncContextManager[None]:
        """Keep every other process from opening the database meanwhile."""
        ...

    async def prepare(self, engine: AsyncEngine) -> None:
        """Settle what lasts as long as the database; called while ``opening``."""
        ...

    async def serialize(self, connection: AsyncConnection, *names: str) -> None:
        """Until the transaction ends, let no other one go on that names the same."""
        ...

    def seat(self) -> Seat:
        """What the engine takes that decides."""
        ...

    async def ring(self, connection: AsyncConnection) -> None:
        """Wake whoever listens."""
        ...

    async def listen(self, on_ring: Callable[[], None]) -> None:
        """Call ``on_ring`` now and at every ring, until the connection ends."""
        ...

    async def lock(
        self, connection: AsyncConnection, rows: Select[Any], values: Mapping[str, Any]
    ) -> None:
        """Keep the rows that are selected for update from every other transaction."""
        ...

    def explain(self, error: BaseException) -> BatchmillError | None:
        """An error of the database in the house's words; None for faults of the caller."""
        ...


class Database:
    """The engines of one database, with its three ways in.

    Each raises StorageAway where the database cannot be reached: then it is not
    known whether a transaction was committed.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._engine = backend.connect()
        self._lazy = backend.connect(durable=False)
        self._reading = self._engine.execution_options(**backend.reading)
        self._writing = self._engine.execution_options(**backend.writing)
        self._relaxing = self._lazy.execution_options(**backend.writing)
        self._epoch: int | None = None

    def fence(self, epoch: int) -> None:
        """From now on refuse to write with Superseded unless ``epoch`` is the present one."""
        self._epoch = epoch

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection to read with; each statement sees a consistent state."""
        with self._errors_translated():
            async with self._reading.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end, rolled back on an error.

        Raises StorageFull, and Superseded where a fence is up.
        """
        with self._errors_translated():
            async with self.backend.turn(), self._writing.begin() as connection:
                await self._assert_leading(connection)
                yield connection

    @asynccontextmanager
    async def relaxed(self) -> AsyncIterator[AsyncConnection]:
        """``write`` for what may be forgotten: a power cut may undo it, a kill does not.

        Later durable writes make it durable as well. Raises StorageFull and Superseded.
        """
        with self._errors_translated():
            async with self.backend.turn(), self._relaxing.begin() as connection:
                await self._assert_leading(connection)
                yield connection

    async def serialize(self, connection: AsyncConnection, *names: str) -> None:
        """Until the transaction ends, let no other one go on that names the same.

        What is read behind this call is what the others left.
        """
        await self.backend.serialize(connection, *names)

    async def lock(
        self, connection: AsyncConnection, rows: Select[Any], values: Mapping[str, Any]
    ) -> None:
        """Until the transaction ends, keep others from the rows that are selected for update.

        For statements that would lock the same rows in an order of their own.
        """
        await self.backend.lock(connection, rows, values)

    @asynccontextmanager
    async def opening(self) -> AsyncIterator[None]:
        """Keep every other process from opening the database; raises StorageFull."""
        with self._errors_translated():
            async with self.backend.opening():
                await self.backend.prepare(self._engine)
                yield

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()
        await self._lazy.dispose()

    async def _assert_leading(self, connection: AsyncConnection) -> None:
        if self._epoch is None:
            return
        if (await connection.execute(_LEADING, {"mine": self._epoch})).first() is None:
            raise Superseded("Another engine decides over this database now; this one must stop.")

    @contextmanager
    def _errors_translated(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            explained = self.backend.explain(error)
            if explained is None:
                raise
            raise explained from error
