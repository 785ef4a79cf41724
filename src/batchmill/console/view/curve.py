"""The curve of a batch: its milestones as rate and latency over time, for charts. Pure.

A milestone tells of all lines of a shard at once, and of when the last of them
was settled, not of when it was begun. So its lines are spread evenly over the
time since as many milestones before as there seem to be shards under way at once.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from batchmill.ports import Milestone

MOST_POINTS: Final = 60

_STEPS: Final = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400),
)


@dataclass(frozen=True, slots=True)
class Point:
    """A stretch of time from ``at`` on: lines a second, and seconds a line on average.

    ``latency`` is None where no line was settled.
    """

    at: float
    rate: float
    latency: float | None


@dataclass(frozen=True, slots=True)
class _Spread:
    start: float
    end: float
    calls: int
    millis: int


def draw_curve(milestones: Sequence[Milestone], begin: float) -> Sequence[Point]:
    """Points at even distances from ``begin`` to the last milestone, at most ``MOST_POINTS``."""
    if not milestones:
        return ()
    end = max(one.at for one in milestones)
    begin = min(begin, *(one.at for one in milestones))
    step = _step(end - begin)
    first = math.floor(begin / step)
    count = max(1, math.ceil(end / step) - first)
    calls, millis = [0.0] * count, [0.0] * count
    for spread in _spreads(milestones, begin):
        for index, share in _shares(spread, step, first, count):
            calls[index] += spread.calls * share
            millis[index] += spread.millis * share
    return [
        _point(index, calls[index], millis[index], span=(begin, end), step=step, first=first)
        for index in range(count)
    ]


def _point(
    index: int, calls: float, millis: float, *, span: tuple[float, float], step: float, first: int
) -> Point:
    start = max(span[0], (first + index) * step)
    seconds = min(span[1], (first + index + 1) * step) - start
    rate = calls / seconds if seconds > 0 else calls
    return Point(start, round(rate, 4), round(millis / calls / 1_000, 4) if calls else None)


def _step(span: float) -> float:
    """The finest round step that makes few enough points; one more is for uneven ends."""
    finest = span / (MOST_POINTS - 1)
    return next((step for step in _STEPS if step >= finest), max(finest, _STEPS[0]))


def _spreads(milestones: Sequence[Milestone], begin: float) -> Iterator[_Spread]:
    told = sorted(milestones, key=lambda one: one.at)
    overlap = _overlap([one.at for one in told], begin)
    for index, one in enumerate(told):
        start = begin if index < overlap else told[index - overlap].at
        yield _Spread(start, one.at, one.calls, one.millis)


def _overlap(times: Sequence[float], begin: float) -> int:
    """How many shards back a shard was begun: those under way at once, and one.

    Under way are as many as would have ended by the time that the first one did.
    """
    span = times[-1] - begin
    return 1 + math.ceil(len(times) * (times[0] - begin) / span) if span > 0 else 1


def _shares(spread: _Spread, step: float, first: int, count: int) -> Iterator[tuple[int, float]]:
    """Which points a spread has a part in, and how large a share of it."""
    last = min(count - 1, max(0, math.ceil(spread.end / step) - first - 1))
    length = spread.end - spread.start
    if length <= 0:
        yield last, 1.0
        return
    for index in range(max(0, math.floor(spread.start / step) - first), last + 1):
        low = max(spread.start, (first + index) * step)
        high = min(spread.end, (first + index + 1) * step)
        if high > low:
            yield index, (high - low) / length
