"""The cluster of one worker: each run ends exactly once, and what breaks one is LOST."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from batchmill.cluster.local import LocalCluster
from batchmill.domain.ledger import Payer, Terms
from batchmill.domain.shards import Shard
from batchmill.ports import ShardEnd, ShardRun


def a_run(index: int) -> ShardRun:
    shard = Shard(
        batch_id="batch_1", index=index, start=0, end=1, first_line=1, lines=1, models=("m",)
    )
    return ShardRun(shard, "/v1/chat/completions", "files/x", 1e12, Terms(Payer("acme", "ws_1")))


class Ends:
    """What the cluster told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[int, ShardEnd]] = []
        self._more = asyncio.Event()

    def __call__(self, shard: Shard, end: ShardEnd) -> None:
        self.told.append((shard.index, end))
        self._more.set()

    async def until(self, count: int) -> None:
        while len(self.told) < count:
            self._more.clear()
            await self._more.wait()


class StubWorker:
    """Runs shards as ``behave`` says; ``stop`` lets those go that wait for it."""

    def __init__(
        self, behave: Callable[["StubWorker", int], Coroutine[Any, Any, ShardEnd]]
    ) -> None:
        self._behave = behave
        self.calls: list[tuple[object, ...]] = []
        self.stopping = asyncio.Event()

    async def run(self, run: ShardRun) -> ShardEnd:
        return await self._behave(self, run.shard.index)

    async def cancel(self, batch_id: str, grace: float) -> None:
        self.calls.append(("cancel", batch_id, grace))

    def wanted(self, model: str) -> int:
        return len(model)

    async def stop(self, grace: float) -> None:
        self.calls.append(("stop", grace))
        self.stopping.set()


async def by_index(worker: StubWorker, index: int) -> ShardEnd:
    if index == 1:
        raise OSError(5, "Input/output error")
    return ShardEnd.STOPPED if index == 2 else ShardEnd.FINISHED


async def until_stopped(worker: StubWorker, index: int) -> ShardEnd:
    await worker.stopping.wait()
    await asyncio.sleep(0)
    return ShardEnd.STOPPED


def test_every_run_ends_once_as_the_worker_said_and_a_broken_one_is_lost() -> None:
    async def main() -> None:
        ends, cluster = Ends(), LocalCluster(StubWorker(by_index))
        for index in range(4):
            cluster.run(a_run(index), ends)
        assert ends.told == [], "later, and not within the call"
        await ends.until(4)
        await cluster.stop(0.0)
        assert sorted(ends.told) == [
            (0, ShardEnd.FINISHED),
            (1, ShardEnd.LOST),
            (2, ShardEnd.STOPPED),
            (3, ShardEnd.FINISHED),
        ]

    asyncio.run(main())


def test_stop_returns_after_every_end_was_told() -> None:
    async def main() -> None:
        worker = StubWorker(until_stopped)
        ends, cluster = Ends(), LocalCluster(worker)
        for index in range(3):
            cluster.run(a_run(index), ends)
        await cluster.stop(7.0)
        assert [end for _, end in ends.told] == [ShardEnd.STOPPED] * 3
        assert worker.calls == [("stop", 7.0)]

    asyncio.run(main())


def test_cancel_and_wanted_are_the_workers() -> None:
    async def main() -> None:
        worker = StubWorker(by_index)
        cluster = LocalCluster(worker)
        await cluster.cancel("batch_1", 3.0)
        assert worker.calls == [("cancel", "batch_1", 3.0)]
        assert cluster.wanted("abc") == 3

    asyncio.run(main())
