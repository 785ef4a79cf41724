"""The next step of one batch along its life: plan, run, stop, deliver."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from batchmill.domain.batch import Batch, Event, Halt, LineError, Status, advance
from batchmill.engine.batch_run import BatchRun
from batchmill.engine.delivery import Deliverer
from batchmill.engine.planning import Planner
from batchmill.engine.purse import Treasury
from batchmill.engine.roster import Roster
from batchmill.engine.shard_reader import ShardReader
from batchmill.engine.turns import Turns
from batchmill.ports import BatchStore, BlobMissing, Clock, Cluster
from batchmill.telemetry import Fact, get_logger

log = get_logger()

_PLANS_AT_ONCE: Final = 4
_DELIVERIES_AT_ONCE: Final = 8


class Steps:
    """Does what a batch's status asks for next. Lasting work is a job, one a batch."""

    def __init__(
        self,
        *,
        batches: BatchStore,
        cluster: Cluster,
        planner: Planner,
        deliverer: Deliverer,
        treasury: Treasury,
        reader: ShardReader,
        roster: Roster,
        clock: Clock,
        cancel_grace: float,
        wake: Callable[[], None],
    ) -> None:
        self._batches = batches
        self._cluster = cluster
        self._planner = planner
        self._deliverer = deliverer
        self._treasury = treasury
        self._reader = reader
        self._roster = roster
        self._clock = clock
        self._cancel_grace = cancel_grace
        self._wake = wake
        self._plans = Turns(_PLANS_AT_ONCE)
        self._deliveries = Turns(_DELIVERIES_AT_ONCE)
        self._is_stopping = False

    async def step(self, run: BatchRun) -> None:
        """Take the next step, unless something is under way; what fails is put off."""
        is_due = self._clock.now() >= run.not_before
        step = self._STEPS.get(run.batch.status)
        if not (self._is_stopping or run.job is not None) and run.is_fresh and is_due and step:
            try:
                await step(self, run)
            except Exception as error:  # noqa: BLE001 - one batch's trouble is not the others'
                self._roster.put_off(run, error)
        self._roster.plan(run)

    def invite(self) -> None:
        """Touch those who waited for a turn that is free now."""
        for turns in (self._plans, self._deliveries):
            for batch_id in turns.next():
                self._roster.touch(batch_id)

    @property
    def has_turns(self) -> bool:
        """Whether ``invite`` would touch somebody."""
        return self._plans.is_open or self._deliveries.is_open

    async def stop(self) -> None:
        """Begin nothing more, and wait for what is under way."""
        self._is_stopping = True
        jobs = [run.job for run in self._roster.runs.values() if run.job is not None]
        await asyncio.gather(*jobs, return_exceptions=True)

    # --- by status ---

    async def _step_validating(self, run: BatchRun) -> None:
        if self._is_overdue(run):
            await self._move(run, Event.DEADLINE_PASSED)
        elif self._plans.take(run):
            self._begin(run, self._plan(run), self._plans)

    async def _step_in_progress(self, run: BatchRun) -> None:
        if not run.shards_known:
            await self._reader.open(run)
        if self._is_overdue(run):
            await self._move(run, Event.DEADLINE_PASSED)
            await self._step_stopping(run)
        elif (run.has_waiting or run.lost) and (halt := self._treasury.halt_of(run.batch.id)):
            await self._move(run, Event.HALTED, halt)
            await self._step_stopping(run)
        elif not run.has_waiting and not run.running and not run.lost:
            await self._settle(run)

    async def _settle(self, run: BatchRun) -> None:
        """Nothing is left to hand out: the batch has settled, if the store says so too."""
        after = advance(run.batch, Event.SETTLED, self._clock.now())
        if await self._batches.settle(run.batch, after):
            self._note_move(run, after)
            await self._step_stopping(run)
        else:
            run.shards_known = False
            self._roster.reread(run)

    async def _step_stopping(self, run: BatchRun) -> None:
        """Finalizing or cancelling: stop what runs, then deliver."""
        if run.batch.status not in (Status.FINALIZING, Status.CANCELLING):
            return
        run.waiting.clear()
        run.unread = 0
        if run.running and not run.is_stopped:
            run.is_stopped = True
            is_patient = run.batch.status is Status.CANCELLING or run.batch.halt is not None
            left = max(0.0, run.batch.expires_at - self._clock.now())
            grace = min(self._cancel_grace, left) if is_patient else 0.0
            self._begin(run, self._cluster.cancel(run.batch.id, grace))
        elif not run.running and self._deliveries.take(run):
            self._begin(run, self._deliver(run.batch), self._deliveries)

    async def _plan(self, run: BatchRun) -> Batch | None:
        run.plan = await self._planner.plan(run.batch)
        return None if run.plan is None else run.plan.batch

    async def _deliver(self, batch: Batch) -> Batch | None:
        await self._treasury.admit(batch)
        return await self._deliverer.deliver(batch)

    _STEPS: dict[Status, Callable[["Steps", BatchRun], Awaitable[None]]] = {  # noqa: RUF012
        Status.VALIDATING: _step_validating,
        Status.IN_PROGRESS: _step_in_progress,
        Status.FINALIZING: _step_stopping,
        Status.CANCELLING: _step_stopping,
    }

    def _is_overdue(self, run: BatchRun) -> bool:
        return self._clock.now() >= run.batch.expires_at

    async def _move(self, run: BatchRun, event: Event, halt: Halt | None = None) -> None:
        after = replace(advance(run.batch, event, self._clock.now()), halt=halt)
        if await self._batches.move(run.batch, after):
            self._note_move(run, after)
        if after.status.is_terminal or run.batch is not after:
            self._roster.reread(run)

    def _note_move(self, run: BatchRun, after: Batch) -> None:
        log.info(Fact.BATCH_MOVED, batch_id=after.id, status=after.status)
        run.batch = after

    # --- jobs ---

    def _begin(
        self, run: BatchRun, work: Coroutine[Any, Any, Batch | None], turns: Turns | None = None
    ) -> None:
        if self._is_stopping:
            work.close()
            return
        run.job = asyncio.create_task(self._do(run, work, turns))

    async def _do(
        self, run: BatchRun, work: Coroutine[Any, Any, Batch | None], turns: Turns | None
    ) -> None:
        """Do one piece of work on a batch; what fails is tried again later.

        The batch is read again, unless the work says what became of it.
        """
        made: Batch | None = None
        try:
            made = await self._work_or_break(run, work)
            run.failures = 0
        except Exception as error:  # noqa: BLE001 - one batch's trouble is not the others'
            self._roster.put_off(run, error)
        finally:
            run.job = None
            if turns is not None:
                turns.give_back()
            if made is None:
                self._roster.reread(run)
            else:
                self._roster.renew(made)
            self._wake()

    async def _work_or_break(
        self, run: BatchRun, work: Coroutine[Any, Any, Batch | None]
    ) -> Batch | None:
        try:
            return await work
        except BlobMissing:
            await self._break(run)
            return None

    async def _break(self, run: BatchRun) -> None:
        """The input's bytes are gone: nothing can bring this batch to its end."""
        log.error(Fact.BATCH_BROKE, batch_id=run.batch.id)
        after = advance(run.batch, Event.BROKE, self._clock.now())
        message = f"The stored bytes of file {run.batch.input_file_id} are missing."
        broken = LineError("internal_error", message, "input_file_id")
        free = replace(after, errors=(broken,), list_price=0, price=0)
        async with self._treasury.steady:
            if await self._batches.move(run.batch, free):
                self._treasury.refund(run.batch.id)
