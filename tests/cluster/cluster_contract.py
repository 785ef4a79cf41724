"""What holds for the port Cluster, wherever its workers live; each kind's module runs every case.

A case gets a cluster that has been attached, with nothing to adopt, and whose
workers are ready; they do as a run says, see ``cluster_stub``.
"""

import asyncio
from collections.abc import Awaitable, Callable

from cluster_stub import BREAK, FINISH, HOLD, LANE, Ends, a_run

from batchmill.ports import Cluster, ShardEnd

Case = Callable[[Cluster, Ends], Awaitable[None]]


async def every_run_ends_once_and_a_broken_one_is_lost(cluster: Cluster, ends: Ends) -> None:
    for index in range(6):
        cluster.run(a_run(index, BREAK if index == 1 else FINISH), ends)
    assert ends.told == [], "later, and not within the call"
    await ends.until(6)
    await cluster.stop(1.0)
    expected = [ShardEnd.LOST if index == 1 else ShardEnd.FINISHED for index in range(6)]
    assert sorted(ends.told) == list(enumerate(expected))


async def a_cancel_ends_the_runs_of_its_batch_alone(cluster: Cluster, ends: Ends) -> None:
    for index in (0, 1):
        cluster.run(a_run(index, HOLD, batch_id="batch_1"), ends)
    cluster.run(a_run(2, HOLD, batch_id="batch_2"), ends)
    await _until_begun(cluster, ends)
    await cluster.cancel("batch_1", 1.0)
    await ends.until(3)
    assert sorted(ends.told[1:]) == [(0, ShardEnd.STOPPED), (1, ShardEnd.STOPPED)]
    await cluster.stop(1.0)
    assert [index for index, _ in ends.told[3:]] == [2]


async def a_stop_tells_every_end_before_it_returns(cluster: Cluster, ends: Ends) -> None:
    for index in range(3):
        cluster.run(a_run(index, HOLD), ends)
    await _until_begun(cluster, ends)
    await cluster.stop(1.0)
    assert sorted(index for index, _ in ends.told[1:]) == [0, 1, 2]
    assert ShardEnd.FINISHED not in {end for _, end in ends.told[1:]}


async def what_is_handed_out_is_wanted_no_more(cluster: Cluster, ends: Ends) -> None:
    wanted = cluster.wanted(LANE)
    assert wanted > 0
    cluster.run(a_run(0, HOLD, lines=wanted), ends)
    # Before any line is settled: a worker that is seen to be fast is wanted to have more.
    await _once(lambda: cluster.wanted(LANE) < wanted)
    await _until_begun(cluster, ends)
    await cluster.stop(1.0)


CASES: tuple[Case, ...] = (
    every_run_ends_once_and_a_broken_one_is_lost,
    a_cancel_ends_the_runs_of_its_batch_alone,
    a_stop_tells_every_end_before_it_returns,
    what_is_handed_out_is_wanted_no_more,
)


async def _once(holds: Callable[[], bool]) -> None:
    """Return when it holds, which it does as soon as the tasks that there are have had a turn."""
    for _ in range(20):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError


async def _until_begun(cluster: Cluster, ends: Ends) -> None:
    """A run that was handed out after the others has ended: they have begun."""
    for index in (90, 91, 92, 93):
        told = len(ends.told)
        cluster.run(a_run(index, FINISH, batch_id="batch_9"), ends)
        await ends.until(told + 1)
    ends.told[:] = [(90, ShardEnd.FINISHED)]
