"""The goals of dispatching near the physical limit: what is asked of each figure, how it stands.

Pure. A figure is measured elsewhere and handed in under its key; one that is missing stands in the
table as not measured.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.tables import table


class Key(StrEnum):
    """The figures, by the number of their goal."""

    CPU = "1"
    CPU_HTTPS = "1, HTTPS"
    CPU_HTTPS_PLAIN = "1, HTTPS to plain"
    ONE_CORE = "2"
    SCRIPT = "3, script"
    CLIENT = "3, client"
    CONFIGURED = "4"
    UNCONFIGURED = "5"
    IN_FLIGHT = "6, in flight"
    GROWTH = "6, growth"
    UPLOAD = "7"
    DOWNLOAD = "8"
    VALIDATION_CPU = "9, CPU"
    VALIDATION_MEMORY = "9, memory"
    VALIDATION_DELAY = "9, delay"
    DURABILITY = "10"
    RACE_FAILED = "11, failed"
    RACE_SPENT = "11, spent"
    FIRST_LINE = "12"
    CROWD = "13, at once"
    CROWD_ON_ENGINE = "13, engine"


class Verdict(StrEnum):
    """How a figure stands to its goal."""

    STRETCH = "stretch met"
    MET = "met"
    MISSED = "missed"
    UNKNOWN = "not measured"


@dataclass(frozen=True)
class Goal:
    """A figure's goal and stretch, in the unit that ``tell`` writes.

    ``at_most`` says on which side of them the figure is to be.
    """

    key: Key
    what: str
    at_most: bool
    goal: float
    stretch: float | None
    tell: Callable[[float], str]

    def judge(self, figure: float | None) -> Verdict:
        """How ``figure`` stands to it; None was not measured."""
        if figure is None:
            return Verdict.UNKNOWN
        if self.stretch is not None and self._holds(figure, self.stretch):
            return Verdict.STRETCH
        return Verdict.MET if self._holds(figure, self.goal) else Verdict.MISSED

    def told(self, bound: float | None) -> str:
        """A bound with its side; nothing where there is none."""
        return "" if bound is None else f"{'≤' if self.at_most else '≥'} {self.tell(bound)}"

    def _holds(self, figure: float, bound: float) -> bool:
        return figure <= bound if self.at_most else figure >= bound


def times(ratio: float) -> str:
    """A ratio above 1."""
    return f"{ratio:.3g}x"


def part(ratio: float) -> str:
    """A ratio below 1."""
    return f"{ratio:.2f}"


def fraction(ratio: float) -> str:
    """A ratio far below 1."""
    return f"1/{1 / ratio:.3g}" if ratio > 0 else "0"


def percent(ratio: float) -> str:
    """A share of a whole."""
    return f"{100 * ratio:.3g} %"


def megabytes(size: float) -> str:
    """Megabytes."""
    return f"{size:.3g} MB"


def seconds(time: float) -> str:
    """Seconds."""
    return f"{time:.2f} s"


def milliseconds(time: float) -> str:
    """Milliseconds."""
    return f"{time:.3g} ms"


def count(number: float) -> str:
    """How many."""
    return f"{number:.0f}"


def _most(
    key: Key, what: str, goal: float, stretch: float | None, tell: Callable[[float], str]
) -> Goal:
    return Goal(key, what, at_most=True, goal=goal, stretch=stretch, tell=tell)


def _least(
    key: Key, what: str, goal: float, stretch: float | None, tell: Callable[[float], str]
) -> Goal:
    return Goal(key, what, at_most=False, goal=goal, stretch=stretch, tell=tell)


_ENGINE = "256-slot engine, 1 s ± 50 %, 10,000 lines"
_CROWD = "100 batches of 500 lines at once vs one of 50,000"
GOALS: Sequence[Goal] = (
    _most(Key.CPU, "CPU a line end to end, durable, vs wrk's CPU a request", 4.0, 3.0, times),
    _most(Key.CPU_HTTPS, "the same over HTTPS vs wrk over HTTPS", 8.0, None, times),
    _most(Key.CPU_HTTPS_PLAIN, "the same over HTTPS vs wrk over HTTP", 8.0, None, times),
    _least(Key.ONE_CORE, "lines a second on one core vs wrk", 0.20, 0.30, part),
    _most(Key.SCRIPT, "CPU a line vs the aiohttp script", 1 / 5, 1 / 8, fraction),
    _most(Key.CLIENT, "CPU a line vs the official client", 1 / 100, 1 / 150, fraction),
    _least(Key.CONFIGURED, f"{_ENGINE}, concurrency set: of ideal", 0.97, 0.975, percent),
    _least(Key.UNCONFIGURED, "the same, nothing set, first 30 s counted", 0.90, 0.95, percent),
    _most(Key.IN_FLIGHT, "memory at 5,000 in flight over idle", 60.0, 35.0, megabytes),
    _most(Key.GROWTH, "memory: growth from 10,000 to 50,000 lines", 10.0, 5.0, megabytes),
    _least(Key.UPLOAD, "upload of 500 MB vs bare recv to write", 0.5, 0.65, part),
    _least(Key.DOWNLOAD, "download of 500 MB vs nginx sendfile", 0.6, 0.75, part),
    _most(Key.VALIDATION_CPU, "validation of 500 MB, CPU vs C++ simdjson", 2.0, 1.5, times),
    _most(Key.VALIDATION_MEMORY, "validation of 500 MB: memory", 40.0, 35.0, megabytes),
    _most(Key.VALIDATION_DELAY, "validation of 500 MB: loop's delay", 50.0, 20.0, milliseconds),
    _most(Key.DURABILITY, "durability: share of the CPU a line", 0.10, 0.05, percent),
    _most(Key.RACE_FAILED, "keep-alive race upstream: failed lines", 0.0, None, count),
    _most(Key.RACE_SPENT, "keep-alive race upstream: attempts spent", 0.0, None, count),
    _most(Key.FIRST_LINE, "create to first line sent, 50,000 lines of 35 MB", 0.5, 0.25, seconds),
    _least(Key.CROWD, f"{_CROWD}, answered at once", 0.9, 0.97, part),
    _least(Key.CROWD_ON_ENGINE, f"{_CROWD}, 256-slot engine, 0.1 s ± 50 %", 0.9, 0.97, part),
)


def told(figures: Mapping[Key, float]) -> str:
    """The table of the goals, with what was measured."""
    rows = [
        [
            goal.key.partition(",")[0],
            goal.what,
            goal.told(goal.goal),
            goal.told(goal.stretch),
            "" if goal.key not in figures else goal.tell(figures[goal.key]),
            goal.judge(figures.get(goal.key)),
        ]
        for goal in GOALS
    ]
    return table(["#", "what", "goal", "stretch", "measured", ""], rows, texts=(1, 5))
