"""Errors grouped by code: the same sums while a batch runs and at its end, and cheap to ask for."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from lines_house import CALLER, STRANGER, Story, file_of, opened, request_line, run

from batchmill.domain.errors import NotFound
from batchmill.service import error_groups
from batchmill.service.error_groups import OTHER, ErrorGroup, Example


def requests(count: int) -> bytes:
    return file_of(*(request_line(f"r-{n}") for n in range(1, count + 1)))


def fail(story: Story, number: int, code: str, status: int = 400, message: str = "m") -> None:
    body = {"error": {"code": code, "message": message}}
    story.settle(number, ok=False, status=status, body=body)


def summed(groups: Any) -> list[tuple[str, int | None, int]]:
    return [(one.code, one.status, one.count) for one in groups]


def test_groups_are_the_same_while_it_runs_and_at_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story, groups = await ground.begin(requests(12)), ground.error_groups()
            for number in (9, 2, 7, 12):
                fail(story, number, "too_long", message=f"m{number}")
            fail(story, 3, "too_long", status=413)
            story.settle(4, ok=False, status=500, body={"detail": "?"})
            story.settle(5, ok=False, code="upstream_error", message="gone")
            for number in (1, 6, 8, 10, 11):
                story.settle(number)
            expected = [
                ErrorGroup("too_long", 400, 4, Example(2, "r-2"), "m2"),
                ErrorGroup("too_long", 413, 1, Example(3, "r-3"), "m"),
                ErrorGroup("http_500", 500, 1, Example(4, "r-4"), ""),
                ErrorGroup("upstream_error", None, 1, Example(5, "r-5"), "gone"),
            ]
            assert list(await groups.of(CALLER, story.id)) == expected
            await story.close_shard(2)
            assert list(await groups.of(CALLER, story.id)) == expected
            await story.end()
            assert list(await groups.of(CALLER, story.id)) == expected
            assert list(await ground.error_groups().of(CALLER, story.id)) == expected

    run(main())


def test_a_closed_shard_is_read_once_and_one_without_failures_never(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story, groups = await ground.begin(requests(12), shard_lines=4), ground.error_groups()
            for number in story.numbers:
                if number in (1, 2, 11):
                    fail(story, number, "bad")
                else:
                    story.settle(number)
            await story.close_shard(0)
            await story.close_shard(1)
            for _ in range(3):
                assert summed(await groups.of(CALLER, story.id)) == [("bad", 400, 3)]
            assert ground.journal.reads == [0, 2, 2, 2]

    run(main())


def test_many_who_ask_at_once_count_nothing_twice(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story, groups = await ground.begin(requests(12)), ground.error_groups()
            for number in story.numbers:
                fail(story, number, "bad")
            await story.close_shard(0)
            answers = [groups.of(CALLER, story.id) for _ in range(8)]
            assert [summed(one) for one in await asyncio.gather(*answers)] == [
                [("bad", 400, 12)]
            ] * 8
            assert summed(await groups.of(CALLER, story.id)) == [("bad", 400, 12)]

    run(main())


def test_what_fails_between_two_looks_shows_in_the_second(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story, groups = await ground.begin(requests(8)), ground.error_groups()
            assert list(await groups.of(CALLER, story.id)) == []
            fail(story, 6, "bad")
            assert summed(await groups.of(CALLER, story.id)) == [("bad", 400, 1)]
            ground.journal.on_read = story.end()
            assert summed(await groups.of(CALLER, story.id)) == [
                ("batch_expired", None, 7),
                ("bad", 400, 1),
            ]

    run(main())


def test_an_ended_batch_is_read_once_while_it_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(error_groups, "MAX_REMEMBERED", 2)

    async def main() -> None:
        async with opened(tmp_path) as ground:
            groups, read, opened_blobs = ground.error_groups(), ground.blobs.read, list[str]()

            def counted(key: str, *span: Any) -> Any:
                opened_blobs.append(key)
                return read(key, *span)

            monkeypatch.setattr(ground.blobs, "read", counted)
            stories = [await ground.begin(requests(2)) for _ in range(3)]
            for story in stories:
                await story.end()
            opened_blobs.clear()
            for place in (0, 0, 1, 1, 0):
                await groups.of(CALLER, stories[place].id)
            assert len(opened_blobs) == 2
            for place in (2, 0, 2, 1):
                await groups.of(CALLER, stories[place].id)
            assert len(opened_blobs) == 4, "the third pushed the second out, and that alone"

    run(main())


def test_a_deleted_error_file_takes_its_groups_along(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story, groups = await ground.begin(requests(2)), ground.error_groups()
            await story.end()
            assert summed(await groups.of(CALLER, story.id)) == [("batch_expired", None, 2)]
            await story.forget("error")
            assert list(await groups.of(CALLER, story.id)) == []

    run(main())


@pytest.mark.parametrize(("kinds", "others"), [(50, 0), (51, 2), (250, 201)])
def test_there_are_at_most_fifty_groups_and_no_line_is_left_out(
    tmp_path: Path, kinds: int, others: int
) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(requests(kinds + 1), shard_lines=100)
            for number in range(1, kinds + 1):
                fail(story, number, f"c{number}")
            fail(story, kinds + 1, "c1")
            await story.end()
            groups = await ground.error_groups().of(CALLER, story.id)
            assert len(groups) == 50
            assert summed(groups[:1]) == [("c1", 400, 2)]
            assert sum(one.count for one in groups) == kinds + 1
            assert [one.count for one in groups if one.code == OTHER] == [others] * bool(others)
            assert not others or groups[-1].example.number == 50

    run(main())


def test_codes_that_tell_every_line_apart_do_not_make_a_tally_grow() -> None:
    tally = error_groups._Tally()
    for number in range(5000):
        tally.add(ErrorGroup(f"c{number}", 400, 1, Example(number, ""), ""))
    assert len(tally.groups) == 201
    assert sum(one.count for one in tally.ranked()) == 5000


@pytest.mark.parametrize("size", [300, 301])
def test_messages_are_shortened(tmp_path: Path, size: int) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(requests(1))
            fail(story, 1, "c" * 101, message="ä" * size)
            [group] = await ground.error_groups().of(CALLER, story.id)
            assert group.message == ("ä" * 300 if size == 300 else "ä" * 299 + "…")
            assert group.code == "c" * 100

    run(main())


def test_a_batch_without_errors_or_of_others_has_no_groups(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story, groups = await ground.begin(requests(1)), ground.error_groups()
            story.settle(1)
            await story.end()
            assert list(await groups.of(CALLER, story.id)) == []
            with pytest.raises(NotFound):
                await groups.of(STRANGER, story.id)

    run(main())
