"""Shards: contiguous runs of lines in one byte range of the input.

The ranges of a file's shards tile it: the first begins at byte 0, each begins
where the one before ends, the last ends with the file. Blank and skipped bytes
belong to the shard they stand in.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from batchmill.domain.lines import Line

# A shard is planned with attempt 0, and each claim counts one more: before this one nobody
# has sent a line of it.
FIRST_ATTEMPT: Final = 1


class ShardStatus(StrEnum):
    """Where a shard stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Shard:
    """Lines ``[start, end)`` bytes of a batch's input.

    ``first_line`` is the number, from 1, of the line that begins at ``start``,
    whether it is blank or not. ``lines`` counts requests, blank lines not
    among them. ``models`` names every model that they ask for.
    """

    batch_id: str
    index: int
    start: int
    end: int
    first_line: int
    lines: int
    models: tuple[str, ...]
    status: ShardStatus = ShardStatus.WAITING
    attempt: int = 0
    completed: int = 0
    failed: int = 0


class ShardCutter:
    """Cuts a stream of Lines into shards of 1 to ``max_lines`` lines.

    A shard spans more than ``max_bytes`` only where it holds one line alone;
    what follows the last line of the file comes on top of that.
    """

    def __init__(self, batch_id: str, *, max_lines: int, max_bytes: int) -> None:
        self._batch_id = batch_id
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._index = 0
        self._start = 0
        self._first_line = 1
        self._lines = 0
        self._last: Line | None = None
        self._models: dict[str, None] = {}

    def add(self, line: Line) -> Shard | None:
        """Take the next line; the shard before it, where that is full without it."""
        full = None
        if self._last is not None and self._is_full_before(line):
            full = self._cut(self._last.end)
            self._first_line = self._last.number + 1
        self._last = line
        self._lines += 1
        self._models.setdefault(line.model)
        return full

    def finish(self, file_bytes: int) -> Shard | None:
        """The last shard, up to the end of the file; None without a line."""
        return self._cut(file_bytes) if self._lines else None

    def _is_full_before(self, line: Line) -> bool:
        return self._lines >= self._max_lines or line.end - self._start > self._max_bytes

    def _cut(self, end: int) -> Shard:
        shard = Shard(
            batch_id=self._batch_id,
            index=self._index,
            start=self._start,
            end=end,
            first_line=self._first_line,
            lines=self._lines,
            models=tuple(self._models),
        )
        self._index += 1
        self._start, self._lines, self._models = end, 0, {}
        return shard
