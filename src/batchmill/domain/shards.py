"""Shards: contiguous runs of lines in one byte range of the input.

The ranges of a file's shards tile it: the first begins at byte 0, each begins
where the one before ends, the last ends with the file. Blank and skipped bytes
belong to the shard they stand in.
"""

from dataclasses import dataclass
from enum import StrEnum


class ShardStatus(StrEnum):
    """Where a shard stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Shard:
    """Lines ``[start, end)`` bytes of a batch's input; ``first_line`` counts from 1.

    ``lines`` counts requests, blank lines not among them. ``models`` names
    every model that they ask for.
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
