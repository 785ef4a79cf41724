"""What a small batch costs the store: nothing is asked twice that is known already."""

import asyncio
from pathlib import Path

import pytest
from engine_house import a_planner, open_house, some_lines

from batchmill.domain.batch import Counts, Status
from batchmill.engine.planning import Plan
from batchmill.engine.shard_reader import _sum_of
from batchmill.upstream.mock import MockUpstream

URL = "http://127.0.0.1:9"


def test_what_a_plan_tells_is_what_the_store_has(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            batch = await house.submit(some_lines(25))
            plan = await a_planner(house).plan(batch)
            assert plan is not None
            assert plan.batch == await house.get(batch)
            assert plan.shards == await house.rows.shards.of_batch(batch.id)
            whole = _of(plan)
            [summed] = await house.rows.shards.sums(batch.id)
            assert whole == (summed.shards, summed.lines, summed.bytes, summed.attempts)

    asyncio.run(main())


def _of(plan: Plan) -> tuple[int, int, int, int]:
    sums = [_sum_of(shard) for shard in plan.shards]
    return (
        sum(one.shards for one in sums),
        sum(one.lines for one in sums),
        sum(one.bytes for one in sums),
        max(one.attempts for one in sums),
    )


# A shard has ten lines here: four shards are kept in memory from planning on, five are not.
@pytest.mark.parametrize(("lines", "readings"), [(40, 0), (41, 1)])
def test_a_batch_of_few_shards_is_not_read_again_once_it_is_planned(
    tmp_path: Path, lines: int, readings: int
) -> None:
    async def main() -> None:
        mock = MockUpstream()
        url = await mock.start()
        async with open_house(tmp_path, url) as house, house.hurry():
            done = await house.until(await house.submit(some_lines(lines)))
            assert (done.status, done.counts) == (Status.COMPLETED, Counts(lines, lines, 0))
            calls = house.script.calls
            assert (calls["shards.sums"], calls["shards.fence"]) == (0, 0)
            assert calls["shards.undone"] == readings
        await mock.stop()

    asyncio.run(main())
