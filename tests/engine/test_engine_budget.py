"""The bytes budget: its two sides, its order, and what a cancelled taker leaves behind."""

import asyncio
from collections.abc import Coroutine

from hypothesis import given
from hypothesis import strategies as st

from batchmill.engine.budget import Budget


def start(work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
    return asyncio.get_running_loop().create_task(work)


def test_it_gives_up_to_its_limit_and_not_a_byte_more() -> None:
    async def main() -> None:
        budget = Budget(10)
        await budget.take(4)
        await budget.take(6)
        late = start(budget.take(1))
        await asyncio.sleep(0)
        assert not late.done()
        budget.release(1)
        await late
        assert budget.taken == 10

    asyncio.run(main())


def test_one_that_is_larger_than_the_budget_goes_alone() -> None:
    async def main() -> None:
        budget = Budget(10)
        await budget.take(25)
        late = start(budget.take(1))
        await asyncio.sleep(0)
        assert not late.done()
        budget.release(25)
        await late
        large = start(budget.take(25))
        await asyncio.sleep(0)
        assert not large.done(), "an untouched budget only"
        budget.release(1)
        await large

    asyncio.run(main())


def test_takers_are_served_in_line_so_that_a_large_one_does_not_starve() -> None:
    async def main() -> None:
        budget = Budget(10)
        await budget.take(8)
        large, small = start(budget.take(9)), start(budget.take(1))
        await asyncio.sleep(0)
        assert (large.done(), small.done()) == (False, False)
        budget.release(8)
        await large
        await small
        assert budget.taken == 10

    asyncio.run(main())


def test_a_taker_that_gives_up_holds_up_nobody() -> None:
    async def main() -> None:
        budget = Budget(10)
        await budget.take(10)
        first, second = start(budget.take(5)), start(budget.take(6))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        budget.release(10)
        await second
        assert budget.taken == 6

    asyncio.run(main())


def test_a_taker_that_is_cancelled_at_its_very_turn_gives_its_share_back() -> None:
    async def main() -> None:
        budget = Budget(10)
        await budget.take(10)
        one = start(budget.take(7))
        await asyncio.sleep(0)
        budget.release(10)
        one.cancel()
        await asyncio.gather(one, return_exceptions=True)
        assert one.cancelled()
        assert budget.taken == 0
        await budget.take(10)

    asyncio.run(main())


@given(st.lists(st.tuples(st.integers(1, 15), st.booleans()), max_size=30))
def test_whoever_comes_and_gives_up_everybody_is_served_and_all_is_given_back(
    takers: list[tuple[int, bool]],
) -> None:
    async def main() -> None:
        budget = Budget(10)

        async def use(size: int) -> None:
            await budget.take(size)
            try:
                assert budget.taken <= 10 or budget.taken == size
                await asyncio.sleep(0)
            finally:
                budget.release(size)

        tasks = [start(use(size)) for size, _ in takers]
        await asyncio.sleep(0)
        for task, (_, gives_up) in zip(tasks, takers, strict=True):
            if gives_up:
                task.cancel()
        served = await asyncio.gather(*tasks, return_exceptions=True)
        assert not any(isinstance(one, AssertionError) for one in served)
        assert budget.taken == 0

    asyncio.run(main())
