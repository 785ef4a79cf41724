"""A dispatcher over a real store, with a cluster that only pretends to run shards.

What is left is the cost of deciding: reading batches, picking shards, claiming
them. The rows are made beforehand, by a process of its own.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import cast

from sqlalchemy import update

from batchmill.domain.batch import Batch, Counts, Event, Status, advance
from batchmill.domain.file import File, Purpose
from batchmill.domain.shards import Shard, ShardStatus
from batchmill.engine.delivery import Deliverer
from batchmill.engine.dispatcher import Dispatcher
from batchmill.engine.planning import Planner
from batchmill.engine.prices import PriceBook
from batchmill.engine.purse import Treasury
from batchmill.ports import Cluster, Quota, ShardEnd, ShardRun
from batchmill.store import SqlStore
from batchmill.store.tables import shards as shard_rows
from batchmill.wiring.parts import SystemClock

SHARDS = 100
LINES = 500
SLOTS = 64
AT_ONCE = 8
MODEL = "m"
ACCOUNTS = 10
DAY = 86_400.0
_BYTES = 600 * LINES


def shards_of(running: int) -> int:
    """Shards of each of so many running batches: a single one is larger, to measure by it."""
    return max(SHARDS, 1_000 // running)


def some_shards(batch_id: str, count: int, status: ShardStatus) -> list[Shard]:
    """The shards of a file."""
    return [
        Shard(
            batch_id=batch_id,
            index=n,
            start=n * _BYTES,
            end=(n + 1) * _BYTES,
            first_line=n * LINES + 1,
            lines=LINES,
            models=(MODEL,),
            status=status,
        )
        for n in range(count)
    ]


async def seed(store: SqlStore, *, running: int, finished: int, now: float) -> None:
    """Batches of 100 shards: so many in progress, and so many that are completed."""
    for n in range(ACCOUNTS):
        file = File(
            id=f"file-batch-{n}",
            account=f"account-{n}",
            purpose=Purpose.BATCH,
            filename="in.jsonl",
            bytes=SHARDS * _BYTES,
            digest="d" * 64,
            blob="files/x",
            created_at=now,
        )
        await store.files.add(file, Quota(files=10**6, bytes=10**15))
    for n in range(finished):
        done = some_shards(f"batch_done_{n}", SHARDS, ShardStatus.DONE)
        planned = await _plan(store, done, n, now - DAY)
        stopping = advance(planned, Event.SETTLED, now)
        assert await store.batches.move(planned, stopping)
        await deliver(store, stopping, now)
    for n in range(running):
        waiting = some_shards(f"batch_{n}", shards_of(running), ShardStatus.WAITING)
        await _plan(store, waiting, n, now)


async def _plan(store: SqlStore, shards: Sequence[Shard], n: int, now: float) -> Batch:
    batch = Batch(
        id=shards[0].batch_id,
        account=f"account-{n % ACCOUNTS}",
        input_file_id=f"file-batch-{n % ACCOUNTS}",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        status=Status.VALIDATING,
        created_at=now + n * 1e-3,
        # Neighbours in time are none by their deadlines.
        expires_at=now + DAY + n * 7919 % 10_007,
    )
    await store.batches.create(batch, None, ())
    planned = replace(advance(batch, Event.PLANNED, now), model=MODEL)
    assert await store.batches.plan(batch, planned, shards)
    return planned


async def deliver(store: SqlStore, batch: Batch, now: float) -> None:
    """The batch's end, without files."""
    lines = SHARDS * LINES
    after = replace(advance(batch, Event.DELIVERED, now), counts=Counts(lines, lines, 0))
    await store.batches.deliver(batch, after, ())


class NoDelivery:
    """Ends batches without looking at a line."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    async def deliver(self, batch: Batch) -> None:
        await deliver(self._store, batch, batch.created_at)


class PretendCluster:
    """Ends ``AT_ONCE`` shards, waits for the next ones, and so on.

    The rows of a batch are set done once its last shard is over: what workers
    write is not what is measured here.
    """

    def __init__(self, store: SqlStore, shards: int) -> None:
        self._store = store
        self._shards = shards
        self._room = SLOTS * LINES
        self._out: list[tuple[Shard, Callable[[Shard, ShardEnd], None]]] = []
        self._over: Counter[str] = Counter()
        self._came = asyncio.Event()
        self.handed_out = 0

    async def attach(self, on_end: Callable[[Shard, ShardEnd], None]) -> Sequence[Shard]:  # noqa: ARG002
        return ()

    def run(self, run: ShardRun, on_end: Callable[[Shard, ShardEnd], None]) -> None:
        self._room -= run.shard.lines
        self._out.append((run.shard, on_end))
        self.handed_out += 1
        self._came.set()

    def wanted(self, model: str) -> int:  # noqa: ARG002
        return self._room

    async def cancel(self, batch_id: str, grace: float) -> None:
        """Nothing is cancelled here."""

    async def stop(self, grace: float) -> None:
        """Nothing runs."""

    async def serve_until(self, shards: int) -> None:
        """End shards until so many were handed out in all."""
        while self.handed_out < shards:
            self._came.clear()
            over, self._out = self._out[:AT_ONCE], self._out[AT_ONCE:]
            await self._end(over)
            try:
                await asyncio.wait_for(self._came.wait(), 0.05)
            except TimeoutError:
                continue

    async def _end(self, over: Iterable[tuple[Shard, Callable[[Shard, ShardEnd], None]]]) -> None:
        for shard, on_end in over:
            self._over[shard.batch_id] += 1
            if self._over[shard.batch_id] == self._shards:
                await self._set_done(shard.batch_id)
            self._room += shard.lines
            on_end(shard, ShardEnd.FINISHED)

    async def _set_done(self, batch_id: str) -> None:
        own = shard_rows.c.batch_id == batch_id
        async with self._store._database.relaxed() as connection:
            await connection.execute(update(shard_rows).where(own).values(status="done"))


def a_dispatcher(store: SqlStore, cluster: PretendCluster) -> Dispatcher:
    """A dispatcher as a server has it, but for planning and delivery."""
    clock = SystemClock()
    return Dispatcher(
        store=store,
        cluster=cast("Cluster", cluster),
        planner=cast("Planner", None),
        deliverer=cast("Deliverer", NoDelivery(store)),
        prices=PriceBook(store.prices),
        treasury=Treasury(caps=store.caps, ledger=store.ledger, clock=clock),
        clock=clock,
        poll_interval=1.0,
        cancel_grace=60.0,
    )
