"""Live results through the door: nothing twice, nothing missing, whatever happens between pages."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_house import NOON, House, as_object, fault, open_house, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchmill.domain.batch import Counts, Event, advance
from batchmill.domain.file import File, Purpose
from batchmill.domain.ids import line_id
from batchmill.domain.results import error_line, judge, output_line
from batchmill.domain.shards import Shard
from batchmill.domain.usage import ZERO
from batchmill.ports import Record

LINES = 12
SHARD = 4


def record(batch_id: str, number: int, *, ok: bool) -> Record:
    name = line_id(batch_id, number)
    if ok:
        line = output_line(name, b'"c"', judge(200, b'{"n":%d}' % number))
    else:
        line = error_line(name, b'"c"', code="upstream_error", message="no")
    return Record(number, ok, ZERO, line)


class Story:
    """A batch of twelve lines in three shards; every third line fails."""

    def __init__(self, house: House, batch_id: str) -> None:
        self.house = house
        self.id = batch_id
        self.after: str | None = None
        self.had: list[bytes] = []
        self.has_more = True

    @classmethod
    async def begin(cls, house: House) -> "Story":
        batch_id = (await house.create_batch())["id"]
        before = await house.batch(batch_id)
        shards = [
            Shard(batch_id, i, i * 100, i * 100 + 100, i * SHARD + 1, SHARD, ("qwen-plus",))
            for i in range(LINES // SHARD)
        ]
        after = replace(
            advance(before, Event.PLANNED, NOON), counts=Counts(total=LINES), model="qwen-plus"
        )
        assert await house.store.batches.plan(before, after, shards)
        await house.store.shards.claim(shards)
        return cls(house, batch_id)

    def line(self, number: int) -> Record:
        return record(self.id, number, ok=number % 3 != 0)

    def settle(self, *numbers: int) -> None:
        for number in numbers:
            self.house.journal.put(self.id, (number - 1) // SHARD, self.line(number))

    async def deliver(self, *, keep_journal: bool = False) -> None:
        """End the batch, every line in its file; what had not settled is an error."""
        settled = {n for found in self.house.journal.records.values() for n in found}
        output, error = b"", b""
        for number in range(1, LINES + 1):
            one = self.line(number)
            if number in settled and one.ok:
                output += one.line + b"\n"
            elif number in settled:
                error += one.line + b"\n"
            else:
                error += record(self.id, number, ok=False).line + b"\n"
        files = [await self.store(name, data) for name, data in (("o", output), ("e", error))]
        before = await self.house.move(self.id, Event.CANCEL_REQUESTED)
        after = replace(
            advance(before, Event.DELIVERED, NOON),
            counts=Counts(LINES, len(output.splitlines()), len(error.splitlines())),
            output_file_id=files[0].id if files[0] else None,
            error_file_id=files[1].id if files[1] else None,
        )
        made = [file for file in files if file]
        assert await self.house.store.batches.deliver(before, after, made)
        if not keep_journal:
            await self.house.journal.drop(self.id)

    async def store(self, name: str, data: bytes) -> File | None:
        if not data:
            return None
        writer = await self.house.blobs.create(f"results/{self.id}/{name}")
        await writer.write(data)
        blob = await writer.commit()
        return File(
            id=f"file-batch_output-{name}{self.id[6:14]}",
            account="default",
            purpose=Purpose.BATCH_OUTPUT,
            filename=name,
            bytes=blob.bytes,
            digest=blob.digest,
            blob=blob.key,
            created_at=NOON,
        )

    async def read(self, **query: Any) -> list[bytes]:
        params = {name: value for name, value in query.items() if value is not None}
        if self.after is not None:
            params["after"] = self.after
        answer = await self.house.client.get(f"/v1/batches/{self.id}/results", params=params)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/x-ndjson"
        self.after = answer.headers["x-next-after"]
        self.has_more = answer.headers["x-has-more"] == "true"
        lines: list[bytes] = answer.content.splitlines()
        self.had += lines
        return lines

    async def read_to_the_end(self, **query: Any) -> None:
        while self.has_more:
            await self.read(**query)


def test_nothing_comes_before_anything_has_settled(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = await house.create_batch()
            answer = await house.client.get(f"/v1/batches/{made['id']}/results")
            assert (answer.content, answer.headers["x-has-more"]) == (b"", "true")
            story = await Story.begin(house)
            assert await story.read() == []
            assert story.has_more

    run(main())


def test_lines_come_as_they_settle_in_any_order(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            story = await Story.begin(house)
            story.settle(9, 2)
            assert await story.read() == [story.line(2).line, story.line(9).line]
            assert await story.read() == []
            story.settle(1, 10, 2)
            assert await story.read() == [story.line(1).line, story.line(10).line]
            assert story.has_more

    run(main())


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    order=st.permutations(range(1, LINES + 1)),
    settles=st.integers(0, LINES),
    steps=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5)), max_size=6),
    keep=st.booleans(),
    status=st.sampled_from([None, "completed", "failed"]),
)
def test_every_line_comes_exactly_once(
    tmp_path: Path,
    order: list[int],
    settles: int,
    steps: list[tuple[int, int]],
    keep: bool,
    status: str | None,
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            story = await Story.begin(house)
            left = order[:settles]
            for count, limit in steps:
                story.settle(*left[:count])
                del left[:count]
                await story.read(limit=limit, status=status)
            story.settle(*left)
            await story.deliver(keep_journal=keep)
            await story.read_to_the_end(limit=3, status=status)
            assert sorted(story.had) == sorted(await everything(story, status))

    run(main())


async def everything(story: Story, status: str | None) -> list[bytes]:
    """What the two files hold in the end."""
    batch = await story.house.batch(story.id)
    ids = {"completed": batch.output_file_id, "failed": batch.error_file_id}
    lines: list[bytes] = []
    for kind, file_id in ids.items():
        if file_id is not None and status in (None, kind):
            content = await story.house.client.get(f"/v1/files/{file_id}/content")
            lines += content.content.splitlines()
    return lines


def test_a_finished_batch_is_read_from_its_files_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            story = await Story.begin(house)
            story.settle(*range(1, 9))
            await story.deliver()
            await story.read_to_the_end(limit=5)
            assert len(story.had) == LINES
            assert not story.has_more
            assert await story.read() == []

    run(main())


def test_a_batch_that_failed_has_no_results_and_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = await house.create_batch()
            await house.move(made["id"], Event.REJECTED)
            answer = await house.client.get(f"/v1/batches/{made['id']}/results")
            assert (answer.content, answer.headers["x-has-more"]) == (b"", "false")

    run(main())


def test_a_deleted_result_file_is_not_found(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            story = await Story.begin(house)
            story.settle(1)
            await story.deliver()
            file_id = (await house.batch(story.id)).output_file_id
            await house.client.delete(f"/v1/files/{file_id}")
            answer = await house.client.get(f"/v1/batches/{story.id}/results")
            assert answer.status_code == 404
            failed = await house.client.get(f"/v1/batches/{story.id}/results?status=failed")
            assert failed.status_code == 200

    run(main())


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=1", 200),
        ("limit=0", 400),
        ("limit=10000", 200),
        ("limit=10001", 400),
        ("status=completed", 200),
        ("status=done", 400),
        ("after=", 200),
        ("after=nonsense", 400),
        ("after=AAAA", 400),
        ("after=%00", 400),
        ("after=%E6%97%A5", 400),
    ],
)
def test_queries_are_checked_on_both_sides(tmp_path: Path, query: str, status: int) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = await house.create_batch()
            answer = await house.client.get(f"/v1/batches/{made['id']}/results?{query}")
            assert answer.status_code == status
            if status == 400:
                assert fault(answer)["param"] == query.partition("=")[0]

    run(main())


def test_a_cursor_of_another_batch_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            one, other = await Story.begin(house), await Story.begin(house)
            await one.read()
            answer = await house.client.get(f"/v1/batches/{other.id}/results?after={one.after}")
            assert answer.status_code == 400
            assert as_object(answer)["error"]["code"] == "invalid_cursor"

    run(main())
