"""The cluster of one: its only worker lives in this process, one task a shard."""

import asyncio
from collections.abc import Callable, Sequence

from batchmill.domain.shards import Shard
from batchmill.ports import ShardEnd, ShardRun, Worker
from batchmill.telemetry import Fact, get_logger

log = get_logger()


class LocalCluster:
    """Runs shards on one worker, and turns whatever breaks a run into ``LOST``."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._runs: set[asyncio.Task[None]] = set()

    async def attach(self, on_end: Callable[[Shard, ShardEnd], None]) -> Sequence[Shard]:  # noqa: ARG002
        """None: the worker lives and dies with the dispatcher."""
        return ()

    def run(self, run: ShardRun, on_end: Callable[[Shard, ShardEnd], None]) -> None:
        """Hand a shard to the worker; ``on_end`` is called once, later."""
        task = asyncio.create_task(self._run(run, on_end))
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)

    async def _run(self, run: ShardRun, on_end: Callable[[Shard, ShardEnd], None]) -> None:
        end = ShardEnd.LOST
        try:
            end = await self._worker.run(run)
        except Exception:
            log.exception(
                Fact.SHARD_LOST,
                batch_id=run.shard.batch_id,
                shard=run.shard.index,
            )
        finally:
            on_end(run.shard, end)

    async def cancel(self, batch_id: str, grace: float) -> None:
        """Send nothing more of this batch; abort what is in flight after ``grace`` seconds."""
        await self._worker.cancel(batch_id, grace)

    def wanted(self, model: str) -> int:
        """How many more lines this model's slots could use now."""
        return self._worker.wanted(model)

    async def stop(self, grace: float) -> None:
        """Stop the worker; every run's ``on_end`` is called before this returns."""
        await self._worker.stop(grace)
        await asyncio.gather(*self._runs)
