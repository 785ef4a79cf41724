"""What of a shard's journal counts, where late twins may still be writing.

A worker may be frozen, be replaced by the next attempt, and thaw. What it
writes then must never be read: another line of the same number may stand in
the result files by that time. So each attempt begins with a head: an object
that is written once and says how far the journal of the earlier attempts
reached when this attempt read it. Whoever reads takes the newest head, what
it says, and the newest attempt's own parts; nothing else counts.

The parts of an attempt are written in turn, each after the one before is
durable, so that "the first n parts" says it all. A listing shows what was
there before it began, and maybe some of what came meanwhile, with gaps: what
comes after a gap is left out.

    journal/<batch>/<shard>/<attempt>.head
    journal/<batch>/<shard>/<attempt>.<part>.log
    journal/<batch>/seal
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

ROOT = "journal"

# How many parts of which attempts count, in the order of attempts.
Extent = tuple[tuple[int, int], ...]

_HEAD = re.compile(r"(\d+)\.head")
_PART = re.compile(r"(\d+)\.(\d+)\.log")


class Head(msgspec.Struct, frozen=True):
    """Written when an attempt begins. ``mark`` tells it from any other writer's."""

    mark: str
    before: Extent


class Seal(msgspec.Struct, frozen=True):
    """Written when a batch is first delivered: what counts of each shard, for good."""

    mark: str
    shards: Mapping[int, Extent]


@dataclass(slots=True)
class Listing:
    """The objects of one shard."""

    heads: set[int] = field(default_factory=set)
    parts: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))

    def note(self, name: str) -> None:
        """Sort in one object by its name below the shard's folder."""
        if found := _HEAD.fullmatch(name):
            self.heads.add(int(found[1]))
        elif found := _PART.fullmatch(name):
            self.parts[int(found[1])].add(int(found[2]))

    @property
    def newest(self) -> int | None:
        """The attempt that shuts out all others; None where none has begun."""
        return max(self.heads, default=None)

    def reach(self, before: Extent) -> Extent:
        """What counts, given what the newest head says."""
        if self.newest is None:
            return ()
        own = self._unbroken(self.newest)
        return (*before, (self.newest, own)) if own else before

    def _unbroken(self, attempt: int) -> int:
        there, count = self.parts[attempt], 0
        while count + 1 in there:
            count += 1
        return count


def sort_by_shard(batch_id: str, paths: Iterable[str]) -> dict[int, Listing]:
    """The objects of a batch, by the index of their shard."""
    found: dict[int, Listing] = defaultdict(Listing)
    start = len(batch_folder(batch_id)) + 1
    for path in paths:
        index, _, name = path[start:].partition("/")
        if index.isdecimal():
            found[int(index)].note(name)
    return dict(found)


def batch_folder(batch_id: str) -> str:
    """Where all of a batch lies."""
    return f"{ROOT}/{batch_id}"


def shard_folder(batch_id: str, index: int) -> str:
    """Where all of a shard lies."""
    return f"{ROOT}/{batch_id}/{index:06d}"


def seal_key(batch_id: str) -> str:
    """The batch's seal."""
    return f"{ROOT}/{batch_id}/seal"


def head_key(batch_id: str, index: int, attempt: int) -> str:
    """The head of an attempt."""
    return f"{shard_folder(batch_id, index)}/{attempt:06d}.head"


def part_key(batch_id: str, index: int, attempt: int, part: int) -> str:
    """One part of an attempt; the first is 1."""
    return f"{shard_folder(batch_id, index)}/{attempt:06d}.{part:06d}.log"


def part_keys(batch_id: str, index: int, extent: Extent) -> Iterator[str]:
    """All parts that count, in the order in which they were written."""
    for attempt, count in extent:
        for part in range(1, count + 1):
            yield part_key(batch_id, index, attempt, part)
