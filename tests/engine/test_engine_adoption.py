"""A dispatcher that follows one that died goes on with the shards that workers still run."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from dispatcher_desk import LINES, Desk, open_desk

from batchmill.domain.batch import Batch, Event, Status
from batchmill.domain.shards import Shard, ShardStatus
from batchmill.ports import ShardEnd


async def left_behind(folder: Path, shards: int = 3) -> tuple[Batch, Sequence[Shard]]:
    """A batch of which a dispatcher that is gone had handed out all shards."""
    async with open_desk(folder, start=False) as desk:
        batch = await desk.add(shards=shards)
        claimed = await desk.store.shards.claim(await desk.store.shards.of_batch(batch.id))
        return batch, claimed


async def rows(desk: Desk, batch: Batch) -> list[tuple[ShardStatus, int]]:
    """Status and attempts of each shard."""
    return [(one.status, one.attempt) for one in await desk.store.shards.of_batch(batch.id)]


def test_what_a_worker_runs_is_neither_released_nor_handed_out_again(tmp_path: Path) -> None:
    async def main() -> None:
        batch, (first, *_) = await left_behind(tmp_path)
        async with open_desk(tmp_path, held=[first]) as desk:
            desk.cluster.room["m"] = 1000
            await desk.until(lambda: len(desk.cluster.got) == 2)
            assert [(one.index, one.attempt) for one in desk.cluster.got] == [(1, 2), (2, 2)]
            assert (await rows(desk, batch))[0] == (ShardStatus.RUNNING, 1)
            await desk.cluster.finish(first, *desk.cluster.got)
            await desk.until(lambda: desk.delivered == [batch.id])
            assert [attempt for _, attempt in await rows(desk, batch)] == [1, 2, 2]
            assert len(desk.cluster.got) == 2

    asyncio.run(main())


def test_a_batch_all_of_whose_shards_still_run_waits_for_their_ends(tmp_path: Path) -> None:
    async def main() -> None:
        batch, claimed = await left_behind(tmp_path)
        async with open_desk(tmp_path, held=claimed) as desk:
            desk.cluster.room["m"] = 1000
            await desk.until_idle()
            assert not desk.cluster.got
            assert not desk.delivered
            await desk.cluster.finish(*claimed)
            await desk.until(lambda: desk.delivered == [batch.id])
            assert desk.cluster.got == []

    asyncio.run(main())


def test_what_a_worker_loses_after_all_waits_again(tmp_path: Path) -> None:
    async def main() -> None:
        _, claimed = await left_behind(tmp_path)
        async with open_desk(tmp_path, held=claimed) as desk:
            desk.cluster.room["m"] = 1000
            await desk.until_idle()
            desk.cluster.end(claimed[1], ShardEnd.LOST)
            await desk.clock.until_asleep(2)
            assert desk.cluster.got == []
            desk.clock.advance(1.0)
            await desk.until(lambda: len(desk.cluster.got) == 1)
            [again] = desk.cluster.got
            assert (again.index, again.attempt) == (1, 2)

    asyncio.run(main())


@pytest.mark.parametrize("how", list(ShardEnd))
def test_an_end_that_comes_before_the_batch_is_known_is_not_lost(
    tmp_path: Path, how: ShardEnd
) -> None:
    async def main() -> None:
        batch, claimed = await left_behind(tmp_path)
        async with open_desk(tmp_path, held=claimed) as desk:
            desk.cluster.room["m"] = 1000
            let_go = desk.script.hold("batches.standing")
            await desk.until(lambda: desk.script.calls["batches.standing"] == 1)
            if how is ShardEnd.FINISHED:
                await desk.cluster.finish(claimed[0])
            else:
                desk.cluster.end(claimed[0], how)
            let_go.set()
            await desk.until_idle()
            again = [] if how is ShardEnd.FINISHED else [(0, 2)]
            assert [(one.index, one.attempt) for one in desk.cluster.got] == again
            await desk.cluster.finish(*claimed[1:], *desk.cluster.got)
            await desk.until(lambda: desk.delivered == [batch.id])

    asyncio.run(main())


@pytest.mark.parametrize("event", [Event.CANCEL_REQUESTED, Event.SETTLED, Event.DEADLINE_PASSED])
def test_what_runs_of_a_stopping_batch_is_stopped_before_it_is_delivered(
    tmp_path: Path, event: Event
) -> None:
    async def main() -> None:
        batch, claimed = await left_behind(tmp_path)
        async with open_desk(tmp_path, held=claimed[:1], start=False) as desk:
            stopping = await desk.move(batch, event)
            desk.cluster.room["m"] = 1000
            desk.start()
            await desk.until(lambda: desk.cluster.cancelled == [batch.id])
            await desk.until_idle()
            assert desk.delivered == []
            desk.cluster.end(claimed[0], ShardEnd.STOPPED)
            await desk.until(lambda: desk.script.calls["deliver"] == 1)
            assert desk.cluster.got == []
            assert stopping.status in (Status.CANCELLING, Status.FINALIZING)

    asyncio.run(main())


def test_what_runs_of_a_batch_that_is_at_its_end_is_let_go(tmp_path: Path) -> None:
    async def main() -> None:
        batch, claimed = await left_behind(tmp_path)
        async with open_desk(tmp_path, held=claimed, start=False) as desk:
            await desk.move(batch, Event.BROKE)
            desk.start()
            await desk.until_idle()
            for shard in claimed:
                desk.cluster.end(shard, ShardEnd.LOST)
            assert desk.dispatcher._roster.adopted == {}
            assert await desk.status(batch) is Status.FAILED

    asyncio.run(main())


def test_a_shard_counts_as_waiting_only_once_it_is_not_under_way(tmp_path: Path) -> None:
    async def main() -> None:
        batch, claimed = await left_behind(tmp_path, shards=40)
        async with open_desk(tmp_path, held=claimed[:35]) as desk:
            desk.cluster.room["m"] = LINES
            await desk.until(lambda: len(desk.cluster.got) == 1)
            assert desk.cluster.got[0].index == 35
            run = desk.dispatcher._roster.runs[batch.id]
            assert (len(run.waiting), run.unread, len(run.running)) == (4, 0, 36)

    asyncio.run(main())
