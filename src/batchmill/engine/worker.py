"""The worker: runs shards on the lanes of the models that their lines ask for.

A shard's run reads its byte range, skips the lines that earlier attempts have
settled, feeds the rest to the lanes, and closes the shard in the store when
every line is durable in the journal.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from batchmill import faultpoint
from batchmill.domain.lines import RawLine, Request, parse_request
from batchmill.domain.shards import FIRST_ATTEMPT, Shard
from batchmill.engine.active import ActiveShard, Job
from batchmill.engine.budget import Budget
from batchmill.engine.lane import Lane, Promise
from batchmill.engine.purse import Purses
from batchmill.engine.reading import read_groups
from batchmill.ports import Blobs, Clock, Journal, RunKey, Settled, ShardEnd, ShardRun, ShardStore
from batchmill.telemetry import EngineMetrics, Fact, get_logger

log = get_logger()

# The event loop gets a turn after so many lines of feeding.
_BREATH = 64


class ShardBroken(Exception):
    """The input no longer holds what the plan says: its bytes were changed behind our back."""


@contextmanager
def _promised(lanes: Iterable[Lane], lines: int) -> Iterator[Promise]:
    """Tell lanes of lines before they are read, so that they do not ask for more."""
    promise = Promise(lines)
    for lane in lanes:
        lane.promises.add(promise)
    try:
        yield promise
    finally:
        for lane in lanes:
            lane.promises.discard(promise)


@dataclass(frozen=True, slots=True)
class Feed:
    """Where the lines of a shard go, by their model's place in it, and what was promised there."""

    lanes: Sequence[Lane]
    promise: Promise

    def offer(self, jobs: Sequence[Job]) -> None:
        """Queue each line on its model's lane, as was promised."""
        self.promise.left -= len(jobs)
        if len(self.lanes) == 1:
            self.lanes[0].offer(*jobs)
            return
        for job in jobs:
            self.lanes[job.model].offer(job)


class LocalWorker:
    """Runs shards in this process. ``lane_of`` finds a model's lane, making it if need be."""

    def __init__(
        self,
        *,
        blobs: Blobs,
        journal: Journal,
        shards: ShardStore,
        treasury: Purses,
        lane_of: Callable[[str], Lane],
        max_bytes_in_flight: int,
        clock: Clock,
        max_line_bytes: int,
        metrics: EngineMetrics,
    ) -> None:
        self._blobs = blobs
        self._journal = journal
        self._shards = shards
        self._treasury = treasury
        self._lane_of = lane_of
        # A lane has its own, so that lines which wait for one model cannot starve another.
        self._budgets = defaultdict[Lane, Budget](lambda: Budget(max_bytes_in_flight))
        self._clock = clock
        self._max_line_bytes = max_line_bytes
        self._metrics = metrics.money
        self._active: set[ActiveShard] = set()
        self._cancelled: set[str] = set()
        # One shard of a lane is read at a time: those behind it would each hold a line that
        # finds no budget.
        self._reading = defaultdict[Lane, asyncio.Lock](asyncio.Lock)
        self._is_stopping = False

    def wanted(self, model: str) -> int:
        """How many more lines this model's slots could use now."""
        return 0 if self._is_stopping else self._lane_of(model).wanted()

    async def run(self, run: ShardRun) -> ShardEnd:
        """Run a shard to its end. Raises BlobMissing, OSError, ShardBroken, StorageFull."""
        log.debug(Fact.SHARD_STARTED, **_names(run))
        lanes = [self._lane_of(model) for model in run.shard.models]
        with _promised(lanes, run.shard.lines) as promise:
            before = await self._before(run.shard)
            active = ActiveShard(run, before, self._budgets[lanes[0]], self._treasury)
            active.segment = await self._journal.open(run.shard, active.note_durable, before)
            return await self._run_active(active, Feed(lanes, promise))

    async def _before(self, shard: Shard) -> Settled:
        """What earlier attempts at the shard have left, if there were any."""
        if shard.attempt == FIRST_ATTEMPT:
            return Settled({}, frozenset())
        return await self._journal.read(shard.batch_id, shard.index)

    async def _run_active(self, active: ActiveShard, feed: Feed) -> ShardEnd:
        self._active.add(active)
        if self._is_stopping or active.batch_id in self._cancelled:
            active.stop()
        try:
            await self._feed_until_stopped(active, feed)
            await active.over.wait()
        finally:
            self._active.discard(active)
            self._halt([active])
            active.abort()
            # Only then can nothing be appended any more.
            await active.over.wait()
            try:
                await active.segment.close()
            finally:
                active.observe(self._metrics)
        return await self._close(active)

    async def _close(self, active: ActiveShard) -> ShardEnd:
        """Tell the store: done where every line is settled, else how far it came."""
        tally = active.tally(self._clock.now())
        if active.settled < active.run.shard.lines:
            await self._shards.tally([tally])
            return ShardEnd.STOPPED
        faultpoint.passed("shard.before_closed")
        async with self._treasury.steady:
            await self._shards.close(tally)
            self._treasury.closed(tally.batch_id, tally.index)
        faultpoint.passed("shard.after_closed")
        log.debug(Fact.SHARD_CLOSED, **_names(active.run))
        return ShardEnd.FINISHED

    # --- feeding ---

    async def _feed_until_stopped(self, active: ActiveShard, feed: Feed) -> None:
        """Feed every line, or give up feeding when the shard is stopped meanwhile."""
        feeding = asyncio.create_task(self._feed_in_turn(active, feed))
        over = asyncio.create_task(active.over.wait())
        try:
            await asyncio.wait({feeding, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            if not feeding.done():
                feeding.cancel()
            await asyncio.wait({feeding})
        if not feeding.cancelled():
            feeding.result()

    async def _feed_in_turn(self, active: ActiveShard, feed: Feed) -> None:
        async with self._reading[feed.lanes[0]]:
            await self._feed(active, feed)

    async def _feed(self, active: ActiveShard, feed: Feed) -> None:
        shard = active.run.shard
        fed = 0
        blob, longest = active.run.input_blob, self._max_line_bytes
        async for group in read_groups(self._blobs, blob, shard, longest):
            fed += len(group)
            while group:
                if active.is_stopped:
                    return
                await self._feed_some(active, feed, group)
                await asyncio.sleep(0)
        if fed != shard.lines:
            raise ShardBroken(f"shard {shard.index} holds {fed} lines, not {shard.lines}")
        active.feeding_ended()

    async def _feed_some(self, active: ActiveShard, feed: Feed, group: list[RawLine]) -> None:
        """Offer the next lines that are not settled yet as soon as there is room for them."""
        lines = len(group)
        requests = _next_requests(active, group)
        feed.promise.left -= lines - len(group) - len(requests)
        size = sum([len(request.body) for _, request in requests])
        # Mostly there is room for all of them at once.
        if self._journal.is_roomy and active.budget.take_at_once(size):
            feed.offer(active.jobs(requests))
            return
        for number, request in requests:
            if active.is_stopped:
                return
            await self._journal.roomy()
            await active.budget.take(len(request.body))
            feed.offer(active.jobs([(number, request)]))

    # --- progress and stopping ---

    def observe(self) -> None:
        """Bring the metrics up to date."""
        for active in self._active:
            active.observe(self._metrics)

    async def report(self) -> None:
        """Write down how far every running shard is."""
        now = self._clock.now()
        await self._shards.tally([active.tally(now) for active in self._active])

    def settled(self) -> Mapping[RunKey, int]:
        """How many lines of each run are durably settled, by earlier attempts too."""
        return {_key_of(active.run): active.settled for active in self._active}

    def give_up(self) -> int:
        """Stop every run and abort what is in flight, without waiting for it; how many runs."""
        mine = list(self._active)
        self._halt(mine)
        for active in mine:
            active.abort()
        return len(mine)

    async def cancel(self, batch_id: str, grace: float) -> None:
        """Send nothing more of this batch; abort what is in flight after ``grace`` seconds."""
        self._cancelled.add(batch_id)
        mine = [active for active in self._active if active.batch_id == batch_id]
        self._halt(mine)
        await self._wait_or_abort(mine, grace)

    async def stop(self, grace: float) -> None:
        """Stop sending, wait up to ``grace`` for what is in flight, then abort it."""
        self._is_stopping = True
        mine = list(self._active)
        log.info(Fact.STOP_REQUESTED, shards=len(mine), grace=grace)
        self._halt(mine)
        await self._wait_or_abort(mine, grace)

    def _halt(self, actives: Iterable[ActiveShard]) -> None:
        for active in actives:
            active.stop()
            for model in active.run.shard.models:
                self._lane_of(model).purge(active)

    async def _wait_or_abort(self, actives: list[ActiveShard], grace: float) -> None:
        if not actives:
            return
        ended = asyncio.create_task(_all_over(actives))
        patience = asyncio.create_task(self._clock.sleep(grace))
        try:
            await asyncio.wait({ended, patience}, return_when=asyncio.FIRST_COMPLETED)
            for active in actives:
                active.abort()
            await ended
        finally:
            ended.cancel()
            patience.cancel()


def _next_requests(active: ActiveShard, group: list[RawLine]) -> list[tuple[int, Request]]:
    """What is to be sent of a group's next lines, which it holds no longer: they may be large."""
    lines = group[:_BREATH]
    del group[:_BREATH]
    return [
        (raw.number, parse_request(raw.data))
        for raw in lines
        if raw.data is not None and raw.number not in active.done_before
    ]


async def _all_over(actives: Iterable[ActiveShard]) -> None:
    for active in actives:
        await active.over.wait()


def _key_of(run: ShardRun) -> RunKey:
    return RunKey(run.shard.batch_id, run.shard.index, run.shard.attempt)


def _names(run: ShardRun) -> dict[str, str | int]:
    shard = run.shard
    return {"batch_id": shard.batch_id, "shard": shard.index, "attempt": shard.attempt}
