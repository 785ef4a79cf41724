"""A connection for reading or for writing, and foreign errors in the house's words.

``write`` is a transaction; ``relaxed`` is one as well, but a power cut may undo
it. Whether others write meanwhile depends on the kind of database: who decides
by what it read calls ``serialize`` first, or locks the rows that it read. No SQL
of one database only: that lives with its ``Backend``.

``ask`` and ``transact`` do the same for statements that are known beforehand, at less cost.
Where writers keep each other from the whole database, those that come at the same time share
a transaction, and with it a sync.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from batchmill.domain.errors import BatchmillError, Superseded
from batchmill.store.grouping import Grouping
from batchmill.store.seat import Seat
from batchmill.store.tables import leadership

Answer = TypeVar("Answer")

# The lock, which SQLite neither knows nor needs, makes the next leader's update wait: what is
# written here commits before the next epoch begins, or not at all.
_LEADING = (
    select(leadership.c.epoch)
    .where(leadership.c.epoch == bindparam("mine"))
    .with_for_update(read=True)
)

# What transactions wait for each other about: what an account keeps, and what batches it has.
QUOTA, BATCHES = "quota", "batches"

_Work = Callable[[Connection], Any]

# So that the first of a group does not wait long for the last.
_TOGETHER = 64


class Backend(Protocol):
    """What one kind of database does in its own way."""

    reading: Mapping[str, Any]
    """The options of a connection whose statements stand alone."""
    writing: Mapping[str, Any]
    """The options of a connection that begins a transaction."""
    has_row_locks: bool
    """Whether writers keep each other from single rows, and not from the database."""

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

    def serialize(self, connection: Connection, *names: str) -> None:
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

    async def ask(self, engine: AsyncEngine, work: Callable[[Connection], Answer]) -> Answer:
        """Do ``work``, which only reads, on a connection of ``engine`` or one of its own."""
        ...

    async def transact(self, engine: AsyncEngine, work: Callable[[Connection], Answer]) -> Answer:
        """Do ``work`` in a transaction of ``engine`` or of its own; raises what ``work`` raises."""
        ...

    async def close(self) -> None:
        """Close the connections of its own."""
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
        self._questions: Grouping[_Work, Any] = Grouping(self._ask_all, _TOGETHER)
        self._changes: Grouping[_Work, Any] = Grouping(self._transact_all, _TOGETHER)
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

    async def ask(self, work: Callable[[Connection], Answer]) -> Answer:
        """``read`` for statements that wait for nothing else: what ``work`` comes to.

        See ``transact`` for what it may do. It is to read few rows: others wait for it.
        """
        if self.backend.has_row_locks:
            return (await self._ask_all([work]))[0]
        answer: Answer = await self._questions.do(work)
        return answer

    async def transact(self, work: Callable[[Connection], Answer]) -> Answer:
        """``write`` for statements that wait for nothing else: what ``work`` comes to.

        It is called in another thread, where that is cheaper, and again where others of its
        group failed; so it touches nothing but the connection and what it was made with. Raises
        as ``write`` does, and what ``work`` raises: then nothing of it is stored.
        """
        if self.backend.has_row_locks:
            return (await self._transact_all([work]))[0]
        try:
            answer: Answer = await self._changes.do(work)
        except asyncio.CancelledError:
            # Whoever looks afterwards is to find what was done, or that it was not.
            await self._changes.over()
            raise
        return answer

    async def _ask_all(self, works: Sequence[Callable[[Connection], Answer]]) -> list[Answer]:
        with self._errors_translated():
            return await self.backend.ask(self._reading, lambda own: _all_of(works, own))

    async def _transact_all(self, works: Sequence[Callable[[Connection], Answer]]) -> list[Answer]:
        def lead_and_work(connection: Connection) -> list[Answer]:
            if self._epoch is not None:
                _refuse_unless_found(connection.execute(_LEADING, {"mine": self._epoch}).first())
            return _all_of(works, connection)

        with self._errors_translated():
            return await self.backend.transact(self._writing, lead_and_work)

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
        await connection.run_sync(self.backend.serialize, *names)

    @asynccontextmanager
    async def opening(self) -> AsyncIterator[None]:
        """Keep every other process from opening the database; raises StorageFull."""
        with self._errors_translated():
            async with self.backend.opening():
                await self.backend.prepare(self._engine)
                yield

    async def close(self) -> None:
        """Close every connection."""
        await self.backend.close()
        await self._engine.dispose()
        await self._lazy.dispose()

    async def _assert_leading(self, connection: AsyncConnection) -> None:
        if self._epoch is not None:
            found = await connection.execute(_LEADING, {"mine": self._epoch})
            _refuse_unless_found(found.first())

    @contextmanager
    def _errors_translated(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            explained = self.backend.explain(error)
            if explained is None:
                raise
            raise explained from error


class _Spoilt(Exception):
    """One of a group failed by itself: each is to be done alone."""


def _all_of(
    works: Sequence[Callable[[Connection], Answer]], connection: Connection
) -> list[Answer]:
    if len(works) == 1:
        return [works[0](connection)]
    try:
        return [work(connection) for work in works]
    except BatchmillError as error:
        raise _Spoilt from error


def _refuse_unless_found(epoch: object) -> None:
    if epoch is None:
        raise Superseded("Another engine decides over this database now; this one must stop.")
