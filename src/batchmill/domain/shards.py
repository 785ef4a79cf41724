"""Shards: contiguous runs of lines in one byte range of the input.

The ranges of a file's shards tile it: the first begins at byte 0, each begins
where the one before ends, the last ends with the file. Blank and skipped bytes
belong to the shard they stand in.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from batchmill.domain.lines import Stretch

# A shard is planned with attempt 0, and each claim counts one more: before this one nobody
# has sent a line of it.
FIRST_ATTEMPT: Final = 1

_ROUNDS: Final = 8
_LEAST_LINES: Final = 500


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


def lines_for(slots: int, most: int) -> int:
    """How many lines a shard may have that are sent on ``slots``, and ``most`` at most.

    Each shard costs about two milliseconds; and a batch that comes later waits until most of it
    was sent. So it is worth some rounds of the slots, and no fewer lines than pay for it.
    """
    return min(most, max(_LEAST_LINES, _ROUNDS * slots))


class ShardCutter:
    """Cuts a stream of lines into shards of 1 to ``max_lines`` of their first line's model.

    A shard spans more than ``max_bytes`` only where it holds one line alone;
    what follows the last line of the file comes on top of that.
    """

    def __init__(self, batch_id: str, *, max_lines: Callable[[str], int], max_bytes: int) -> None:
        self._batch_id = batch_id
        self._max_lines_of = max_lines
        self._max_lines = 0
        self._max_bytes = max_bytes
        self._index = 0
        self._start = 0
        self._first_line = 1
        self._lines = 0
        self._last, self._end = 0, 0
        self._models: dict[str, None] = {}

    def extend(self, lines: Stretch) -> list[Shard]:
        """Take the next lines; the shards that are full without the last one of them."""
        full, at, ends = list[Shard](), 0, lines.ends
        while at < len(ends):
            if not self._lines:
                self._max_lines = self._max_lines_of(lines.models[at])
            upto = self._fitting(ends, at)
            if upto == at:
                full.append(self._cut(self._end))
                self._first_line = self._last + 1
            else:
                self._lines += upto - at
                self._last, self._end = lines.number + upto - 1, ends[upto - 1]
                self._models.update(dict.fromkeys(lines.models[at:upto]))
                at = upto
        return full

    def finish(self, file_bytes: int) -> Shard | None:
        """The last shard, up to the end of the file; None without a line."""
        return self._cut(file_bytes) if self._lines else None

    def _fitting(self, ends: list[int], at: int) -> int:
        """Before which of the lines from ``at`` on the shard is full; an empty one takes one."""
        most = min(at + self._max_lines - self._lines, len(ends))
        upto = bisect_right(ends, self._start + self._max_bytes, at, most)
        return upto if self._lines else max(upto, at + 1)

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
