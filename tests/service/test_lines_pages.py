"""Pages of lines: the same rows whether the batch runs or has ended, whatever happens between."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lines_house import (
    CALLER,
    NOON,
    STRANGER,
    Ground,
    Story,
    file_of,
    opened,
    request_line,
    request_spelled,
    run,
)

from batchmill.domain.errors import InvalidRequest, NotFound
from batchmill.service.lines import LinePage, LineQuery, LineRow
from batchmill.service.results import Outcome

DONE, BAD = Outcome.COMPLETED, Outcome.FAILED
OUTCOMES = (None, DONE, BAD)


def ten(**body: Any) -> bytes:
    """Ten requests, their custom_ids `r-1` to `r-10`."""
    return file_of(*(request_line(f"r-{n}", **body) for n in range(1, 11)))


def numbers(rows: Any) -> list[int]:
    return [row.number for row in rows]


def settle_some(story: Story) -> None:
    """Of every four lines two succeed, one fails and one waits."""
    for number in story.numbers:
        if number % 4 == 1:
            story.settle(number, ok=False, status=400, body={"error": {"code": "bad", "x": 1}})
        elif number % 4:
            story.settle(number)


def test_a_running_batch_shows_every_line_in_the_order_of_the_input(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(ten())
            settle_some(story)
            rows = await story.rows(limit=3)
            assert numbers(rows) == list(range(1, 11))
            assert rows[0] == LineRow(1, "r-1", BAD, 400, "bad", None)
            assert rows[1] == LineRow(2, "r-2", DONE, 200, None, 3)
            assert rows[3] == LineRow(4, "r-4", None)

    run(main())


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("search", [None, "r-1", "nowhere"])
def test_rows_are_the_same_before_and_after_the_end(
    tmp_path: Path, outcome: Outcome | None, search: str | None
) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(ten())
            for number in story.numbers:
                story.settle(number, ok=number % 3 != 0)
            running = await story.rows(limit=2, outcome=outcome, search=search)
            await story.end()
            assert await story.rows(limit=2, outcome=outcome, search=search) == running
            wanted = {None: range(1, 11), BAD: range(3, 11, 3)}
            expected = [n for n in wanted.get(outcome, range(11)) if n and _fits(n, outcome)]
            assert numbers(running) == [n for n in expected if (search or "r") in f"r-{n}"]

    run(main())


def _fits(number: int, outcome: Outcome | None) -> bool:
    return outcome is None or (number % 3 != 0) is (outcome is DONE)


def test_lines_that_settle_between_pages_are_neither_missed_nor_shown_twice(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(ten())
            first = await story.page(limit=4)
            settle_some(story)
            second = await story.page(limit=4, after=first.next_after)
            await story.end()
            third = await story.page(limit=4, after=second.next_after)
            assert numbers([*first.rows, *second.rows, *third.rows]) == story.numbers
            assert [row.outcome for row in first.rows] == [None] * 4
            assert [row.outcome for row in second.rows] == [BAD, DONE, DONE, None]
            assert [row.outcome for row in third.rows] == [BAD, DONE]
            assert third.next_after is None

    run(main())


def test_a_batch_that_ends_while_its_journal_is_read_is_shown_from_its_files(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(ten())
            settle_some(story)
            ground.journal.on_read = story.end()
            rows = await story.rows()
            assert [row.outcome for row in rows] == [BAD, DONE, DONE, BAD] * 2 + [BAD, DONE]
            again = await ground.begin(ten())
            again.settle(2)
            ground.journal.on_read = again.end()
            view = await ground.lines.line(CALLER, again.id, 2)
            assert view.result == again.settled[2].line

    run(main())


def test_a_page_that_is_just_full_has_nothing_behind_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(ten())
            for ended in (False, True):
                assert (await story.page(limit=9)).next_after is not None
                assert (await story.page(limit=10)).next_after is None
                assert (await story.page(limit=11)).next_after is None
                if not ended:
                    await story.end()

    run(main())


@pytest.mark.parametrize(
    ("limit", "accepted"), [(0, False), (1, True), (1000, True), (1001, False)]
)
def test_the_size_of_a_page_has_bounds(tmp_path: Path, limit: int, accepted: bool) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(ten())
            if accepted:
                assert len((await story.page(limit=limit)).rows) == min(10, limit)
            else:
                with pytest.raises(InvalidRequest) as refused:
                    await story.page(limit=limit)
                assert refused.value.param == "limit"

    run(main())


def test_blank_lines_count_as_numbers_and_are_no_rows(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf" + file_of(
        request_line("a"), b"", request_line("b"), b"  ", b"", request_line("c"), newline=b"\r\n"
    )

    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(data + b"\n\n", shard_lines=2)
            story.settle(6)
            for _ in range(2):
                rows = await story.rows(limit=1)
                assert [(row.number, row.custom_id) for row in rows] == [
                    *((1, "a"), (3, "b"), (6, "c"))
                ]
                for blank in (0, 2, 4, 5, 7, 8, 9, -1):
                    with pytest.raises(NotFound):
                        await ground.lines.line(CALLER, story.id, blank)
                assert (await ground.lines.line(CALLER, story.id, 1)).request == request_line("a")
                if (await story.batch()).status != "expired":
                    await story.end()

    run(main())


def test_custom_ids_are_found_however_they_are_spelled(tmp_path: Path) -> None:
    data = file_of(
        request_line("größe-1"),
        request_spelled('"größe-2"'.encode()),
        request_spelled(rb'"a\/b"'),
        request_spelled(b'"a/b"'),
        request_line('quo"te\n'),
        request_line("😀"),
        request_line("Größe-3"),
        request_line("plain", note="größe a/b 😀"),
        request_spelled(b'"\\ud83d cut"'),
    )

    hits = {
        "größe": [1, 2],
        "a/b": [3, 4],
        'o"t': [5],
        "te\n": [5],
        "😀": [6],
        "lain": [8],
        "\ufffd cut": [9],
        "": list(range(1, 10)),
    }

    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(data)

            async def found(outcome: Outcome | None) -> dict[str, list[int]]:
                return {
                    text: numbers(await story.rows(search=text, outcome=outcome)) for text in hits
                }

            assert await found(None) == hits
            assert not any((await found(DONE)).values())
            for number in story.numbers:
                story.settle(number)
            assert await found(DONE) == hits
            await story.end()
            assert await found(DONE) == await found(None) == hits

    run(main())


def test_a_page_ends_early_where_it_has_read_enough(tmp_path: Path) -> None:
    """The whole is still found, page by page, and no page reads much over its bound."""
    data = file_of(*(request_line(f"r-{n}", pad="x" * 1000) for n in range(1, 41)))

    async def main() -> None:
        async with opened(tmp_path, scan_bytes=3000) as ground:
            story = await ground.begin(data, shard_lines=4)
            for ended in (False, True):
                page = await story.page(search="r-40")
                assert not page.rows
                assert page.next_after is not None
                assert numbers(await story.rows(search="r-40")) == [40]
                assert numbers(await story.rows()) == story.numbers
                if not ended:
                    for number in story.numbers:
                        story.settle(number, body={"pad": "y" * 1000}, ok=number % 2 == 0)
                    few = await story.page(outcome=BAD)
                    assert 0 < len(few.rows) < 20
                    assert numbers(await story.rows(outcome=BAD)) == list(range(1, 41, 2))
                    await story.end()
                few = await story.page(outcome=DONE)
                assert 0 < len(few.rows) < 20
                assert numbers(await story.rows(outcome=DONE)) == list(range(2, 41, 2))

    run(main())


def test_a_journal_that_costs_more_than_a_page_may_read_holds_no_reader_up(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with opened(tmp_path, scan_bytes=1) as ground:
            story = await ground.begin(ten(), shard_lines=4)
            story.settle(1)
            story.settle(2)
            story.settle(9, ok=False)
            assert numbers(await story.rows(limit=1, outcome=DONE)) == [1, 2]
            assert numbers(await story.rows(limit=1, outcome=BAD)) == [9]
            assert numbers(await story.rows(limit=1)) == story.numbers

    run(main())


def test_shards_that_cannot_hold_what_is_asked_for_are_not_read(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(ten(), shard_lines=4)
            for number in story.numbers:
                story.settle(number, ok=number != 6)
            for index in range(3):
                await story.close_shard(index)
            ground.journal.reads.clear()
            assert numbers(await story.rows(outcome=BAD)) == [6]
            assert ground.journal.reads == [1]

    run(main())


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_rows_stand_on_what_is_left_where_files_were_deleted(
    tmp_path: Path, outcome: Outcome | None
) -> None:
    good, bad = list(range(2, 11, 2)), list(range(1, 11, 2))
    both = {None: story_numbers(), DONE: good, BAD: bad}

    async def main() -> None:
        async with opened(tmp_path) as ground:
            for gone in ("input", "output", "error"):
                story = await half_bad(ground)
                whole = await story.rows(outcome=outcome)
                await story.forget(gone)
                rows = await story.rows(limit=3, outcome=outcome)
                assert numbers(rows) == both[outcome]
                assert [(row.custom_id, row.outcome) for row in rows] == [
                    (row.custom_id, row.outcome) for row in whole
                ]
                lost = {"output": DONE, "error": BAD}.get(gone)
                assert all((row.status is None) is (row.outcome is lost) for row in rows)

    run(main())


def story_numbers() -> list[int]:
    return list(range(1, 11))


async def half_bad(ground: Ground) -> Story:
    """An ended batch whose odd lines failed."""
    story = await ground.begin(ten())
    for number in story.numbers:
        if number % 2:
            story.settle(number, ok=False, status=500, body={"error": "no"})
        else:
            story.settle(number)
    await story.end()
    return story


def test_without_input_and_a_result_file_the_other_is_what_there_is(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await half_bad(ground)
            await story.forget("input")
            await story.forget("output")
            assert numbers(await story.rows(limit=2)) == list(range(1, 11, 2))
            assert await story.rows(outcome=DONE) == []
            assert (await ground.lines.line(CALLER, story.id, 3)).request == b""
            for number in (2, 11):
                with pytest.raises(NotFound):
                    await ground.lines.line(CALLER, story.id, number)
            await story.forget("error")
            assert await story.page() == LinePage([], None)

    run(main())


def test_without_both_result_files_nobody_knows_the_outcome(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await half_bad(ground)
            await story.forget("error")
            await story.forget("output")
            rows = await story.rows()
            assert [(row.number, row.outcome) for row in rows] == [(n, None) for n in range(1, 11)]
            view = await ground.lines.line(CALLER, story.id, 3)
            assert (view.result, view.outcome) == (None, None)

    run(main())


def test_a_file_whose_life_is_over_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(ten(), expires_at=NOON + 10)
            story.settle(2)
            await story.end(expires_at=NOON + 20)
            ground.clock.time = NOON + 9
            view = await ground.lines.line(CALLER, story.id, 2)
            assert view.request == request_line("r-2")
            ground.clock.time = NOON + 10
            view = await ground.lines.line(CALLER, story.id, 2)
            assert (view.request, view.result) == (b"", story.settled[2].line)
            ground.clock.time = NOON + 20
            assert await story.rows() == []
            with pytest.raises(NotFound):
                await ground.lines.line(CALLER, story.id, 2)

    run(main())


def test_a_file_that_is_deleted_while_it_is_looked_for_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row goes before its bytes: who had the row finds no bytes, and looks again."""

    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await half_bad(ground)
            get, asked = ground.store.files.get, list[str]()

            async def get_and_forget(account: str, file_id: str) -> Any:
                file = await get(account, file_id)
                asked.append(file_id)
                if asked.count(file_id) == 1 and file_id == (await story.batch()).output_file_id:
                    await story.forget("output")
                return file

            monkeypatch.setattr(ground.store.files, "get", get_and_forget)
            rows = await story.rows()
            assert [row.status for row in rows] == [500, None] * 5

    run(main())


def test_a_batch_that_failed_its_validation_has_no_rows(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            batch = await ground.create(await ground.keep(b"{}\n"))
            query = LineQuery(10)
            assert await ground.lines.page(CALLER, batch.id, query) == LinePage((), None)
            with pytest.raises(NotFound):
                await ground.lines.line(CALLER, batch.id, 1)

    run(main())


def test_a_batch_that_broke_shows_its_requests_without_outcomes(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(ten())
            settle_some(story)
            await story.break_down()
            rows = await story.rows(limit=4)
            assert numbers(rows) == story.numbers
            assert {row.outcome for row in rows} == {None}
            assert await story.rows(outcome=BAD) == []

    run(main())


@pytest.mark.parametrize("after", ["", "0", "x" * 24, "0" * 24, "0" * 23, "é" * 24])
def test_what_is_no_cursor_of_this_batch_is_refused(tmp_path: Path, after: str) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story, other = await ground.begin(ten()), await ground.begin(ten())
            with pytest.raises(InvalidRequest) as refused:
                await story.page(after=after)
            assert refused.value.param == "after"
            foreign = (await other.page(limit=1)).next_after
            with pytest.raises(InvalidRequest):
                await story.page(after=foreign)

    run(main())


def test_others_see_neither_lines_nor_pages(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(ten())
            with pytest.raises(NotFound):
                await ground.lines.page(STRANGER, story.id, LineQuery(1))
            with pytest.raises(NotFound):
                await ground.lines.line(STRANGER, story.id, 1)
            with pytest.raises(NotFound):
                await ground.lines.page(CALLER, "batch_\0", LineQuery(1))

    run(main())


def test_a_line_in_full_is_the_bytes_of_both_files(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(ten(), shard_lines=3)
            settle_some(story)
            for ended in (False, True):
                for number in story.numbers:
                    view = await ground.lines.line(CALLER, story.id, number)
                    assert (view.number, view.custom_id) == (number, f"r-{number}")
                    assert view.request == request_line(f"r-{number}")
                    record = story.settled.get(number)
                    assert (view.result is None) is (record is None and not ended)
                    assert record is None or view.result == record.line
                if not ended:
                    await story.end()

    run(main())


def test_huge_lines_are_shown_like_any_other(tmp_path: Path) -> None:
    huge = "y" * (5 * 1024 * 1024)

    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(file_of(request_line("a"), request_line("b", pad=huge)))
            story.settle(1)
            story.settle(2, body={"choices": huge, "usage": {"total_tokens": 7}})
            for _ in range(2):
                rows = await story.rows(limit=1)
                assert [(row.custom_id, row.total_tokens) for row in rows] == [("a", 2), ("b", 7)]
                view = await ground.lines.line(CALLER, story.id, 2)
                assert len(view.request) > len(huge)
                assert view.result == story.settled[2].line
                if not (await story.batch()).status.is_terminal:
                    await story.end()

    run(main())


NAMES = st.sampled_from(["a", "b-1", "ä", "日本", 'q"', "a/b", "😀"])
FATES = st.sampled_from(["good", "bad", "waits"])


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.tuples(NAMES, FATES, st.booleans()), min_size=1, max_size=14),
    limit=st.integers(1, 6),
    outcome=st.sampled_from(OUTCOMES),
    search=st.sampled_from([None, "a", "ä", "/", "zz"]),
    scan_bytes=st.sampled_from([1, 400, 2**25]),
    shard_lines=st.integers(1, 5),
    ends=st.booleans(),
)
def test_pages_are_what_a_simple_model_says(
    tmp_path: Path,
    lines: list[tuple[str, str, bool]],
    limit: int,
    outcome: Outcome | None,
    search: str | None,
    scan_bytes: int,
    shard_lines: int,
    ends: bool,
) -> None:
    rows: list[bytes] = []
    expected: dict[int, tuple[str, str]] = {}
    for name, fate, is_behind_blank in lines:
        rows += [b""] * is_behind_blank
        custom_id = f"{name}-{len(rows)}"
        rows.append(request_line(custom_id))
        expected[len(rows)] = (custom_id, fate)

    async def main() -> list[tuple[int, str, Outcome | None]]:
        async with opened(tmp_path, scan_bytes=scan_bytes) as ground:
            story = await ground.begin(file_of(*rows), shard_lines=shard_lines)
            for number, (_, fate) in expected.items():
                if fate != "waits":
                    story.settle(number, ok=fate == "good")
            if ends:
                await story.end()
            found = await story.rows(limit, outcome=outcome, search=search)
            return [(row.number, row.custom_id, row.outcome) for row in found]

    outcomes = {"good": DONE, "bad": BAD, "waits": BAD if ends else None}
    assert run(main()) == [
        (number, custom_id, outcomes[fate])
        for number, (custom_id, fate) in expected.items()
        if outcome in (None, outcomes[fate]) and (search or "") in custom_id
    ]
