"""The cluster of one worker: what it is asked goes to the worker. The contract stands apart."""

import asyncio

from cluster_stub import LANE, StubWorker

from batchmill.cluster.local import LocalCluster


def test_cancel_stop_and_wanted_are_the_workers() -> None:
    async def main() -> None:
        worker = StubWorker()
        cluster = LocalCluster(worker)
        await cluster.cancel("batch_1", 3.0)
        assert cluster.wanted(LANE) == worker.wanted(LANE)
        await cluster.stop(7.0)
        assert worker.calls == [("cancel", "batch_1", 3.0), ("stop", 7.0)]

    asyncio.run(main())
