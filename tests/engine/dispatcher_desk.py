"""A dispatcher over a real store, and a cluster whose shards end when the test says so."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from engine_fakes import DAY, T0, FakeClock, settle_down
from engine_house import Proxy, Script

from batchmill.domain.batch import Batch, Counts, Event, Status, advance
from batchmill.domain.shards import Shard
from batchmill.domain.usage import ZERO
from batchmill.engine.delivery import Deliverer
from batchmill.engine.dispatcher import Dispatcher
from batchmill.engine.planning import Planner
from batchmill.engine.prices import PriceBook
from batchmill.engine.purse import Treasury
from batchmill.ports import ShardEnd, ShardRun, ShardTally, Store
from batchmill.store import open_store

LINES = 10
OnEnd = Callable[[Shard, ShardEnd], None]


def some_shards(batch_id: str, count: int, models: tuple[str, ...] = ("m",)) -> list[Shard]:
    return [
        Shard(batch_id, n, n * 1000, (n + 1) * 1000, n * LINES + 1, LINES, models)
        for n in range(count)
    ]


class HandCluster:
    """Takes what there is ``room`` for, and holds it until ``end``."""

    def __init__(self, store: Store, script: Script, held: Sequence[Shard]) -> None:
        self._store = store
        self._script = script
        self._held = held
        self.on_end: OnEnd | None = None
        self.room: dict[str, int] = {}
        self.got: list[Shard] = []
        self.out: dict[tuple[str, int], Shard] = {one_key(shard): shard for shard in held}
        self.cancelled: list[str] = []

    async def attach(self, on_end: OnEnd) -> Sequence[Shard]:
        self.on_end = on_end
        return self._held

    def wanted(self, model: str) -> int:
        return self.room.get(model, 0)

    def run(self, run: ShardRun, on_end: OnEnd) -> None:
        assert one_key(run.shard) not in self.out, "it runs already"
        self.got.append(run.shard)
        self.out[one_key(run.shard)] = run.shard
        for model in run.shard.models:
            self.room[model] -= run.shard.lines
        self._script.tell()

    async def cancel(self, batch_id: str, grace: float) -> None:
        self.cancelled.append(batch_id)
        self._script.tell()

    async def stop(self, grace: float) -> None:
        """What is out stays out."""

    async def finish(self, *shards: Shard) -> None:
        """Close the shards in the store, and tell."""
        for shard in shards:
            tally = ShardTally(shard.batch_id, shard.index, shard.attempt, LINES, 0, ZERO, 0)
            assert await self._store.shards.close(tally)
            self.end(shard, ShardEnd.FINISHED)

    def end(self, shard: Shard, how: ShardEnd) -> None:
        del self.out[one_key(shard)]
        assert self.on_end is not None
        self.on_end(shard, how)


def one_key(shard: Shard) -> tuple[str, int]:
    return shard.batch_id, shard.index


@dataclass
class Desk:
    """The dispatcher, what is around it, and what tests wait for.

    The dispatcher's calls of ``store`` go past the script; the test's own do not.
    """

    store: Store
    script: Script
    clock: FakeClock
    cluster: HandCluster
    dispatcher: Dispatcher
    planned: list[str] = field(default_factory=list)
    delivered: list[str] = field(default_factory=list)
    going: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.going = asyncio.create_task(self.dispatcher.run())
        self.going.add_done_callback(lambda _: self.script.tell())

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when it holds; fails if the dispatcher ends before that."""
        assert self.going is not None
        await self.script.until(lambda: holds() or self.going is None or self.going.done())
        assert holds(), self.going

    async def jobs_over(self) -> None:
        """Return when what is being planned or delivered is done."""
        jobs = [run.job for run in self.dispatcher._roster.runs.values() if run.job is not None]
        await asyncio.gather(*jobs)

    async def until_idle(self) -> None:
        """Return when the dispatcher has done all that it can do by itself; seconds pass.

        It looks around twice: the second time it was through with the first.
        """
        looks = self.script.calls["shards.settled"]
        while self.script.calls["shards.settled"] < looks + 2:
            await self.clock.until_asleep(1)
            self.clock.advance(1.0)
            await settle_down()

    async def add(self, name: str = "batch_1", shards: int = 3, **changes: Any) -> Batch:
        """A batch in progress, its shards waiting."""
        models = changes.pop("models", ("m",))
        batch = await self.create(name, **changes)
        planned = advance(batch, Event.PLANNED, T0)
        planned = replace(planned, model=models[0] if len(models) == 1 else None)
        assert await self.store.batches.plan(batch, planned, some_shards(name, shards, models))
        return planned

    async def create(self, name: str, window: float = DAY, **changes: Any) -> Batch:
        """A batch that is to be planned."""
        batch = Batch(
            id=name,
            account="acme",
            input_file_id="file-1",
            endpoint="/v1/chat/completions",
            completion_window="24h",
            status=Status.VALIDATING,
            created_at=T0,
            expires_at=T0 + window,
        )
        return await self.store.batches.create(replace(batch, **changes), None, ())

    async def move(self, batch: Batch, event: Event) -> Batch:
        """Somebody else moves the batch; nobody is woken."""
        after = advance(batch, event, self.clock.now())
        assert await self.store.batches.move(batch, after)
        return after

    async def status(self, batch: Batch) -> Status:
        found = await self.store.batches.get("acme", batch.id)
        assert found is not None
        return found.status

    async def plan(self, batch: Batch) -> None:
        """The planner: a shard for each batch."""
        self.planned.append(batch.id)
        await self.script.meet("plan")
        after = advance(batch, Event.PLANNED, self.clock.now())
        await self.store.batches.plan(batch, after, some_shards(batch.id, 1))
        self.script.tell()

    async def deliver(self, batch: Batch) -> None:
        """The deliverer: no files."""
        self.delivered.append(batch.id)
        await self.script.meet("deliver")
        after = advance(batch, Event.DELIVERED, self.clock.now())
        await self.store.batches.deliver(batch, replace(after, counts=Counts()), ())
        self.script.tell()


@asynccontextmanager
async def open_desk(
    folder: Path, *, held: Sequence[Shard] = (), start: bool = True
) -> AsyncIterator[Desk]:
    """A desk over the store in ``folder``; may be opened again, as after a restart."""
    store, clock = await open_store(folder / "batchmill.db"), FakeClock()
    script = Script(clock)
    cluster = HandCluster(store, script, held)
    seen = cast("Store", Proxy(store, "", script))
    desk = Desk(store, script, clock, cluster, cast("Dispatcher", None))
    desk.dispatcher = Dispatcher(
        store=seen,
        cluster=cluster,
        planner=cast("Planner", _Plans(desk)),
        deliverer=cast("Deliverer", _Deliveries(desk)),
        prices=PriceBook(store.prices),
        treasury=Treasury(caps=store.caps, ledger=store.ledger, clock=clock),
        clock=clock,
        poll_interval=1.0,
        cancel_grace=60.0,
    )
    if start:
        desk.start()
    try:
        yield desk
    finally:
        if desk.going is not None and not desk.going.done():
            await desk.dispatcher.stop(0.0)
            await desk.going
        await store.close()


@dataclass
class _Plans:
    desk: Desk

    def plan(self, batch: Batch) -> Any:
        return self.desk.plan(batch)


@dataclass
class _Deliveries:
    desk: Desk

    def deliver(self, batch: Batch) -> Any:
        return self.desk.deliver(batch)
