"""The contract of the port Cluster, over one process and a fleet; ``test_cluster_ray`` has Ray.

Another kind of cluster joins by one more entry in KINDS.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from cluster_contract import CASES, Case
from cluster_fleet import Stage
from cluster_stub import Ends, StubWorker

from batchmill.cluster.local import LocalCluster
from batchmill.ports import Cluster


async def local(ends: Ends) -> Cluster:
    cluster = LocalCluster(StubWorker())
    assert list(await cluster.attach(ends)) == []
    return cluster


async def remote(ends: Ends) -> Cluster:
    stage = Stage.of("a", "b")
    cluster = stage.cluster()
    assert list(await cluster.attach(ends)) == []
    await stage.clock.advance(2)
    return cluster


KINDS: dict[str, Callable[[Ends], Awaitable[Cluster]]] = {"local": local, "remote": remote}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_it_keeps_to_the_contract(kind: str, case: Case) -> None:
    async def main() -> None:
        ends = Ends()
        await case(await KINDS[kind](ends), ends)

    asyncio.run(main())
