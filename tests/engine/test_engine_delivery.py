"""Delivery: the same bytes however often it runs, every line in one file, and damage survived."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_fakes import T0, settle_down
from engine_house import House, a_line, open_house, some_lines

from batchmill.domain.batch import Batch, Counts, Event, Status, advance
from batchmill.domain.ids import line_id
from batchmill.domain.results import error_line, judge, output_line
from batchmill.domain.shards import Shard
from batchmill.domain.usage import ZERO, Usage
from batchmill.engine import delivery
from batchmill.engine.delivery import Deliverer
from batchmill.engine.prices import PriceBook
from batchmill.engine.purse import Treasury
from batchmill.journal.local import LocalSealed
from batchmill.journal.objects import SealedBatch
from batchmill.ports import BlobMissing, Record, Settled

URL = "http://127.0.0.1:9/v1"
BODY = b'{"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":3}}'


def deliverer(house: House) -> Deliverer:
    return Deliverer(
        store=house.store,
        blobs=house.parts.blobs,
        journal=house.parts.journal,
        clock=house.clock,
        prices=PriceBook(house.store.prices),
        treasury=Treasury(caps=house.store.caps, ledger=house.store.ledger, clock=house.clock),
        max_line_bytes=1 << 20,
    )


def a_record(batch: Batch, number: int) -> Record:
    """Every third line failed."""
    name, custom_id = line_id(batch.id, number), b'"c%d"' % number
    if number % 3 == 0:
        line = error_line(name, custom_id, code="upstream_error", message="no")
        return Record(number, False, ZERO, line)
    return Record(number, True, Usage(2, 3), output_line(name, custom_id, judge(200, BODY)))


async def stopping(
    house: House, event: Event, settled: set[int], total: int = 12, **changes: Any
) -> Batch:
    """A batch of three shards with these lines settled, about to be delivered."""
    lines = some_lines(total)
    file = await house.upload(lines)
    batch = await house.create(file.id, **changes)
    ends = [0]
    for line in lines:
        ends.append(ends[-1] + len(json.dumps(line)) + 1)
    size = total // 3
    shards = [
        Shard(
            batch_id=batch.id,
            index=n,
            start=ends[n * size],
            end=ends[(n + 1) * size],
            first_line=n * size + 1,
            lines=size,
            models=("m",),
        )
        for n in range(3)
    ]
    running = advance(batch, Event.PLANNED, T0)
    assert await house.rows.batches.plan(batch, running, shards)
    for shard in shards:
        segment = await house.parts.journal.open(shard, lambda records: None)
        # Backwards: the order of the journal is that in which answers came.
        for number in range(shard.first_line + size - 1, shard.first_line - 1, -1):
            if number in settled:
                segment.append(a_record(batch, number))
        await segment.close()
    after = advance(running, event, T0)
    assert await house.rows.batches.move(running, after)
    return after


@pytest.mark.parametrize(
    ("event", "code", "status"),
    [
        (Event.DEADLINE_PASSED, "batch_expired", Status.EXPIRED),
        (Event.CANCEL_REQUESTED, "batch_cancelled", Status.CANCELLED),
    ],
)
def test_lines_never_run_get_the_error_of_the_verdict_in_their_place(
    tmp_path: Path, event: Event, code: str, status: Status
) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            batch = await stopping(house, event, {1, 3, 4, 5, 6, 7, 8, 12})
            await deliverer(house).deliver(batch)
            done = await house.get(batch)
            assert (done.status, done.counts) == (status, Counts(12, 5, 7))
            assert done.usage == Usage(10, 15)
            output, errors = await house.results(done)
            assert [line["custom_id"] for line in output] == ["c1", "c4", "c5", "c7", "c8"]
            found = {line["custom_id"]: line["error"]["code"] for line in errors}
            assert found == {
                "c2": code,
                "c3": "upstream_error",
                "c6": "upstream_error",
                "c9": code,
                "c10": code,
                "c11": code,
                "c12": "upstream_error",
            }
            assert all(line["response"] is None for line in errors)
            assert await house.parts.journal.held() == []

    asyncio.run(main())


def test_a_second_delivery_writes_the_same_bytes_and_changes_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            batch = await stopping(house, Event.DEADLINE_PASSED, {1, 2, 3, 8})
            # As after a crash between the blobs and the store: the journal is still there.
            house.script.fail("batches.deliver", OSError(5, "Input/output error"))
            with pytest.raises(OSError, match="Input"):
                await deliverer(house).deliver(batch)
            first = [await read_blob(house, batch, name) for name in ("output", "error")]
            house.clock.advance(10.0)
            await deliverer(house).deliver(batch)
            done = await house.get(batch)
            assert [await house.read(done, name) for name in _files(done)] == first
            await deliverer(house).deliver(batch)
            assert await house.get(batch) == done
            assert [await house.read(done, name) for name in _files(done)] == first

    asyncio.run(main())


async def read_blob(house: House, batch: Batch, name: str) -> bytes:
    key = f"results/{batch.id}.{name}.jsonl"
    return b"".join([chunk async for chunk in house.blobs.read(key)])


def unfinished_blobs(folder: Path) -> list[Path]:
    marks = {"owner", "guard"}
    partials = (folder / "blobs" / ".partial").rglob("*")
    return [path for path in partials if path.is_file() and path.name not in marks]


def _files(batch: Batch) -> list[str | None]:
    return [batch.output_file_id, batch.error_file_id]


@pytest.mark.parametrize("point", ["writer.commit", "batches.deliver"])
def test_a_delivery_that_broke_off_is_repeated_under_the_same_ids(
    tmp_path: Path, point: str
) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            batch = await stopping(house, Event.DEADLINE_PASSED, {1, 2})
            house.script.fail(point, OSError(5, "Input/output error"))
            with pytest.raises(OSError, match="Input"):
                await deliverer(house).deliver(batch)
            still = await house.get(batch)
            assert (still.status, still.output_file_id) == (Status.FINALIZING, None)
            assert await house.parts.journal.held() == [batch.id]
            assert unfinished_blobs(tmp_path) == []
            await deliverer(house).deliver(batch)
            done = await house.get(batch)
            assert done.counts == Counts(12, 2, 10)
            await house.results(done)

    asyncio.run(main())


def test_one_that_was_overtaken_leaves_the_row_as_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            batch = await stopping(house, Event.SETTLED, set(range(1, 13)))
            broken = advance(batch, Event.BROKE, T0)
            assert await house.rows.batches.move(batch, broken)
            await deliverer(house).deliver(batch)
            assert (await house.get(batch)).status is Status.FAILED

    asyncio.run(main())


def test_result_files_live_as_long_as_the_batch_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            batch = await stopping(house, Event.DEADLINE_PASSED, {1}, output_expires_after=3600)
            house.clock.advance(50.0)
            await deliverer(house).deliver(batch)
            done = await house.get(batch)
            for file_id in _files(done):
                assert file_id is not None
                file = await house.rows.files.get("acme", file_id)
                assert file is not None
                assert file.expires_at == T0 + 50.0 + 3600
                assert file.filename.startswith(batch.id)
                assert file.account == "acme"

    asyncio.run(main())


class Watched:
    """Empty shards; which of them were begun to be read, in turn."""

    def __init__(self, shards_ahead: int) -> None:
        self.shards_ahead = shards_ahead
        self.begun: list[int] = []

    async def read(self, index: int) -> Settled:
        self.begun.append(index)
        return Settled({}, frozenset())

    async def stands(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("kind", "begun"),
    [(LocalSealed, [1, 2, 3, 4, 5]), (SealedBatch, [3, 4, 5, 5, 5])],
    ids=["folder", "bucket"],
)
def test_the_shards_of_a_folder_are_read_one_at_a_time_and_those_of_a_bucket_ahead(
    kind: type[LocalSealed | SealedBatch], begun: list[int]
) -> None:
    async def main() -> None:
        sealed = Watched(kind.shards_ahead)
        shards = [Shard("b", index, 0, 1, 1, 1, ("m",)) for index in range(5)]
        found = []
        async for _ in delivery._read_ahead(sealed, shards):
            await settle_down()
            found.append(len(sealed.begun))
        assert found == begun
        assert sealed.begun == [0, 1, 2, 3, 4]

    asyncio.run(main())


def test_a_result_that_the_disk_lost_does_not_keep_the_batch_from_its_end(tmp_path: Path) -> None:
    """All was settled, and then a byte of the journal flipped: its group is not believed."""

    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            batch = await stopping(house, Event.SETTLED, set(range(1, 13)))
            path = sorted((tmp_path / "journal" / batch.id).iterdir())[1]
            data = bytearray(path.read_bytes())
            data[-5] ^= 1
            path.write_bytes(data)
            await deliverer(house).deliver(batch)
            done = await house.get(batch)
            assert done.status is Status.COMPLETED
            _, errors = await house.results(done)
            lost = [line["custom_id"] for line in errors if line["error"]["code"] == "result_lost"]
            assert lost == ["c5", "c6", "c7", "c8"]

    asyncio.run(main())


def test_without_the_input_only_a_delivery_that_needs_it_fails(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            whole = await stopping(house, Event.SETTLED, set(range(1, 13)))
            await _remove_input(house, whole)
            await deliverer(house).deliver(whole)
            assert (await house.get(whole)).status is Status.COMPLETED
            partial = await stopping(house, Event.DEADLINE_PASSED, {1})
            await _remove_input(house, partial)
            with pytest.raises(BlobMissing):
                await deliverer(house).deliver(partial)
            nowhere = replace(partial, input_file_id="file-batch-nowhere")
            with pytest.raises(BlobMissing):
                await deliverer(house).deliver(nowhere)

    asyncio.run(main())


async def _remove_input(house: House, batch: Batch) -> None:
    file = await house.rows.files.get("acme", batch.input_file_id)
    assert file is not None
    await house.blobs.delete(file.blob)


def test_large_results_stream_into_the_file(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            batch = await stopping(house, Event.SETTLED, set())
            shard = (await house.rows.shards.of_batch(batch.id))[0]
            segment = await house.parts.journal.open(replace(shard, attempt=7), lambda _: None)
            usage = b'"usage":{"prompt_tokens":0,"completion_tokens":0}'
            body = b'{%b,"pad":"%b"}' % (usage, b"x" * 400_000)
            for number in range(1, 5):
                line = output_line("1", b'"c%d"' % number, judge(200, body))
                segment.append(Record(number, True, ZERO, line))
            await segment.close()
            await deliverer(house).deliver(batch)
            done = await house.get(batch)
            assert done.counts == Counts(12, 4, 8)
            assert house.script.calls["writer.write"] >= 5
            await house.results(done)

    asyncio.run(main())


def test_the_line_of_a_request_is_its_own_whatever_its_custom_id(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            tricky = r'"\ud83d\u0000 \"x\""'
            rest = json.dumps({k: v for k, v in a_line(1).items() if k != "custom_id"})[1:]
            file = await house.upload([f'{{"custom_id":{tricky},{rest}'.encode()])
            batch = await house.create(file.id)
            shard = Shard(batch.id, 0, 0, file.bytes, 1, 1, ("m",))
            running = advance(batch, Event.PLANNED, T0)
            await house.rows.batches.plan(batch, running, [shard])
            late = advance(running, Event.DEADLINE_PASSED, T0)
            await house.rows.batches.move(running, late)
            await deliverer(house).deliver(late)
            done = await house.get(batch)
            assert tricky.encode() in await house.read(done, done.error_file_id)

    asyncio.run(main())
