"""What a batch costs the database beside others, in steps and rows and not in time: no more.

SQLite counts the instructions that it runs, PostgreSQL the rows that it reads
and the entries of its indexes.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bench.crowd import Crowd, Kind, entry_of, files_of, shards_of
from postgres_server import DATABASES
from sqlalchemy import Connection, event, text
from store_cases import PLENTY, T0, a_batch, a_tally

from batchmill.domain.batch import Batch, Event, Status, advance
from batchmill.domain.shards import ShardStatus
from batchmill.ports import BatchQuery, FileQuery
from batchmill.store import SqlStore, open_store

FEW, MANY = 20, 120
PAGE = 5
ACCOUNT = "acme"
HARMLESS = 1.3
"""What is looked for lies deeper in a larger tree, and on one page more or less."""
FREE = 80
"""Instructions or rows that are not worth a look."""

AS_IF_LARGE = "enable_seqscan=off&enable_mergejoin=off&enable_hashjoin=off"
"""A table of some hundred rows is cheaper to read whole, and PostgreSQL does so."""

Step = Callable[[], Awaitable[Any]]


class Counter(ABC):
    """What a store has done so far."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store

    @abstractmethod
    async def total(self) -> int: ...

    @abstractmethod
    async def settle(self) -> None:
        """Let the database know how much it holds."""

    async def of(self, step: Step) -> int:
        before = await self.total()
        await step()
        return await self.total() - before


class Instructions(Counter):
    """Those of SQLite's machine, ten at a time."""

    def __init__(self, store: SqlStore) -> None:
        super().__init__(store)
        self.counted = 0
        event.listen(store._database._engine.sync_engine, "checkout", self._watch)

    def _watch(self, connection: Any, _record: object, _proxy: object) -> None:
        connection.run_async(lambda driver: driver.set_progress_handler(self._count, 10))

    def _count(self) -> int:
        self.counted += 10
        return 0

    async def total(self) -> int:
        return self.counted

    async def settle(self) -> None:
        """It goes by its indexes alone."""


class Rows(Counter):
    """Those that PostgreSQL reads, in tables and in indexes."""

    def __init__(self, store: SqlStore) -> None:
        super().__init__(store)
        event.listen(store._database._engine.sync_engine, "begin", self._tell_at_once)

    def _tell_at_once(self, connection: Connection) -> None:
        """By itself a session tells once a second, and then of another step's rows too."""
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")

    async def total(self) -> int:
        async with self.store._database.read() as connection:
            await connection.execute(text("SELECT pg_stat_force_next_flush()"))
        async with self.store._database.read() as connection:
            tables = "SELECT sum(seq_tup_read) FROM pg_stat_user_tables"
            indexes = "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes"
            both = text(f"SELECT ({tables}) + ({indexes})")
            return int((await connection.execute(both)).scalar_one())

    async def settle(self) -> None:
        async with self.store._database.read() as connection:
            await connection.execute(text("VACUUM (ANALYZE)"))


@asynccontextmanager
async def counting(database: str, folder: Path) -> AsyncIterator[Counter]:
    is_server = database == "postgres"
    store = await open_store(f"{DATABASES.of(folder)}&{AS_IF_LARGE}" if is_server else folder / "x")
    try:
        yield Rows(store) if is_server else Instructions(store)
    finally:
        await store.close()


async def life_of(batch: Batch, counter: Counter, oldest: list[Batch]) -> dict[str, int]:
    """What each step of a batch's life did, with lists of all batches in between."""
    store = counter.store
    planned = advance(batch, Event.PLANNED, T0)
    shards = shards_of(planned)
    (file,) = files_of(batch)
    did: dict[str, int] = {}

    async def note(name: str, step: Step) -> None:
        did[name] = await counter.of(step)

    await store.files.add(file, PLENTY)
    await note("create", lambda: store.batches.create(batch, None, ()))
    await note("plan", lambda: store.batches.plan(batch, planned, shards))
    for name, after in (("first page", None), ("last page", oldest[PAGE])):
        of_batches = BatchQuery(PAGE, after=None if after is None else after.id)
        of_files = FileQuery(PAGE, after=None if after is None else after.input_file_id)
        await note(f"{name} of batches", partial(store.batches.list, ACCOUNT, of_batches))
        await note(f"{name} of files", partial(store.files.list, ACCOUNT, of_files))
    await note("uses", lambda: store.batches.using(ACCOUNT, [file.id], most=20))
    await note("get", lambda: store.batches.get(ACCOUNT, batch.id))
    await note("read", lambda: store.batches.unfinished([batch.id]))
    await note("sums", lambda: store.shards.sums(batch.id))
    await note("undone", lambda: store.shards.undone(batch.id, 0, 32))
    await note("claim", lambda: store.shards.claim(shards[:2]))
    await note("settled", store.shards.settled)
    running = await store.shards.of_batch(batch.id)
    tallies = [a_tally(one, 10, entries=(entry_of(one, batch),)) for one in running[:2]]
    assert {one.status for one in running[:2]} == {ShardStatus.RUNNING}
    await note("tally", lambda: store.shards.tally(tallies))
    await note("spent", lambda: store.ledger.of_batch(batch.id))
    await note("close", lambda: store.shards.close(tallies[0]))
    stopping = advance(planned, Event.CANCEL_REQUESTED, T0)
    await note("move", lambda: store.batches.move(planned, stopping))
    await note("fence", lambda: store.shards.fence(batch.id))
    ended = advance(stopping, Event.DELIVERED, T0)
    await note("deliver", lambda: store.batches.deliver(stopping, ended, ()))
    return did


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_no_step_of_a_batch_does_more_beside_more_batches(
    database: str, kind: Kind, tmp_path: Path
) -> None:
    """Finished ones and waiting ones, each of a hundred shards."""
    crowd = Crowd(kind, ACCOUNT, T0 - 86_400)
    oldest = [crowd.batch(number) for number in range(PAGE + 1)]

    async def main() -> None:
        async with counting(database, tmp_path) as counter:
            found = []
            for before, after in ((0, FEW), (FEW, MANY)):
                await crowd.grow(counter.store, before=before, after=after)
                await counter.settle()
                young = a_batch(f"own-{after}", input_file_id=f"file-batch-own-{after}")
                found.append(await life_of(young, counter, oldest))
            few, many = found
            assert few.keys() == many.keys()
            assert sum(few.values()) > FREE
            grown = {
                name: (few[name], count)
                for name, count in many.items()
                if count > few[name] * HARMLESS + FREE
            }
            assert grown == {}

    asyncio.run(main())


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_the_dispatchers_look_does_no_more_beside_more_finished_batches(
    database: str, tmp_path: Path
) -> None:
    """It reads a row of each unfinished one, of which there are none."""
    crowd = Crowd(Kind.FINISHED, ACCOUNT, T0 - 86_400)

    async def main() -> None:
        async with counting(database, tmp_path) as counter:
            store = counter.store
            did = []
            for before, after in ((0, FEW), (FEW, MANY)):
                await crowd.grow(store, before=before, after=after)
                await counter.settle()
                did.append(await counter.of(store.batches.standing))
            assert did[1] <= did[0] * HARMLESS + FREE
            assert dict(await store.batches.standing()) == {}
            assert crowd.batch(0).status is Status.COMPLETED

    asyncio.run(main())
