"""New files out of old ones: the failed lines again, and the first lines on the test model."""

import json
from pathlib import Path
from typing import Any

import pytest
from lines_house import (
    CALLER,
    STRANGER,
    Ground,
    file_of,
    opened,
    request_line,
    request_spelled,
    run,
)

from batchmill.domain.catalog import TEST_ENDPOINT, TEST_MODEL, Catalog
from batchmill.domain.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded
from batchmill.domain.file import File, Purpose
from batchmill.domain.limits import Limits, Profile
from batchmill.domain.lines import FileCheck, LineCutter, LineRules
from batchmill.service.first_lines import Heads

TEST_CATALOG = Catalog({TEST_MODEL: frozenset({TEST_ENDPOINT})})


def faults(data: bytes, limits: Limits) -> list[str]:
    """What a batch on the test model would say of a file."""
    check = FileCheck(LineRules(TEST_ENDPOINT, TEST_CATALOG, Profile.QWEN, limits))
    cutter = LineCutter(limits.max_line_bytes)
    for raw in (*cutter.feed(data), *cutter.finish()):
        check.check(raw)
    return [error.code for error in check.finish()]


def test_the_failed_lines_become_a_file_with_their_bytes_unchanged(tmp_path: Path) -> None:
    odd = request_spelled(rb'"\u00e4 \ud83d"', note="  spaced  ")
    lines = [request_line("a"), odd, b"", request_line("c"), request_line("d", pad="x" * 9000)]

    async def main() -> None:
        async with opened(tmp_path) as ground:
            data = b"\xef\xbb\xbf" + file_of(*lines, newline=b"\r\n")
            story = await ground.begin(data, shard_lines=1, filename="mine.v2.jsonl")
            story.settle(1)
            story.settle(4)
            story.settle(5, ok=False)
            await story.end()
            made = await ground.reruns.failed_lines(CALLER, story.id)
            assert await ground.content(made) == file_of(odd, lines[4])
            assert (made.filename, made.purpose) == ("mine.v2-failed.jsonl", Purpose.BATCH)
            assert await ground.store.files.get("default", made.id) == made
            again = await ground.begin(await ground.content(made), filename=made.filename)
            await again.end()
            remade = await ground.reruns.failed_lines(CALLER, again.id)
            assert remade.filename == "mine.v2-failed.jsonl"
            assert await ground.content(remade) == await ground.content(made)

    run(main())


def test_every_line_of_many_shards_is_run_again_in_order(tmp_path: Path) -> None:
    lines = [request_line(f"r-{n}") for n in range(1, 31)]

    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(file_of(*lines)[:-1], shard_lines=4)
            for number in (*range(5, 9), 14, 29):
                story.settle(number)
            await story.end()
            made = await ground.reruns.failed_lines(CALLER, story.id)
            kept = [n for n in range(1, 31) if n not in (*range(5, 9), 14, 29)]
            assert await ground.content(made) == file_of(*(lines[n - 1] for n in kept))

    run(main())


def test_failed_lines_need_a_batch_that_ended_with_some(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(file_of(request_line("a")))
            with pytest.raises(Conflict, match="wait for its end") as early:
                await ground.reruns.failed_lines(CALLER, story.id)
            assert early.value.code == "batch_not_ended"
            story.settle(1)
            await story.end()
            with pytest.raises(Conflict, match="no line that failed"):
                await ground.reruns.failed_lines(CALLER, story.id)
            with pytest.raises(NotFound):
                await ground.reruns.failed_lines(STRANGER, story.id)

    run(main())


@pytest.mark.parametrize("gone", ["input", "error"])
def test_failed_lines_need_both_files(tmp_path: Path, gone: str) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(file_of(request_line("a")))
            await story.end()
            await story.forget(gone)
            with pytest.raises(NotFound) as missing:
                await ground.reruns.failed_lines(CALLER, story.id)
            assert missing.value.param == f"{gone}_file_id"
            assert blobs_under(tmp_path) == 1

    run(main())


def blobs_under(root: Path) -> int:
    """How many blobs hold bytes, whole or partial."""
    files = (path for path in (root / "blobs").rglob("*") if path.is_file())
    return sum(path.stat().st_size > 0 for path in files)


def test_a_file_that_the_quota_has_no_room_for_is_not_made(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path, limits=Limits(max_files=2)) as ground:
            story = await ground.begin(file_of(request_line("a")))
            await story.end()
            with pytest.raises(QuotaExceeded):
                await ground.reruns.failed_lines(CALLER, story.id)
            assert blobs_under(tmp_path) == 2

    run(main())


async def tried(ground: Ground, data: bytes, **more: Any) -> tuple[File, list[dict[str, Any]]]:
    file = await ground.keep(data, **more)
    made = await ground.reruns.trial(CALLER, file.id)
    content = await ground.content(made)
    assert faults(content, ground.limits) == []
    return made, [json.loads(line) for line in content.splitlines()]


def test_a_trial_asks_the_test_model_and_keeps_the_rest(tmp_path: Path) -> None:
    line = request_line("é", messages=[{"role": "user", "content": "hé"}], temperature=0.5)

    async def main() -> None:
        async with opened(tmp_path) as ground:
            made, [request] = await tried(ground, b"\xef\xbb\xbf" + line, filename="in.csv")
            assert made.filename == "in-trial.jsonl"
            expected = json.loads(line)
            expected["url"] = TEST_ENDPOINT
            expected["body"]["model"] = TEST_MODEL
            assert request == expected

    run(main())


@pytest.mark.parametrize(("most", "taken"), [(100, 20), (7, 7)])
def test_a_trial_is_as_long_as_the_test_model_takes(tmp_path: Path, most: int, taken: int) -> None:
    data = file_of(*(request_line(f"r-{n}") for n in range(30)))

    async def main() -> None:
        async with opened(tmp_path, limits=Limits(test_model_max_lines=most)) as ground:
            _, requests = await tried(ground, data)
            assert [one["custom_id"] for one in requests] == [f"r-{n}" for n in range(taken)]

    run(main())


def test_a_trial_is_no_larger_than_the_test_model_takes(tmp_path: Path) -> None:
    lines = [request_line(f"r-{n}", pad="x" * 1000) for n in range(6)]
    lines[0] = request_line("r-0", pad="x" * 9000)

    async def main() -> None:
        limits = Limits(test_model_max_file_bytes=3800)
        async with opened(tmp_path, limits=limits) as ground:
            _, requests = await tried(ground, file_of(*lines))
            assert [one["custom_id"] for one in requests] == ["r-1", "r-2", "r-3"]

    run(main())


def test_lines_that_cannot_be_tried_are_passed_over(tmp_path: Path) -> None:
    good = request_line("good")
    bad = [
        *(b"{}", b"[]", b"", b'{"body":1}', b'{"body":{"input":"x"}}', b"no json"),
        b'{"body":{"messages":"text"}}',
    ]

    async def main() -> None:
        async with opened(tmp_path) as ground:
            _, requests = await tried(ground, file_of(*bad, good))
            assert [one["custom_id"] for one in requests] == ["good"]
            file = await ground.keep(file_of(*bad))
            before = blobs_under(tmp_path)
            with pytest.raises(InvalidRequest, match="cannot be tried"):
                await ground.reruns.trial(CALLER, file.id)
            assert blobs_under(tmp_path) == before

    run(main())


def test_the_head_of_a_file_is_its_first_lines_that_are_not_blank(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            data = b"\xef\xbb\xbf{1}\r\n\n  \n" + b"".join(b"{%d}\n" % n for n in range(2, 9))
            file = await ground.keep(data)
            heads = await ground.reruns.head(CALLER, file.id)
            assert heads == [b"{1}", b"{2}", b"{3}", b"{4}", b"{5}"]
            assert await ground.reruns.head(CALLER, file.id, count=2) == heads[:2]
            short = await ground.keep(b"{1}\n{2}")
            assert await ground.reruns.head(CALLER, short.id) == [b"{1}", b"{2}"]

    run(main())


def test_a_head_is_cut_between_characters(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            long = "é" * (3 * 1024 * 1024)
            file = await ground.keep(f"abcd\nx{long}\nefghi\n".encode())
            heads = await ground.reruns.head(CALLER, file.id, max_bytes=4)
            assert heads == [b"abcd", "xé".encode(), b"efgh"]

    run(main())


def test_of_a_long_line_no_more_than_its_head_is_held() -> None:
    heads = Heads(1, 10)
    for _ in range(100):
        heads.feed(b"x" * 1000)
        assert len(heads._held) < 20
    heads.end_line()
    assert heads.lines == [b"x" * 10]


def test_trials_and_heads_are_of_the_callers_own_inputs(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as ground:
            story = await ground.begin(file_of(request_line("a")))
            await story.end()
            error_file_id = (await story.batch()).error_file_id
            assert error_file_id is not None
            for ask in (ground.reruns.trial, ground.reruns.head):
                with pytest.raises(NotFound):
                    await ask(STRANGER, story.file.id)
                with pytest.raises(NotFound):
                    await ask(CALLER, "file-batch-nowhere")
                with pytest.raises(InvalidRequest):
                    await ask(CALLER, error_file_id)

    run(main())
