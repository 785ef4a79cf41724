"""A worker as its dispatcher knows it: what it was handed, and how fast it settles that."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from batchmill.cluster.link import Caller, Link, Word, key_of
from batchmill.domain.shards import Shard
from batchmill.ports import RunKey, ShardEnd

OnEnd = Callable[[Shard, ShardEnd], None]

_MEMORY_SECONDS = 1.5


@dataclass(slots=True)
class Handed:
    """A shard that a worker runs. ``lanes`` are those of its models."""

    shard: Shard
    lanes: frozenset[str]
    on_end: OnEnd
    settled: int = 0
    task: asyncio.Task[ShardEnd | None] | None = None


class Pace:
    """Lines of a lane that a worker settles in a second, smoothed.

    Beats may follow upon each other at once, and lines settle in groups: so a
    look weighs as much as the time that it covers.
    """

    def __init__(self) -> None:
        self.per_second = 0.0
        self._fresh = 0

    def add(self, lines: int) -> None:
        """So many were settled since the last look."""
        self._fresh += lines

    def look(self, seconds: float) -> None:
        """Take what was added in that time into the average."""
        weight = 1.0 - math.exp(-seconds / _MEMORY_SECONDS)
        self.per_second += weight * (self._fresh / seconds - self.per_second)
        self._fresh = 0


@dataclass(slots=True)
class Member:
    """A worker. ``process`` is empty until it has answered; ``heard_at`` is when it did last.

    ``told`` are runs that ended and whose end is known here, ``drop`` are runs
    that it holds and that are not its own any more: its next letter says so.
    ``is_away`` says that it could not be reached of late.
    """

    name: str
    link: Link
    heard_at: float
    process: str = ""
    is_away: bool = False
    is_fenced: bool = False
    runs: dict[RunKey, Handed] = field(default_factory=dict)
    told: set[RunKey] = field(default_factory=set)
    drop: set[RunKey] = field(default_factory=set)
    outstanding: Counter[str] = field(default_factory=Counter)
    paces: dict[str, Pace] = field(default_factory=dict)
    call: asyncio.Task[None] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether shards may be handed to it."""
        return bool(self.process) and not self.is_away and not self.is_fenced

    def caller(self, epoch: int) -> Caller:
        """Who speaks to it, meaning the process that it is now."""
        return Caller(epoch, self.process)

    def pace(self, lane: str) -> float:
        """Lines of a lane that it settles in a second."""
        return self.paces[lane].per_second if lane in self.paces else 0.0

    def hand(self, handed: Handed) -> None:
        """Enter a run in the books."""
        self.runs[key_of(handed.shard)] = handed
        for lane in handed.lanes:
            self.outstanding[lane] += handed.shard.lines

    def end(self, key: RunKey, *, is_over: bool) -> None:
        """Take a run from the books; ``is_over`` says that the worker holds it no more."""
        handed = self.runs.pop(key)
        left = handed.shard.lines - handed.settled
        if is_over:
            self.told.add(key)
            self._count(handed, left)
        else:
            for lane in handed.lanes:
                self.outstanding[lane] -= left

    def hear(self, word: Word, now: float) -> None:
        """Learn from what its present process says of the runs."""
        for key, handed in self.runs.items():
            fresh = word.report.settled.get(key, 0) - handed.settled
            if fresh > 0:
                self._count(handed, fresh)
        if now > self.heard_at:
            for pace in self.paces.values():
                pace.look(now - self.heard_at)
        self.drop = {key_of(shard) for shard in word.held} - self.runs.keys() - self.told
        self.heard_at = now
        self.is_away = self.is_fenced = False

    def _count(self, handed: Handed, fresh: int) -> None:
        handed.settled += fresh
        for lane in handed.lanes:
            self.outstanding[lane] -= fresh
            self.paces.setdefault(lane, Pace()).add(fresh)
