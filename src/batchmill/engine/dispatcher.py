"""The dispatcher: the one place that decides what happens to a batch next.

It is woken when something changed and looks from time to time, steps each
batch that something happened to along its life, and hands shards to the
cluster. It holds nothing that the store does not: at start every running
shard that no worker runs goes back to waiting, its journal kept.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from batchmill.domain.allowance import Allowance
from batchmill.domain.batch import Status
from batchmill.domain.errors import Superseded
from batchmill.engine.alarm import Alarm
from batchmill.engine.delivery import Deliverer
from batchmill.engine.handout import Handout
from batchmill.engine.overview import progress_of, show
from batchmill.engine.planning import Planner
from batchmill.engine.prices import PriceBook
from batchmill.engine.purse import Treasury
from batchmill.engine.queueing import Admissions
from batchmill.engine.roster import FIRST_PAUSE, Roster
from batchmill.engine.shard_reader import ShardReader
from batchmill.engine.steps import Steps
from batchmill.ports import Clock, Cluster, Progress, Store
from batchmill.telemetry import EngineMetrics, Fact, get_logger

log = get_logger()

# So that shards go out while a thousand batches are met for the first time.
_STEPS_AT_ONCE: Final = 64


class Dispatcher:
    """Steps batches along their lives. ``run`` goes on until ``stop``."""

    def __init__(
        self,
        *,
        store: Store,
        cluster: Cluster,
        planner: Planner,
        deliverer: Deliverer,
        prices: PriceBook,
        treasury: Treasury,
        clock: Clock,
        poll_interval: float,
        cancel_grace: float,
        allowances: Mapping[str, Allowance] | None = None,
    ) -> None:
        self._store = store
        self._cluster = cluster
        self._treasury = treasury
        self._clock = clock
        self._poll_interval = poll_interval
        self._alarm = Alarm(clock)
        self._roster = Roster(store.batches, clock)
        self._admissions = Admissions(allowances or {})
        reader = ShardReader(store=store, prices=prices, treasury=treasury)
        self._steps = Steps(
            batches=store.batches,
            cluster=cluster,
            planner=planner,
            deliverer=deliverer,
            treasury=treasury,
            reader=reader,
            roster=self._roster,
            clock=clock,
            cancel_grace=cancel_grace,
            wake=self._alarm.ring,
        )
        self._handout = Handout(
            cluster=cluster,
            shards=store.shards,
            reader=reader,
            treasury=treasury,
            admissions=self._admissions,
            roster=self._roster,
            clock=clock,
            wake=self._alarm.ring,
        )
        self._next_look = 0.0
        self._is_asked = True
        self._is_stopping = False

    def wake(self) -> None:
        """Something changed in the store: look."""
        self._is_asked = True
        self._alarm.ring()

    async def run(self) -> None:
        """Move batches until ``stop``.

        Raises what the store raises at the start, and Superseded as soon as
        another engine leads: from then on nothing is handed out.
        """
        try:
            await self._adopt()
            while not self._is_stopping:
                await self._beat()
        finally:
            self._is_stopping = True
            self._handout.stop()
            await self._alarm.close()

    async def _adopt(self) -> None:
        """Go on with the shards that workers are running already; the others wait again."""
        held = await self._cluster.attach(self._handout.on_end)
        for shard in held:
            self._roster.adopted.setdefault(shard.batch_id, set()).add(shard.index)
        await self._store.shards.release(held)

    async def stop(self, grace: float) -> None:
        """Hand out nothing more; stop the cluster; wait for what is being planned or delivered."""
        self._is_stopping = True
        self._handout.stop()
        self._alarm.ring()
        await self._cluster.stop(grace)
        await self._steps.stop()

    def progress(self) -> dict[str, Progress]:
        """How fast each running batch is, and its place among those that wait for their turn."""
        return progress_of(self._roster.runs, self._admissions.waits)

    def observe(self, metrics: EngineMetrics) -> None:
        """Show what there is to do, what waits, and what will end late."""
        show(self._roster.runs, self._admissions.waits, metrics.batches, self._clock.now())

    # --- the beat ---

    async def _beat(self) -> None:
        try:
            await self._tick()
        except Superseded:
            raise
        except Exception:
            log.exception(Fact.DISPATCH_FAILED)
            await self._clock.sleep(FIRST_PAUSE)
        await self._rest()

    async def _tick(self) -> None:
        if self._is_asked or self._clock.now() >= self._next_look:
            await self._look()
        for gone in await self._roster.read():
            self._handout.forget(gone)
        self._steps.invite()
        stepping = self._roster.next(_STEPS_AT_ONCE)
        # Side by side: what they ask of the store at the same time, it is asked at once.
        await asyncio.gather(*map(self._steps.step, stepping))
        for run in stepping:
            self._handout.offer(run)
        if not self._is_stopping and self._roster.successor is None:
            await self._handout.hand_out()
        if self._roster.successor is not None:
            raise self._roster.successor

    async def _look(self) -> None:
        """Compare what is known with the store, which others write as well."""
        is_asked, self._is_asked = self._is_asked, False
        try:
            # Side by side, as in ``_tick``.
            refreshing = asyncio.create_task(self._treasury.refresh())
            try:
                for gone in await self._roster.look():
                    self._handout.forget(gone)
            finally:
                await refreshing
            if self._clock.now() >= self._next_look:
                await self._look_around()
                self._next_look = self._clock.now() + self._poll_interval
        except Exception:
            self._is_asked = is_asked
            raise

    async def _look_around(self) -> None:
        """What nobody tells of: how far the shards are, and limits that others have used up."""
        self._admissions.look_again()
        settled = await self._store.shards.settled()
        now = self._clock.now()
        for batch_id, run in self._roster.runs.items():
            if run.batch.status is not Status.IN_PROGRESS or not run.shards_known:
                continue
            if run.running or run.rate.lines_per_second:
                run.under_way = settled.get(batch_id, 0)
                run.rate.note(run.counts, now)
            if self._treasury.halt_of(batch_id) is not None:
                self._roster.touch(batch_id)

    async def _rest(self) -> None:
        """Until woken, or until the next look or deadline is due."""
        if self._is_stopping:
            return
        if self._roster.has_touched or self._roster.has_stale or self._steps.has_turns:
            self._alarm.ring()
        await self._alarm.wait(until=min(self._next_look, self._roster.next_due))
