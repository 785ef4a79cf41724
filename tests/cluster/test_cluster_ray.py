"""The cluster on Ray itself: real actors on real nodes, with workers that do as they are told."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cluster_contract import CASES, Case
from cluster_fleet import FakeRegister
from cluster_stub import BREAK, FINISH, HOLD, LANE, UPSTREAM, Ends, StubWorker, a_run
from ray_nodes import RayNodes, ray_nodes

from batchmill.cluster.link import Letter
from batchmill.cluster.muster import Muster
from batchmill.cluster.ray_actors import Papers
from batchmill.cluster.ray_fleet import RayFleet
from batchmill.cluster.ray_session import WORKER, Session, connected, named_actors
from batchmill.cluster.remote import RemoteCluster
from batchmill.domain.sharing import Grant
from batchmill.ports import LeasedWorker, Orders, ShardEnd

pytestmark = pytest.mark.slow

FENCE_AFTER = 4.0


@asynccontextmanager
async def open_stub(papers: Papers, name: str) -> AsyncIterator[tuple[LeasedWorker, str]]:
    worker = StubWorker(f"pid-{os.getpid()}")
    yield worker, worker.process


class WallClock:
    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Stage:
    """Dispatchers' clusters over the same nodes, one after the other."""

    def __init__(self, nodes: RayNodes, session: Session) -> None:
        self.nodes = nodes
        self.session = session
        self.clock = WallClock()
        self.register = FakeRegister(self.clock)
        self.epoch = 0

    def cluster(self) -> tuple[RemoteCluster, Muster]:
        self.epoch += 1
        caps = {UPSTREAM: 8}
        muster = Muster(
            RayFleet(self.session, open_stub, Papers(b"{}"), resource="batchmill"),
            self.register,
            epoch=self.epoch,
            caps=caps,
            broke=frozenset,
            clock=self.clock,
            monotonic=time.monotonic,
            fence_after=FENCE_AFTER,
        )
        cluster = RemoteCluster(
            muster,
            caps=caps,
            own={},
            lane_of=lambda model: LANE,
            clock=self.clock,
            shard_lines=10,
        )
        return cluster, muster


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    with ray_nodes(2) as made:
        yield made


@pytest.fixture
def stage(nodes: RayNodes) -> Iterator[Stage]:
    session = Session(nodes.address, "token", f"test-{os.urandom(4).hex()}", "1.0")
    with connected(session):
        yield Stage(nodes, session)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - it is another process that changes
        await asyncio.sleep(0.02)


async def until_held(muster: Muster, count: int) -> None:
    """Until the workers say that they have so many runs."""
    letter = Letter(Orders(Grant(muster.epoch)))
    held = 0
    while held < count:
        held = sum([len((await one.link.beat(letter)).held) for one in muster.ready])


def pids(muster: Muster) -> list[int]:
    return [int(one.process.removeprefix("pid-")) for one in muster.ready]


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 60))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_it_keeps_to_the_contract(case: Case, stage: Stage) -> None:
    async def main() -> None:
        (cluster, muster), ends = stage.cluster(), Ends()
        assert list(await cluster.attach(ends)) == []
        await until(lambda: len(muster.ready) == 2)
        await case(cluster, ends)

    run(main())


def test_runs_end_as_the_workers_say_and_stop_ends_the_workers(stage: Stage) -> None:
    async def main() -> None:
        (cluster, muster), ends = stage.cluster(), Ends()
        assert list(await cluster.attach(ends)) == []
        await until(lambda: len(muster.ready) == 2)
        cluster.run(a_run(0, FINISH), ends)
        cluster.run(a_run(1, BREAK), ends)
        for index in range(2, 6):
            cluster.run(a_run(index, HOLD, batch_id=f"batch_{index // 2}"), ends)
        await ends.until(2)
        assert sorted(ends.told) == [(0, ShardEnd.FINISHED), (1, ShardEnd.LOST)]
        await cluster.cancel("batch_1", 1.0)
        await ends.until(4)
        assert sorted(ends.told[2:]) == [(2, ShardEnd.STOPPED), (3, ShardEnd.STOPPED)]
        cluster.retire()
        await cluster.stop(1.0)
        assert sorted(ends.told[4:]) == [(4, ShardEnd.STOPPED), (5, ShardEnd.STOPPED)]
        await until(lambda: not named_actors(WORKER))

    run(main())


def test_a_second_dispatcher_adopts_and_a_killed_worker_comes_back(stage: Stage) -> None:
    async def main() -> None:
        (first, muster), ends = stage.cluster(), Ends()
        await first.attach(ends)
        await until(lambda: len(muster.ready) == 2)
        before = sorted(pids(muster))
        for index in range(4):
            first.run(a_run(index, HOLD), ends)
        await until_held(muster, 4)
        await first.stop(1.0)

        (second, muster), ends = stage.cluster(), Ends()
        held = await second.attach(ends)
        assert sorted(shard.index for shard in held) == [0, 1, 2, 3]
        await until(lambda: len(muster.ready) == 2)
        assert sorted(pids(muster)) == before
        os.kill(before[0], signal.SIGKILL)
        await ends.until(2)
        await until(lambda: len(set(pids(muster)) - set(before)) == 1)
        assert [end for _, end in ends.told] == [ShardEnd.LOST] * 2
        second.retire()
        await second.stop(1.0)
        assert [end for _, end in ends.told[2:]] == [ShardEnd.STOPPED] * 2

    run(main())


def test_a_frozen_worker_is_fenced_and_replaced_and_a_lost_node_is_done_without(
    stage: Stage,
) -> None:
    extra = stage.nodes.add()

    async def main() -> None:
        (cluster, muster), ends = stage.cluster(), Ends()
        await cluster.attach(ends)
        await until(lambda: len(muster.ready) == 3)
        for index in range(3):
            cluster.run(a_run(index, HOLD), ends)
        await until_held(muster, 3)
        name = stage.session.worker(extra.node_id)
        [frozen] = [one for one in muster.ready if one.name != name][:1]
        pid = int(frozen.process.removeprefix("pid-"))
        os.kill(pid, signal.SIGSTOP)
        await ends.until(1)
        await until(lambda: frozen.is_ready and frozen.process != f"pid-{pid}")
        await asyncio.to_thread(stage.nodes.cut_power, extra)
        await ends.until(2)
        await until(lambda: len(muster.members) == 2)
        cluster.retire()
        await cluster.stop(1.0)
        assert [end for _, end in ends.told] == [ShardEnd.LOST] * 2 + [ShardEnd.STOPPED]

    run(main())
