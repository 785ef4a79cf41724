"""Calls that come while others are under way are done together."""

import asyncio
from collections.abc import Sequence

import pytest

from batchmill.domain.errors import StorageAway
from batchmill.store.grouping import Grouping


class Work:
    """Doubles numbers. It waits while it is held, and fails at those that are named."""

    def __init__(self, bad: frozenset[int] = frozenset(), error: type[Exception] = ValueError):
        self.groups: list[list[int]] = []
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        self._bad = bad
        self._error = error

    async def __call__(self, calls: Sequence[int]) -> Sequence[int]:
        self.groups.append(list(calls))
        self.begun.set()
        await self.go.wait()
        if self._bad & set(calls):
            raise self._error("bad")
        return [2 * call for call in calls]


def test_what_comes_while_a_group_is_under_way_is_the_next_group() -> None:
    async def main() -> None:
        work = Work()
        grouping = Grouping(work, most=10)
        first = [asyncio.create_task(grouping.do(number)) for number in (1, 2)]
        await work.begun.wait()
        then = [asyncio.create_task(grouping.do(number)) for number in (3, 4, 5)]
        await asyncio.sleep(0)
        work.go.set()
        assert await asyncio.gather(*first, *then) == [2, 4, 6, 8, 10]
        assert work.groups == [[1, 2], [3, 4, 5]]
        assert await grouping.do(6) == 12

    asyncio.run(main())


@pytest.mark.parametrize(("calls", "sizes"), [(3, [3]), (4, [3, 1]), (7, [3, 3, 1])])
def test_a_group_is_no_larger_than_it_may_be(calls: int, sizes: list[int]) -> None:
    async def main() -> None:
        work = Work()
        work.go.set()
        grouping = Grouping(work, most=3)
        await asyncio.gather(*map(grouping.do, range(calls)))
        assert [len(group) for group in work.groups] == sizes

    asyncio.run(main())


def test_one_that_cannot_be_done_does_not_keep_the_others_from_it() -> None:
    async def main() -> None:
        work = Work(bad=frozenset({2}))
        work.go.set()
        grouping = Grouping(work, most=10)
        ends = await asyncio.gather(*map(grouping.do, (1, 2, 3)), return_exceptions=True)
        assert (ends[0], ends[2]) == (2, 6)
        assert isinstance(ends[1], ValueError)
        assert work.groups == [[1, 2, 3], [1], [2], [3]]

    asyncio.run(main())


def test_a_database_that_is_away_is_asked_once_for_all_of_them() -> None:
    async def main() -> None:
        work = Work(bad=frozenset({2}), error=StorageAway)
        work.go.set()
        grouping = Grouping(work, most=10)
        ends = await asyncio.gather(*map(grouping.do, (1, 2, 3)), return_exceptions=True)
        assert [type(end) for end in ends] == [StorageAway] * 3
        assert work.groups == [[1, 2, 3]]
        assert await grouping.do(4) == 8

    asyncio.run(main())


def test_a_caller_that_is_cancelled_takes_nothing_from_the_others() -> None:
    async def main() -> None:
        work = Work()
        grouping = Grouping(work, most=10)
        one, other = (asyncio.create_task(grouping.do(number)) for number in (1, 2))
        await work.begun.wait()
        one.cancel()
        await asyncio.wait({one})
        work.go.set()
        assert await other == 4
        assert one.cancelled()

    asyncio.run(main())


def test_a_caller_that_is_cancelled_before_its_group_begins_is_left_out() -> None:
    async def main() -> None:
        work = Work()
        grouping = Grouping(work, most=10)
        first = asyncio.create_task(grouping.do(1))
        await work.begun.wait()
        gone, other = (asyncio.create_task(grouping.do(number)) for number in (2, 3))
        await asyncio.sleep(0)
        gone.cancel()
        work.go.set()
        assert (await first, await other) == (2, 6)
        assert work.groups == [[1], [3]]

    asyncio.run(main())


def test_over_waits_for_the_group_that_is_under_way() -> None:
    async def main() -> None:
        work = Work()
        grouping = Grouping(work, most=10)
        await grouping.over()
        doing = asyncio.create_task(grouping.do(1))
        await work.begun.wait()
        over = asyncio.create_task(grouping.over())
        await asyncio.sleep(0)
        assert not over.done()
        work.go.set()
        await over
        assert await doing == 2

    asyncio.run(main())
