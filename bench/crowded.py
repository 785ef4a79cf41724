"""What a batch of 50,000 lines costs beside others that have ended or wait in the database.

One batch after the other is created, planned, listed, and handed out and closed
in part, then taken away again; more and more stand beside it. All goes
through batchmill's own parts, without HTTP and without upstreams.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from statistics import median
from typing import Final

import structlog
from sqlalchemy import delete

from batchmill.blobs import LocalBlobs
from batchmill.domain import ids
from batchmill.domain.batch import Batch
from batchmill.domain.caps import month_start
from batchmill.domain.catalog import Catalog
from batchmill.domain.file import File, Purpose
from batchmill.domain.limits import Limits, Profile
from batchmill.domain.lines import LineRules
from batchmill.domain.periods import LATEST
from batchmill.domain.shards import Shard
from batchmill.engine.batch_run import BatchRun
from batchmill.engine.planning import Planner, ShardSize
from batchmill.engine.prices import PriceBook
from batchmill.engine.purse import Treasury
from batchmill.engine.roster import Roster
from batchmill.engine.shard_reader import WINDOW, ShardReader
from batchmill.ports import BatchQuery, FileQuery, Quota, ShardTally, UsageFilter
from batchmill.service.batches import Batches, BatchSpec, Rules
from batchmill.service.caller import Caller
from batchmill.service.files import Files
from batchmill.store import SqlStore, open_store
from batchmill.store.batches import SqlBatches
from batchmill.store.database import Database
from batchmill.store.tables import audit, batches, files, ledger, ledger_items, meters, shards
from batchmill.wiring.parts import SystemClock
from bench.crowd import ENDPOINT, SECONDS_APART, Crowd, Kind, entry_of
from bench.databases import Databases
from bench.dispatch_house import LINES, MODEL, SHARDS
from bench.inputs import write_requests

ACCOUNT: Final = "acme"
LINE_BYTES: Final = 300
PAGE: Final = 10
_INPUT: Final = "input.jsonl"
_BLOB: Final = "files/input"
_SHARDS_A_ROUND: Final = 8
_SHARD_BYTES: Final = 8 * 1024 * 1024
_ENOUGH: Final = 10**15

CREATE, PLAN, STORE = "create", "plan", "storing it"
FIRST, LAST, FILES_FIRST, FILES_LAST = "batches", "last page", "files", "last page of files"
OPEN, PICK, CLOSE, LOOK, SPENT = "open", "pick", "close", "look", "the month's sum"
STEPS: Final = (
    *(CREATE, PLAN, STORE, FIRST, LAST, FILES_FIRST, FILES_LAST),
    *(OPEN, PICK, CLOSE, LOOK, SPENT),
)


@dataclass(frozen=True)
class Crowded:
    """Milliseconds of each step, with so many batches of a kind beside the one at hand."""

    kind: Kind
    beside: int
    milliseconds: dict[str, float]


def measure(folder: Path, made: Databases, *, beside: Sequence[int], rounds: int) -> list[Crowded]:
    """A row for each kind and number of batches: medians over the rounds."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    write_requests(folder / _INPUT, lines=SHARDS * LINES, line_bytes=LINE_BYTES, model=MODEL)
    found: list[Crowded] = []
    for kind in Kind:
        where = made.fresh()
        found += asyncio.run(_measure(where, made, folder, kind, beside, rounds))
        made.drop(where)
    return found


async def _measure(
    where: str, made: Databases, folder: Path, kind: Kind, beside: Sequence[int], rounds: int
) -> list[Crowded]:
    store = await open_store(where)
    crowd = Crowd(kind, ACCOUNT, time.time() - (max(beside) + 1) * SECONDS_APART)
    house = _House(store, LocalBlobs(folder / f"blobs-{kind}"), crowd)
    await house.take_in(folder / _INPUT)
    found = []
    for count in beside:
        await house.grow(count)
        await asyncio.to_thread(made.tidy, where)
        found.append(Crowded(kind, count, await house.typical(rounds)))
    await store.close()
    return found


class _Storing(SqlBatches):
    """Rows of batches, and how long it took to store a plan."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.seconds = 0.0

    async def plan(self, before: Batch, after: Batch, shards: Sequence[Shard]) -> bool:
        """As the store does it."""
        began = time.perf_counter()
        done = await super().plan(before, after, shards)
        self.seconds = time.perf_counter() - began
        return done


class _House:
    """Services, planner and what the dispatcher has, over one store."""

    def __init__(self, store: SqlStore, blobs: LocalBlobs, crowd: Crowd) -> None:
        clock = SystemClock()
        limits = Limits(max_unfinished_batches=10**6)
        catalog = Catalog({MODEL: frozenset({ENDPOINT})})
        rules = Rules(catalog, limits, Profile.QWEN)
        self._store = store
        self._blobs = blobs
        self._crowd = crowd
        self._beside = 0
        self._rows = store.batches = _Storing(store._database)
        self._caller = Caller(account=ACCOUNT)
        self._batches = Batches(store=store, clock=clock, rules=rules, wake=lambda: None)
        self._files = Files(store=store.files, blobs=blobs, clock=clock, limits=limits)
        prices = PriceBook(store.prices)
        self._planner = Planner(
            store=store,
            blobs=blobs,
            clock=clock,
            rules=LineRules(ENDPOINT, catalog, Profile.QWEN, limits),
            shard_size=ShardSize(lambda _: LINES, _SHARD_BYTES),
            prices=prices,
        )
        self._treasury = Treasury(caps=store.caps, ledger=store.ledger, clock=clock)
        self._reader = ShardReader(store=store, prices=prices, treasury=self._treasury)
        self._roster = Roster(store.batches, clock)
        self._took: defaultdict[str, list[float]] = defaultdict(list)

    async def take_in(self, source: Path) -> None:
        """Store the bytes that every batch has as its input."""
        writer = await self._blobs.create(_BLOB)
        await writer.write(source.read_bytes())
        await writer.commit()
        self._bytes = source.stat().st_size

    async def grow(self, count: int) -> None:
        """Have so many others beside."""
        await self._crowd.grow(self._store, before=self._beside, after=count)
        self._beside = count

    async def typical(self, rounds: int) -> dict[str, float]:
        """The median of each step in milliseconds, after a round that is not counted."""
        await self._round()
        self._took.clear()
        for _ in range(rounds):
            await self._round()
        return {step: median(self._took[step]) * 1e3 for step in STEPS}

    async def _round(self) -> None:
        """One batch, until some of its shards are closed; then it is as if it had not been."""
        await self._look()
        file = await self._add_input()
        with self._timed(CREATE):
            state = await self._batches.create(self._caller, BatchSpec(file.id, ENDPOINT, "24h"))
        with self._timed(PLAN):
            await self._planner.plan(state.batch)
        self._took[STORE].append(self._rows.seconds)
        await self._list(state.batch)
        with self._timed(LOOK):
            await self._look()
        with self._timed(SPENT):
            await self._sum_up()
        await self._hand_out(state.batch)
        await self._remove(state.batch)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._took[step].append(time.perf_counter() - began)

    async def _add_input(self) -> File:
        now = time.time()
        file = File(
            id=ids.input_file_id(token_bytes(12)),
            account=ACCOUNT,
            purpose=Purpose.BATCH,
            filename=_INPUT,
            bytes=self._bytes,
            digest="d" * 64,
            blob=_BLOB,
            created_at=now,
        )
        await self._store.files.add(file, Quota(files=_ENOUGH, bytes=_ENOUGH))
        return file

    async def _list(self, own: Batch) -> None:
        """The first page of ten, and the last."""
        batch, file = self._before_last_page(own)
        for step, after in ((FIRST, None), (LAST, batch)):
            with self._timed(step):
                await self._batches.list(self._caller, BatchQuery(PAGE, after=after))
        for step, after in ((FILES_FIRST, None), (FILES_LAST, file)):
            with self._timed(step):
                await self._files.list(self._caller, FileQuery(PAGE, after=after))

    def _before_last_page(self, own: Batch) -> tuple[str, str]:
        """The batch and the file behind which there is a page and no more."""
        files = PAGE if self._crowd.kind is Kind.WAITING else PAGE // 2
        batch, other = (
            self._crowd.batch(number) if number < self._beside else own for number in (PAGE, files)
        )
        return batch.id, other.input_file_id

    async def _look(self) -> None:
        """What the dispatcher asks once a second."""
        await self._treasury.refresh()
        await self._roster.look()
        await self._roster.read()
        await self._store.shards.settled()

    async def _sum_up(self) -> None:
        """What the creation of a batch asks beside all else where there is a monthly limit."""
        since = month_start(time.time())
        await self._store.usage.spent(UsageFilter(ACCOUNT, since, LATEST))

    async def _hand_out(self, own: Batch) -> None:
        """Some of its shards, from all over it."""
        batch = (await self._batches.retrieve(self._caller, own.id)).batch
        with self._timed(OPEN):
            await self._reader.open(BatchRun(batch))
        await self._treasury.forget(batch.id)
        for index in range(0, SHARDS, SHARDS // _SHARDS_A_ROUND):
            with self._timed(PICK):
                window = await self._store.shards.undone(batch.id, index, WINDOW)
                (shard,) = await self._store.shards.claim(window[:1])
            tally = _tally_of(shard, batch)
            await self._store.shards.tally([tally])
            with self._timed(CLOSE):
                assert await self._store.shards.close(tally)

    async def _remove(self, batch: Batch) -> None:
        own = [table.c.batch_id for table in (ledger_items, ledger, meters, shards)]
        named = [*own, batches.c.id, audit.c.target]
        async with self._store._database.relaxed() as connection:
            for column in named:
                await connection.execute(delete(column.table).where(column == batch.id))
            await connection.execute(delete(files).where(files.c.id == batch.input_file_id))


def _tally_of(shard: Shard, batch: Batch) -> ShardTally:
    entry = entry_of(shard, batch)
    return ShardTally(
        batch_id=batch.id,
        index=shard.index,
        attempt=shard.attempt,
        completed=LINES,
        failed=0,
        usage=entry.usage,
        resent=0,
        at=batch.created_at,
        entries=(entry,),
    )
