"""The dispatcher: the one place that decides what happens to a batch next.

It reads the unfinished batches when it is woken and from time to time, steps
each along its life, and hands shards to the cluster by ``domain.schedule``. It
holds nothing that the store does not: at start every running shard that no
worker runs goes back to waiting, its journal kept.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

from batchmill.domain.allowance import Admission, Allowance
from batchmill.domain.batch import Batch, Event, Halt, LineError, Status, advance
from batchmill.domain.errors import StorageFull
from batchmill.domain.schedule import Candidate, pick
from batchmill.domain.shards import Shard, ShardStatus
from batchmill.engine.batch_run import BatchRun
from batchmill.engine.delivery import Deliverer
from batchmill.engine.overview import show
from batchmill.engine.planning import Planner
from batchmill.engine.prices import PriceBook
from batchmill.engine.purse import Treasury
from batchmill.engine.queueing import rule
from batchmill.ports import BlobMissing, Clock, Cluster, Progress, ShardEnd, ShardRun, Store
from batchmill.telemetry import EngineMetrics, Fact, get_logger

log = get_logger()

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_CLAIM_AT_ONCE = 64


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
        self._planner = planner
        self._deliverer = deliverer
        self._prices = prices
        self._treasury = treasury
        self._clock = clock
        self._poll_interval = poll_interval
        self._cancel_grace = cancel_grace
        self._allowances = allowances or {}
        self._admission: Admission | None = None
        self._runs: dict[str, BatchRun] = {}
        # Shards of a dispatcher that is gone, until their batch is known here.
        self._adopted: dict[str, set[int]] = {}
        self._turn = 0
        self._woken = asyncio.Event()
        self._returns: set[asyncio.Task[None]] = set()
        self._is_stale = True
        self._is_stopping = False

    def wake(self) -> None:
        """Something changed in the store: look."""
        self._is_stale = True
        self._woken.set()

    async def run(self) -> None:
        """Move batches until ``stop``. Raises what the store raises at the start."""
        await self._adopt()
        while not self._is_stopping:
            try:
                await self._tick()
            except Exception:
                log.exception(Fact.DISPATCH_FAILED)
                await self._clock.sleep(_FIRST_PAUSE)
            await self._rest()

    async def _adopt(self) -> None:
        """Go on with the shards that workers are running already; the others wait again."""
        held = await self._cluster.attach(self._on_end)
        for shard in held:
            self._adopted.setdefault(shard.batch_id, set()).add(shard.index)
        await self._store.shards.release(held)

    async def stop(self, grace: float) -> None:
        """Hand out nothing more; stop the cluster; wait for what is being planned or delivered."""
        self._is_stopping = True
        self._woken.set()
        await self._cluster.stop(grace)
        for task in self._returns:
            task.cancel()
        jobs = [run.job for run in self._runs.values() if run.job is not None]
        await asyncio.gather(*jobs, return_exceptions=True)

    def progress(self) -> dict[str, Progress]:
        """How fast each running batch is, and its place among those that wait for their turn."""
        waiting = [run for run in self._runs.values() if run.served < 0]
        waiting.sort(key=lambda run: (run.batch.expires_at, run.batch.created_at))
        places = {run.batch.id: place for place, run in enumerate(waiting, start=1)}
        waits = self._admission.waiting if self._admission is not None else {}
        return {
            batch_id: Progress(
                places.get(batch_id),
                run.rate.lines_per_second,
                waits[batch_id].sentence if batch_id in waits else None,
            )
            for batch_id, run in self._runs.items()
        }

    def observe(self, metrics: EngineMetrics) -> None:
        """Show what there is to do, what waits, and what will end late."""
        waits = self._admission.waiting if self._admission is not None else {}
        show(self._runs, waits, metrics.batches, self._clock.now())

    # --- the beat ---

    async def _tick(self) -> None:
        if self._is_stale:
            self._is_stale = False
            await self._refresh()
        for run in list(self._runs.values()):
            try:
                await self._step(run)
            except Exception as error:  # noqa: BLE001 - one batch's trouble is not the others'
                self._put_off(run, error)
        await self._hand_out()

    async def _rest(self) -> None:
        """Until woken, or until the next look or deadline is due."""
        now = self._clock.now()
        due = min((_due(run) for run in self._runs.values()), default=math.inf)
        wait = max(0.01, min(self._poll_interval, due - now))
        timer = asyncio.create_task(self._clock.sleep(wait))
        woken = asyncio.create_task(self._woken.wait())
        await asyncio.wait({timer, woken}, return_when=asyncio.FIRST_COMPLETED)
        if timer.done():
            self._is_stale = True
        timer.cancel()
        woken.cancel()
        self._woken.clear()

    async def _refresh(self) -> None:
        """Read the unfinished batches; one whose job ends meanwhile is read again next time."""
        await self._treasury.refresh()
        busy = {batch_id for batch_id, run in self._runs.items() if run.job is not None}
        batches = {batch.id: batch for batch in await self._store.batches.unfinished()}
        for batch_id in self._runs.keys() - batches.keys() - busy:
            if not self._runs[batch_id].running:
                del self._runs[batch_id]
        for batch_id in batches.keys() - busy:
            run = self._runs.get(batch_id) or self._begin_run(batches[batch_id])
            run.batch = batches[batch_id]
            run.is_fresh = True
            run.rate.note(run.batch.counts, self._clock.now())

    def _begin_run(self, batch: Batch) -> BatchRun:
        run = BatchRun(batch, running=self._adopted.pop(batch.id, set()))
        self._runs[batch.id] = run
        return run

    # --- one batch, one step ---

    async def _step(self, run: BatchRun) -> None:
        """Do what the batch's status asks for next, unless something is under way."""
        is_due = self._clock.now() >= run.not_before
        if self._is_stopping or run.job is not None or not run.is_fresh or not is_due:
            return
        step = self._STEPS.get(run.batch.status)
        if step is not None:
            await step(self, run)

    async def _step_validating(self, run: BatchRun) -> None:
        if self._is_overdue(run):
            await self._move(run, Event.DEADLINE_PASSED)
        else:
            self._begin(run, self._planner.plan(run.batch))

    async def _step_in_progress(self, run: BatchRun) -> None:
        if not run.shards_known:
            await self._load(run)
        if self._is_overdue(run):
            await self._move(run, Event.DEADLINE_PASSED)
            await self._step_stopping(run)
        elif (run.waiting or run.lost) and (halt := self._treasury.halt_of(run.batch.id)):
            await self._move(run, Event.HALTED, halt)
            await self._step_stopping(run)
        elif not run.waiting and not run.running and not run.lost:
            await self._move(run, Event.SETTLED)
            await self._step_stopping(run)

    async def _step_stopping(self, run: BatchRun) -> None:
        """Finalizing or cancelling: stop what runs, then deliver."""
        if run.batch.status not in (Status.FINALIZING, Status.CANCELLING):
            return
        run.waiting.clear()
        if run.running and not run.is_stopped:
            run.is_stopped = True
            is_patient = run.batch.status is Status.CANCELLING or run.batch.halt is not None
            left = max(0.0, run.batch.expires_at - self._clock.now())
            grace = min(self._cancel_grace, left) if is_patient else 0.0
            self._begin(run, self._cluster.cancel(run.batch.id, grace))
        elif not run.running:
            await self._treasury.admit(run.batch)
            self._begin(run, self._deliverer.deliver(run.batch))

    _STEPS: dict[Status, Callable[["Dispatcher", BatchRun], Awaitable[None]]] = {  # noqa: RUF012
        Status.VALIDATING: _step_validating,
        Status.IN_PROGRESS: _step_in_progress,
        Status.FINALIZING: _step_stopping,
        Status.CANCELLING: _step_stopping,
    }

    def _is_overdue(self, run: BatchRun) -> bool:
        return self._clock.now() >= run.batch.expires_at

    async def _move(self, run: BatchRun, event: Event, halt: Halt | None = None) -> None:
        after = replace(advance(run.batch, event, self._clock.now()), halt=halt)
        if await self._store.batches.move(run.batch, after):
            log.info(Fact.BATCH_MOVED, batch_id=after.id, status=after.status)
            run.batch = after
        if after.status.is_terminal or run.batch is not after:
            self.wake()

    async def _load(self, run: BatchRun) -> None:
        """Learn from the store which shards wait: all that are neither done nor under way here."""
        held = run.running | run.lost
        file = await self._store.files.get(run.batch.account, run.batch.input_file_id)
        run.input_blob = file.blob if file is not None else ""
        shards = await self._store.shards.of_batch(run.batch.id)
        models = dict.fromkeys(model for shard in shards for model in shard.models)
        run.terms = await self._prices.terms(run.batch, list(models))
        await self._treasury.admit(run.batch)
        undone = [one for one in shards if one.status is not ShardStatus.DONE]
        run.unfinished = {one.index: one for one in undone}
        run.has_begun = any(one.attempt for one in shards)
        run.waiting = deque(one for one in undone if one.index not in held)
        run.shards_known = True

    def _begin(self, run: BatchRun, work: Coroutine[Any, Any, None]) -> None:
        if self._is_stopping:
            work.close()
            return
        run.job = asyncio.create_task(self._do(run, work))

    async def _do(self, run: BatchRun, work: Coroutine[Any, Any, None]) -> None:
        """Do one piece of work on a batch; what fails is tried again later."""
        try:
            await self._work_or_break(run, work)
            run.failures = 0
        except Exception as error:  # noqa: BLE001 - one batch's trouble is not the others'
            self._put_off(run, error)
        finally:
            run.job = None
            run.is_fresh = False
            self.wake()

    async def _work_or_break(self, run: BatchRun, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except BlobMissing:
            await self._break(run)

    def _put_off(self, run: BatchRun, error: Exception) -> None:
        run.failures += 1
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(run.failures - 1, 10))
        run.not_before = self._clock.now() + pause
        fact = Fact.STORAGE_FULL if isinstance(error, StorageFull) else Fact.STEP_FAILED
        log.error(
            fact,
            batch_id=run.batch.id,
            status=run.batch.status,
            wait=pause,
            exc_info=error,
        )

    async def _break(self, run: BatchRun) -> None:
        """The input's bytes are gone: nothing can bring this batch to its end."""
        log.error(Fact.BATCH_BROKE, batch_id=run.batch.id)
        after = advance(run.batch, Event.BROKE, self._clock.now())
        message = f"The stored bytes of file {run.batch.input_file_id} are missing."
        broken = LineError("internal_error", message, "input_file_id")
        free = replace(after, errors=(broken,), list_price=0, price=0)
        async with self._treasury.steady:
            if await self._store.batches.move(run.batch, free):
                self._treasury.refund(run.batch.id)

    # --- handing out ---

    async def _hand_out(self) -> None:
        """Give the cluster as many lines as its slots can use, fairly over the batches."""
        picked = [] if self._is_stopping else self._pick_shards()
        if not picked:
            return
        claimed: Sequence[Shard] = ()
        try:
            claimed = await self._store.shards.claim([shard for _, shard in picked])
        finally:
            mine = {(shard.batch_id, shard.index): shard for shard in claimed}
            for run, shard in picked:
                # What was not claimed no longer waits in memory: the store is asked again.
                run.shards_known &= (shard.batch_id, shard.index) in mine
        for run, shard in [] if self._is_stopping else picked:
            if (claim := mine.get((shard.batch_id, shard.index))) is not None:
                run.running.add(claim.index)
                self._cluster.run(self._shard_run(run, claim), self._on_end)

    def _admitted(self) -> list[BatchRun]:
        """The batches that may run now; those that wait for an allowance are told of it."""
        runs = [run for run in self._runs.values() if run.batch.status is Status.IN_PROGRESS]
        if not self._allowances:
            return runs
        self._admission = rule(runs, self._allowances)
        return [run for run in runs if run.batch.id in self._admission.running]

    def _pick_shards(self) -> list[tuple[BatchRun, Shard]]:
        room: dict[str, int] = {}
        picked: list[tuple[BatchRun, Shard]] = []
        admitted = self._admitted()
        while len(picked) < _CLAIM_AT_ONCE:
            candidates = [
                Candidate(run.batch.id, run.batch.expires_at, run.batch.created_at, run.served)
                for run in admitted
                if run.waiting
                and any(self._room(room, model) > 0 for model in run.waiting[0].models)
            ]
            chosen = pick(candidates, self._turn)
            if chosen is None:
                break
            run = self._runs[chosen.batch_id]
            shard = run.waiting.popleft()
            for model in shard.models:
                room[model] = self._room(room, model) - shard.lines
            run.served = self._turn
            run.has_begun = True
            self._turn += 1
            picked.append((run, shard))
        return picked

    def _room(self, room: dict[str, int], model: str) -> int:
        if model not in room:
            room[model] = self._cluster.wanted(model)
        return room[model]

    def _shard_run(self, run: BatchRun, shard: Shard) -> ShardRun:
        assert run.terms is not None  # noqa: S101 - loaded with the shards; none goes out unpriced
        return ShardRun(
            shard=shard,
            endpoint=run.batch.endpoint,
            input_blob=run.input_blob,
            deadline=run.batch.expires_at,
            terms=run.terms,
        )

    def _on_end(self, shard: Shard, end: ShardEnd) -> None:
        run = self._runs.get(shard.batch_id)
        if run is None:
            self._adopted.get(shard.batch_id, set()).discard(shard.index)
        else:
            run.running.discard(shard.index)
            if end is ShardEnd.FINISHED:
                run.unfinished.pop(shard.index, None)
            is_wanted = run.batch.status is Status.IN_PROGRESS and not self._is_stopping
            if end is not ShardEnd.FINISHED and is_wanted:
                self._take_back(run, shard)
        self._woken.set()

    def _take_back(self, run: BatchRun, shard: Shard) -> None:
        run.lost.add(shard.index)
        task = asyncio.create_task(self._return_later(run, shard))
        self._returns.add(task)
        task.add_done_callback(self._returns.discard)

    async def _return_later(self, run: BatchRun, shard: Shard) -> None:
        """A lost shard waits again, after a pause that grows with its attempts."""
        await self._clock.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * shard.attempt))
        run.lost.discard(shard.index)
        if run.batch.status is Status.IN_PROGRESS:
            run.waiting.append(shard)
        self._woken.set()


def _due(run: BatchRun) -> float:
    """When the deadline is to be acted on; never while a job runs, or once the batch stops."""
    is_bound = run.batch.status in (Status.VALIDATING, Status.IN_PROGRESS) and run.job is None
    return max(run.batch.expires_at, run.not_before) if is_bound else math.inf
