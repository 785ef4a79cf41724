"""The dispatcher: how much it hands out, what it does while it stops, and that it never spins."""

import asyncio
from collections import Counter
from pathlib import Path

from engine_fakes import FakeClock, settle_down
from engine_house import House, open_house, some_lines

from batchmill.domain.batch import Batch, Counts, Status
from batchmill.domain.shards import ShardStatus
from batchmill.upstream.mock import MockUpstream


async def shard_states(house: House, batch: Batch) -> Counter[ShardStatus]:
    return Counter(shard.status for shard in await house.rows.shards.of_batch(batch.id))


def test_no_more_shards_are_handed_out_than_the_slots_can_use(tmp_path: Path) -> None:
    async def main() -> None:
        mock = MockUpstream()
        url = await mock.start()
        async with open_house(tmp_path, url, max_in_flight=8) as house:
            mock.hold()
            batch = await house.submit(some_lines(200))
            await mock.wait_until(lambda stats: stats.held == 8)
            await settle_down()
            # Twice the slots are wanted: sixteen lines, in shards of ten. Queued lines are
            # no reason for more.
            states = await shard_states(house, batch)
            assert states == {ShardStatus.RUNNING: 2, ShardStatus.WAITING: 18}
            mock.release()
            assert (await house.until(batch)).counts == Counts(200, 200, 0)
            assert await shard_states(house, batch) == {ShardStatus.DONE: 20}
        await mock.stop()

    asyncio.run(main())


def test_shards_that_run_are_not_handed_out_again_when_a_claim_fails(tmp_path: Path) -> None:
    async def main() -> None:
        mock = MockUpstream()
        url = await mock.start()
        async with open_house(tmp_path, url, max_in_flight=8) as house:
            mock.hold()
            batch = await house.submit(some_lines(60))
            await mock.wait_until(lambda stats: stats.held == 8)
            house.script.fail("shards.claim", OSError(5, "Input/output error"))
            mock.release()
            async with house.hurry():
                done = await house.until(batch)
            assert house.script.failed["shards.claim"] == 1
            assert done.counts == Counts(60, 60, 0)
            assert set(mock.hits.values()) == {1}
            attempts = {shard.attempt for shard in await house.rows.shards.of_batch(batch.id)}
            assert attempts == {1}
        await mock.stop()

    asyncio.run(main())


def test_a_stop_while_shards_are_claimed_runs_none_of_them(tmp_path: Path) -> None:
    async def main() -> None:
        clock = FakeClock()
        mock = MockUpstream()
        url = await mock.start()
        async with open_house(tmp_path, url, clock=clock) as house:
            let_go = house.script.hold("shards.claim")
            batch = await house.submit(some_lines(15))
            await house.script.until(lambda: house.script.calls["shards.claim"] > 0)
            stopping = asyncio.create_task(house.stop())
            await settle_down()
            let_go.set()
            await stopping
            assert mock.stats.requests == 0
            assert await shard_states(house, batch) == {ShardStatus.RUNNING: 2}
        async with open_house(tmp_path, url, clock=clock) as house:
            assert (await house.until(batch)).counts == Counts(15, 15, 0)
        assert set(mock.hits.values()) == {1}
        await mock.stop()

    asyncio.run(main())


def test_a_stop_while_a_batch_moves_begins_no_delivery(tmp_path: Path) -> None:
    async def main() -> None:
        clock = FakeClock()
        mock = MockUpstream()
        url = await mock.start()
        async with open_house(tmp_path, url, clock=clock) as house:
            let_go = house.script.hold("batches.settle")
            batch = await house.submit(some_lines(3))
            await house.script.until(lambda: house.script.calls["batches.settle"] > 0)
            stopping = asyncio.create_task(house.stop())
            await settle_down()
            let_go.set()
            await stopping
            assert (await house.get(batch)).status is Status.FINALIZING
            assert house.script.calls["blobs.create"] == 0
        async with open_house(tmp_path, url, clock=clock) as house:
            assert (await house.until(batch)).status is Status.COMPLETED
        await mock.stop()

    asyncio.run(main())


def test_an_overdue_batch_that_is_being_delivered_is_not_looked_at_all_the_time(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        mock = MockUpstream()
        url = await mock.start()
        async with open_house(tmp_path, url) as house:
            let_go = house.script.hold("batches.deliver")
            batch = await house.submit(some_lines(3), window=10.0)
            await house.script.until(lambda: house.script.calls["batches.deliver"] > 0)
            house.clock.advance(11.0)
            looks = house.script.calls["batches.standing"]
            await house.clock.until_waiting(0.9, 1.0)
            for _ in range(20):
                house.clock.advance(0.04)
                await settle_down()
            assert house.script.calls["batches.standing"] <= looks + 3
            let_go.set()
            async with house.hurry():
                assert (await house.until(batch)).status is Status.COMPLETED
        await mock.stop()

    asyncio.run(main())


def test_a_batch_of_one_line_is_not_starved_by_one_of_ten_thousand(tmp_path: Path) -> None:
    async def main() -> None:
        mock = MockUpstream()
        url = await mock.start()
        async with open_house(tmp_path, url, shard_lines=50, max_in_flight=16) as house:
            mock.hold()
            large = await house.submit(some_lines(10_000), window=50.0)
            await mock.wait_until(lambda stats: stats.held == 16)
            small = await house.submit(some_lines(1), window=5_000.0)
            mock.release()
            assert (await house.until(small)).counts == Counts(1, 1, 0)
            behind = await house.get(large)
            assert behind.status is Status.IN_PROGRESS
            assert behind.counts.completed < 5_000
            await house.cancel(large)
            async with house.hurry():
                ended = await house.until(large)
            assert ended.counts.total == 10_000
            await house.results(ended)
        await mock.stop()

    asyncio.run(main())


def test_a_lost_shard_waits_longer_after_each_attempt(tmp_path: Path) -> None:
    async def main() -> None:
        mock = MockUpstream()
        url = await mock.start()
        async with open_house(tmp_path, url) as house:
            house.script.fail("shards.close", OSError(5, "Input/output error"), 3)
            batch = await house.submit(some_lines(3))
            async with house.hurry():
                done = await house.until(batch)
            lost_at = house.script.failed_at["shards.close"]
            assert done.counts == Counts(3, 3, 0)
            assert lost_at[1] - lost_at[0] >= 1.0
            assert lost_at[2] - lost_at[1] >= 2.0
            assert set(mock.hits.values()) == {1}
        await mock.stop()

    asyncio.run(main())
