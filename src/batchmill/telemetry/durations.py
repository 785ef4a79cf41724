"""Durations in buckets, where noting one must cost next to nothing.

The library's own histogram takes a lock for each observation: dearer than
queueing a line. Here one loop notes, and the buckets are read when they are
asked for; a reader in another thread may see the last duration half noted.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Durations:
    """Counts of durations by bucket. To be noted in by one thread only."""

    __slots__ = ("_bounds", "_counts", "_seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._seconds = 0.0

    def note(self, *seconds: float) -> None:
        """Count durations."""
        bounds, counts = self._bounds, self._counts
        for one in seconds:
            counts[bisect_left(bounds, one)] += 1
        self._seconds += sum(seconds)

    def read(self) -> tuple[list[tuple[str, float]], float]:
        """How many were at most as long as each bound, up to ``+Inf``; and their sum in seconds."""
        counts, sum_of_seconds = list(self._counts), self._seconds
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        reached = 0.0
        buckets: list[tuple[str, float]] = []
        for name, count in zip(names, counts, strict=True):
            reached += count
            buckets.append((name, reached))
        return buckets, sum_of_seconds


class DurationHistogram(Collector):
    """A histogram with one label; ``of`` hands out where its durations are noted."""

    def __init__(
        self,
        name: str,
        told: str,
        label: str,
        *,
        bounds: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self.name = name
        self.label = label
        self._told = told
        self._bounds = bounds
        self._durations: dict[str, Durations] = {}
        registry.register(self)

    def of(self, value: str) -> Durations:
        """The durations under one value of the label: the same whenever it is asked for."""
        return self._durations.setdefault(value, Durations(self._bounds))

    def collect(self) -> Iterator[Metric]:
        """What the library asks for; in any thread."""
        family = self._family()
        for value, durations in list(self._durations.items()):
            buckets, seconds = durations.read()
            family.add_metric([value], buckets=buckets, sum_value=seconds)
        yield family

    def describe(self) -> Iterator[Metric]:
        """The metric without its samples."""
        yield self._family()

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self.name, self._told, labels=[self.label])
