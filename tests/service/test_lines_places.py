"""Where lines stand: halving offsets finds what reading from the front would find."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchmill.blobs import LocalBlobs
from batchmill.domain.file import File, Purpose
from batchmill.domain.ids import line_id
from batchmill.domain.results import error_line
from batchmill.domain.shards import Shard
from batchmill.ports import BlobMissing, BlobWriter
from batchmill.service import line_places
from batchmill.service.line_places import (
    END,
    ResultReader,
    ResultsDamaged,
    Scan,
    index_of,
    number_of,
    seek,
)

BATCH = "batch_1"


@dataclass
class OneBlob:
    """A blob in memory, read in small pieces; ``read_bytes`` counts what was asked for."""

    data: bytes
    piece: int = 1024 * 1024
    read_bytes: int = 0

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        assert start >= 0
        assert end is None or start <= end
        whole = self.data[start:end]
        for at in range(0, len(whole), self.piece):
            self.read_bytes += len(whole[at : at + self.piece])
            yield whole[at : at + self.piece]

    async def create(self, key: str) -> BlobWriter:
        raise NotImplementedError

    async def open(self, key: str) -> None:
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        raise NotImplementedError

    async def sweep_partials(self) -> int:
        raise NotImplementedError


def a_file(size: int) -> File:
    return File("f", "default", Purpose.BATCH_OUTPUT, "o.jsonl", size, "d", "results/o", 1.0)


def result(number: int, pad: int) -> bytes:
    line = error_line(line_id(BATCH, number), b'"c"', code="c", message="m" * pad)
    return line + b"\n"


def built(steps: list[tuple[int, int]]) -> list[tuple[int, bytes]]:
    """Lines by number; each step is a gap to the number before, and a length."""
    lines, number = [], 0
    for gap, pad in steps:
        number += gap
        lines.append((number, result(number, pad)))
    return lines


STEPS = st.lists(
    st.tuples(st.integers(1, 40), st.one_of(st.integers(0, 30), st.integers(500, 4000))),
    max_size=40,
)


@given(steps=STEPS, target=st.integers(0, 1700), piece=st.sampled_from([7, 64, 10**6]))
@example(steps=[], target=1, piece=7)
@example(steps=[(5, 4000)], target=5, piece=64)
@example(steps=[(5, 4000)], target=6, piece=64)
@example(steps=[(1, 10)] * 4, target=3, piece=64)  # a line that begins just in the middle
def test_the_first_line_from_a_number_on_is_found(
    steps: list[tuple[int, int]], target: int, piece: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_places, "_WINDOW_BYTES", 96)
        patch.setattr(line_places, "_PROBE_BYTES", 16)
        lines = built(steps)
        data = b"".join(line for _, line in lines)
        expected = sum(len(line) for number, line in lines if number < target)
        blob = OneBlob(data, piece)
        assert asyncio.run(seek(blob, a_file(len(data)), target)) == expected


@given(
    steps=STEPS,
    wanted=st.lists(st.integers(1, 1700), max_size=12, unique=True),
    stride=st.sampled_from([1, 5, 10**6]),
)
def test_a_reader_finds_rising_numbers_whether_it_reads_on_or_looks_anew(
    steps: list[tuple[int, int]], wanted: list[int], stride: int
) -> None:
    lines = built(steps)
    data = b"".join(line for _, line in lines)

    async def main() -> None:
        scan = Scan(10**9)
        reader = ResultReader(OneBlob(data), a_file(len(data)), scan)
        for number in sorted(wanted):
            await reader.go_to(number)
            at = next(((n, line) for n, line in lines if n >= number), (END, b"\n"))
            assert (reader.number, reader.line) == (at[0], at[1][:-1])
        await reader.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_places, "_STRIDE", stride)
        asyncio.run(main())


def test_every_line_of_a_stored_file_is_found_around_one_that_is_huge(tmp_path: Path) -> None:
    steps = [(2, n % 50) for n in range(300)]
    steps[150] = (2, 3 * 1024 * 1024)
    lines = built(steps)

    async def main() -> None:
        blobs = LocalBlobs(tmp_path)
        writer = await blobs.create("results/o")
        await writer.write(b"".join(line for _, line in lines))
        file = a_file((await writer.commit()).bytes)
        offset = 0
        for number, line in lines:
            assert await seek(blobs, file, number) == offset
            assert await seek(blobs, file, number - 1) == offset
            offset += len(line)
        assert await seek(blobs, file, 602) == file.bytes

    asyncio.run(main())


def test_finding_a_line_reads_little_of_a_large_file() -> None:
    lines = built([(1, 900)] * 20_000)
    blob = OneBlob(b"".join(line for _, line in lines))
    asyncio.run(seek(blob, a_file(len(blob.data)), 15_000))
    assert 0 < blob.read_bytes < len(blob.data) // 50


def test_a_reader_that_is_sent_far_ahead_reads_little_on_its_way() -> None:
    lines = built([(1, 900)] * 20_000)
    blob = OneBlob(b"".join(line for _, line in lines), piece=1000)

    async def main() -> int:
        reader = ResultReader(blob, a_file(len(blob.data)), Scan(1))
        await reader.go_to(1)
        await reader.go_to(15_000)
        await reader.close()
        return reader.number

    assert asyncio.run(main()) == 15_000
    assert blob.read_bytes < len(blob.data) // 50


@pytest.mark.parametrize("line", [b"", b"{}", b'{"id":"', b'{"id":"' + b"x" * 36 + b'"', b"oops"])
def test_what_is_no_result_line_is_told_without_its_content(line: bytes) -> None:
    with pytest.raises(ResultsDamaged) as damaged:
        number_of(line)
    assert "xx" not in str(damaged.value)
    assert "oops" not in str(damaged.value)


def test_a_number_is_read_from_the_beginning_of_a_line() -> None:
    assert number_of(result(2**40 + 7, 3)) == 2**40 + 7
    assert number_of(result(50_000, 3)[:43]) == 50_000


def test_a_line_stands_in_the_last_shard_that_begins_before_it() -> None:
    shards = [Shard("b", n, 0, 0, first, 1, ("m",)) for n, first in enumerate((1, 5, 6))]
    assert [index_of(shards, n) for n in (0, 1, 4, 5, 6, 99)] == [0, 0, 0, 1, 2, 2]


def test_a_blob_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(BlobMissing):
        asyncio.run(seek(LocalBlobs(tmp_path), a_file(10), 1))
