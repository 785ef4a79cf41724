"""A worker's process as dispatchers reach it: its runs outlive whoever asked for them."""

import asyncio
from collections.abc import Iterable

from batchmill.cluster.link import Caller, Letter, Word, key_of
from batchmill.domain.errors import Superseded
from batchmill.domain.shards import Shard
from batchmill.ports import LeasedWorker, RunKey, ShardEnd, ShardRun
from batchmill.telemetry import Fact, get_logger

log = get_logger()


class WorkerHost:
    """Runs shards for whichever dispatcher leads. ``process`` is as in the worker's reports."""

    def __init__(self, worker: LeasedWorker, process: str) -> None:
        self._worker = worker
        self._process = process
        self._epoch = 0
        self._runs: dict[RunKey, tuple[Shard, asyncio.Task[ShardEnd]]] = {}

    def beat(self, letter: Letter) -> Word:
        """Heed a letter; how the worker is. Raises Superseded."""
        self._obey(letter.orders.grant.epoch)
        for key in letter.told:
            if key in self._runs and self._runs[key][1].done():
                del self._runs[key]
        self._drop(letter.drop)
        report = self._worker.obey(letter.orders)
        return Word(report, tuple(shard for shard, _ in self._runs.values()))

    def _drop(self, keys: Iterable[RunKey]) -> None:
        for key in keys:
            if key in self._runs:
                self._runs.pop(key)[1].cancel()

    async def run(self, caller: Caller, run: ShardRun) -> ShardEnd:
        """Start a run, or join it where it was started; how it ended. Raises Superseded.

        It goes on whatever becomes of the caller, and its end is kept until a
        letter says that it was heard.
        """
        self._obey(caller.epoch)
        key = key_of(run.shard)
        if caller.process == self._process and key not in self._runs:
            self._runs[key] = run.shard, asyncio.create_task(self._run(run))
        return await self.join(caller, key)

    async def join(self, caller: Caller, key: RunKey) -> ShardEnd:
        """How a run ends; lost where there is none. Raises Superseded."""
        self._obey(caller.epoch)
        if caller.process != self._process or key not in self._runs:
            return ShardEnd.LOST
        _, task = self._runs[key]
        await asyncio.wait({task})
        return ShardEnd.LOST if task.cancelled() else task.result()

    async def _run(self, run: ShardRun) -> ShardEnd:
        try:
            return await self._worker.run(run)
        except Exception:
            log.exception(Fact.SHARD_LOST, batch_id=run.shard.batch_id, shard=run.shard.index)
            return ShardEnd.LOST

    async def cancel(self, caller: Caller, batch_id: str, grace: float) -> None:
        """As ``Worker.cancel``. Raises Superseded."""
        self._obey(caller.epoch)
        await self._worker.cancel(batch_id, grace)

    async def stop(self, caller: Caller, grace: float) -> None:
        """As ``Worker.stop``; every run has ended when this returns. Raises Superseded."""
        self._obey(caller.epoch)
        await self._worker.stop(grace)
        if tasks := [task for _, task in self._runs.values()]:
            await asyncio.wait(tasks)

    def _obey(self, epoch: int) -> None:
        if epoch < self._epoch:
            raise Superseded("Another dispatcher has taken over this worker.")
        self._epoch = epoch
