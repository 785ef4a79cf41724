"""Handing out: shards go to the cluster by ``domain.schedule``, and come back if they are lost."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from batchmill.domain.batch import Status
from batchmill.domain.schedule import Models, Queue
from batchmill.domain.shards import Shard
from batchmill.engine.batch_run import BatchRun
from batchmill.engine.purse import Treasury
from batchmill.engine.queueing import Admissions
from batchmill.engine.roster import FIRST_PAUSE, LONGEST_PAUSE, Roster
from batchmill.engine.shard_reader import ShardReader
from batchmill.ports import Clock, Cluster, ShardEnd, ShardRun, ShardStore

_CLAIM_AT_ONCE: Final = 64

_Picked = list[tuple[BatchRun, Shard]]


class Handout:
    """Knows which batches have a shard waiting and may run, and whose turn it is."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        shards: ShardStore,
        reader: ShardReader,
        treasury: Treasury,
        admissions: Admissions,
        roster: Roster,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._shards = shards
        self._reader = reader
        self._treasury = treasury
        self._admissions = admissions
        self._roster = roster
        self._clock = clock
        self._wake = wake
        self._queue = Queue()
        self._turn = 0
        self._returns: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    # --- who takes part ---

    def offer(self, run: BatchRun) -> None:
        """Let the batch take part, or take part no longer, as it stands now."""
        self._admissions.note(run)
        self._place(run)

    def forget(self, run: BatchRun) -> None:
        """The batch is gone."""
        self._admissions.forget(run)
        self._queue.discard(run.batch.id)

    def _place(self, run: BatchRun) -> None:
        if run.is_ready and self._admissions.may_run(run):
            self._queue.put(run.candidate, run.next_models)
        else:
            self._queue.discard(run.batch.id)

    # --- out ---

    async def hand_out(self) -> None:
        """Give the cluster as many lines as its slots can use, fairly over the batches.

        Raises what the store raises when shards are claimed.
        """
        for run in self._admissions.rule():
            self._place(run)
        room: dict[str, int] = {}
        while picked := await self._pick(room):
            await self._claim(picked)
            if self._roster.successor is not None:
                return

    async def _pick(self, room: dict[str, int]) -> _Picked:
        """Some shards whose turn it is. They wait no more, and count against the room."""
        picked: _Picked = []

        def has_room(models: Models) -> bool:
            return any(self._room(room, model) > 0 for model in models)

        while len(picked) < _CLAIM_AT_ONCE and not self._is_stopping:
            chosen = self._queue.pick(self._turn, has_room)
            if chosen is None:
                break
            run = self._roster.runs[chosen.batch_id]
            if await self._has_next(run) and has_room(run.next_models):
                picked.append((run, self._take(run, room)))
            self._place(run)
        return picked

    async def _has_next(self, run: BatchRun) -> bool:
        """Whether a shard waits in memory, after reading more of them if need be."""
        is_overdue = self._clock.now() >= run.batch.expires_at
        if is_overdue or self._treasury.halt_of(run.batch.id) is not None:
            return self._set_aside(run)
        if not run.waiting:
            try:
                await self._reader.refill(run)
            except Exception as error:  # noqa: BLE001 - one batch's trouble is not the others'
                self._roster.put_off(run, error)
                return self._set_aside(run)
        if not run.waiting:
            self._roster.touch(run.batch.id)
        return bool(run.waiting)

    def _set_aside(self, run: BatchRun) -> bool:
        """The batch takes part again once its next step has looked into it."""
        run.shards_known = False
        self._roster.touch(run.batch.id)
        return False

    def _take(self, run: BatchRun, room: dict[str, int]) -> Shard:
        shard = run.waiting.popleft()
        for model in shard.models:
            room[model] = self._room(room, model) - shard.lines
        run.served = self._turn
        run.has_begun = True
        self._turn += 1
        return shard

    def _room(self, room: dict[str, int], model: str) -> int:
        if model not in room:
            room[model] = self._cluster.wanted(model)
        return room[model]

    async def _claim(self, picked: _Picked) -> None:
        claimed: Sequence[Shard] = ()
        try:
            if not self._is_stopping:
                claimed = await self._shards.claim([shard for _, shard in picked])
        finally:
            mine = {(shard.batch_id, shard.index): shard for shard in claimed}
            for run, shard in picked:
                if (shard.batch_id, shard.index) not in mine:
                    # It no longer waits in memory: the store is asked again.
                    self._set_aside(run)
                    self._place(run)
        for run, shard in [] if self._is_stopping else picked:
            if (claim := mine.get((shard.batch_id, shard.index))) is not None:
                run.running.add(claim.index)
                self._cluster.run(_shard_run(run, claim), self.on_end)

    # --- back ---

    def on_end(self, shard: Shard, end: ShardEnd) -> None:
        """A shard's run is over."""
        run = self._roster.runs.get(shard.batch_id)
        if run is None:
            self._forget_adopted(shard)
        else:
            run.running.discard(shard.index)
            if end is ShardEnd.FINISHED:
                run.finish(shard)
            elif run.batch.status is Status.IN_PROGRESS and not self._is_stopping:
                self._take_back(run, shard)
            self._roster.touch(shard.batch_id)
        self._wake()

    def _forget_adopted(self, shard: Shard) -> None:
        held = self._roster.adopted.get(shard.batch_id, set())
        held.discard(shard.index)
        if not held:
            self._roster.adopted.pop(shard.batch_id, None)

    def _take_back(self, run: BatchRun, shard: Shard) -> None:
        run.lost.add(shard.index)
        task = asyncio.create_task(self._return_later(run, shard))
        self._returns.add(task)
        task.add_done_callback(self._returns.discard)

    async def _return_later(self, run: BatchRun, shard: Shard) -> None:
        """A lost shard waits again, after a pause that grows with its attempts."""
        await self._clock.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * shard.attempt))
        run.give_back(shard)
        self._roster.touch(shard.batch_id)
        self._wake()

    def stop(self) -> None:
        """Hand out nothing more, and take nothing back."""
        self._is_stopping = True
        for task in self._returns:
            task.cancel()


def _shard_run(run: BatchRun, shard: Shard) -> ShardRun:
    assert run.terms is not None  # noqa: S101 - loaded with the shards; none goes out unpriced
    return ShardRun(
        shard=shard,
        endpoint=run.batch.endpoint,
        input_blob=run.input_blob,
        deadline=run.batch.expires_at,
        terms=run.terms,
    )
