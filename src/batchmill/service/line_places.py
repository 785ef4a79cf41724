"""Where lines stand in stored bytes: found by their number, and read on from there.

A result file is in line order and each of its lines begins with the line's id,
which ends with the number: so a number is found by halving offsets. Where
input lines stand is told by shards. No more than a line and a chunk is held.
"""

import asyncio
import sys
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

from batchmill.domain.file import File
from batchmill.domain.lines import LineCutter, RawLine
from batchmill.domain.shards import Shard
from batchmill.ports import Blobs
from batchmill.service.streams import closing, split_lines

END: Final = sys.maxsize

# Every result line begins with its id, whose last group is the number: domain.results and
# domain.ids write it so.
_BEGINNING: Final = b'{"id":"'
_NUMBER: Final = slice(31, 43)
_HEAD_BYTES: Final = 43

_PROBE_BYTES: Final = 8 * 1024
_WINDOW_BYTES: Final = 64 * 1024
# To read on over so many lines costs less than to look for a place anew.
_STRIDE: Final = 64


class ResultsDamaged(Exception):
    """A result file holds a line that does not begin as result lines do."""


@dataclass(slots=True)
class Scan:
    """How much one look may still read, and the number up to which it has seen every line."""

    left: int
    passed: int = 0

    @property
    def is_over(self) -> bool:
        """Whether the look has read as much as it may."""
        return self.left <= 0

    def read(self, size: int) -> None:
        """Count bytes that were read."""
        self.left -= size


def number_of(line: bytes) -> int:
    """The number of a result line, of which the beginning is enough; raises ResultsDamaged."""
    if line.startswith(_BEGINNING):
        try:
            return int(line[_NUMBER], 16)
        except ValueError:
            pass
    raise ResultsDamaged("a line of a result file does not begin with its id")


async def seek(blobs: Blobs, file: File, number: int) -> int:
    """The offset of the first line of a result file with this number or a higher one.

    The size of the file where there is none. Raises BlobMissing.
    """
    low, high, found = 0, file.bytes, file.bytes  # all lines before ``low`` have lower numbers
    while high - low > _WINDOW_BYTES:
        middle = (low + high) // 2
        start = await _next_start(blobs, file, middle, high)
        if start is not None and await _number_at(blobs, file, start) < number:
            low = start
        else:
            found, high = found if start is None else start, middle + 1
    within = await _seek_within(blobs, file, low, high, number)
    return found if within is None else within


async def _next_start(blobs: Blobs, file: File, middle: int, high: int) -> int | None:
    """Where the first line begins that begins behind ``middle`` and before ``high``."""
    at = middle
    for size in (_PROBE_BYTES, high):
        end = min(high - 1, at + size)
        async with closing(blobs.read(file.blob, at, end)) as chunks:
            async for chunk in chunks:
                place = chunk.find(b"\n")
                if place >= 0:
                    return at + place + 1
                at += len(chunk)
    return None


async def _number_at(blobs: Blobs, file: File, start: int) -> int:
    return number_of(await read_range(blobs, file, start, start + _HEAD_BYTES))


async def _seek_within(blobs: Blobs, file: File, low: int, high: int, number: int) -> int | None:
    data = await read_range(blobs, file, low, high + _HEAD_BYTES)
    start = 0
    while start < high - low:
        if number_of(data[start : start + _HEAD_BYTES]) >= number:
            return low + start
        start = data.find(b"\n", start) + 1 or high
    return None


async def read_range(blobs: Blobs, file: File, start: int, end: int) -> bytes:
    """Bytes ``[start, end)`` of a file; raises BlobMissing."""
    return b"".join([chunk async for chunk in blobs.read(file.blob, start, end)])


class ResultReader:
    """Reads a result file upwards and stands at one line of it; ``number`` is END behind the last.

    What it reads is counted in ``scan``.
    """

    def __init__(self, blobs: Blobs, file: File, scan: Scan) -> None:
        self.number = 0
        self.line = b""
        self._blobs = blobs
        self._file = file
        self._scan = scan
        self._lines: AsyncGenerator[bytes] | None = None

    async def go_to(self, number: int) -> None:
        """Stand at the first line with this number or a higher one; never goes back."""
        if self._lines is None or number - self.number > _STRIDE:
            await self.close()
            offset = await seek(self._blobs, self._file, number)
            self._lines = split_lines(self._blobs.read(self._file.blob, offset))
            self.number = 0
        while self.number < number:
            await self.advance()

    async def advance(self) -> None:
        """Stand at the next line."""
        line = None if self._lines is None else await anext(self._lines, None)
        self.line = line or b""
        self.number = END if line is None else number_of(line)
        self._scan.read(len(self.line))

    async def close(self) -> None:
        """Let go of the file."""
        if self._lines is not None:
            await self._lines.aclose()


def index_of(shards: Sequence[Shard], number: int) -> int:
    """The index of the shard in which a line with this number stands, if there is one."""
    return max(0, bisect_right(shards, number, key=lambda shard: shard.first_line) - 1)


async def read_requests(blobs: Blobs, file: File, shard: Shard) -> AsyncGenerator[list[RawLine]]:
    """The requests of a shard, numbered as in the whole file, in groups as they come.

    Raises BlobMissing. What follows the last of them is not read.
    """
    longest = shard.end - shard.start
    cutter = LineCutter(longest, start=shard.start, first_line=shard.first_line)
    left = shard.lines
    async with closing(blobs.read(file.blob, shard.start, shard.end)) as chunks:
        async for chunk in chunks:
            group = await asyncio.to_thread(cutter.feed, chunk)
            yield group
            left -= len(group)
            if left <= 0:
                return
    yield cutter.finish()
