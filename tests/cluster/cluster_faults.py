"""A batch that runs while something breaks: what was durable before, what the upstream saw after.

A chart of the upstream's load tells how long the cluster lacked something; it
is told, never asserted.
"""

import asyncio
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise

from ray_house import RayHouse

from batchmill.domain.batch import Batch
from batchmill.domain.ids import line_id
from batchmill.wiring.parts import Parts

Record = Callable[[str, object], None]

# What runs while something breaks, unless a fault wants it otherwise.
WORKERS = 3
SLOTS = 24
LINES = 2_000

PROPERTY = "cluster_row"
SHARD_LINES = 20

_PAUSE = 0.02
_WINDOW = 25
_FULL = 0.9
_READS = 8


@dataclass(frozen=True)
class Row:
    """What a fault cost.

    ``full_after`` are the seconds until nearly every slot of the upstream was
    used again, ``longest_pause`` those in which it was sent nothing; lines sent
    again are of ``lines`` in all.
    """

    fault: str
    full_after: float
    longest_pause: float
    lines: int
    sent_again: int

    def dump(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Sample:
    """The upstream at a time: requests at work, and how many have come."""

    at: float
    in_flight: int
    requests: int


class Chart:
    """The load of the upstream, looked at all the time."""

    def __init__(self, house: RayHouse) -> None:
        self._stats = house.upstream._mock.stats
        self._slots = house.slots
        self._samples: list[Sample] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        stats = self._stats
        while not self._is_over.wait(_PAUSE):
            self._samples.append(Sample(time.monotonic(), stats.in_flight, stats.requests))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def since(self, began: float, requests: int) -> list[Sample]:
        """From a time on, as long as fewer ``requests`` had come."""
        return [one for one in self._samples if one.at >= began and one.requests < requests]

    def full_after(self, began: float, requests: int) -> float:
        """Seconds until the longest time ended in which slots were unused; 0 if there is none."""
        samples = self.since(began, requests)
        enough = _FULL * _WINDOW * self._slots
        windows = range(len(samples) - _WINDOW)
        loads = [sum(one.in_flight for one in samples[at : at + _WINDOW]) for at in windows]
        full = [began, *(samples[at].at for at in windows if loads[at] >= enough)]
        dip, end = max(((b - a, b) for a, b in pairwise(full)), default=(0.0, began))
        return end - began if dip > 2 * _WINDOW * _PAUSE else 0.0

    def longest_pause(self, began: float, requests: int) -> float:
        """Seconds in which nothing was sent."""
        samples = self.since(began, requests)
        arrivals = [began, *(b.at for a, b in pairwise(samples) if b.requests > a.requests)]
        return max((b - a for a, b in pairwise(arrivals)), default=0.0)


class Trial:
    """A running batch of a house, and the fault that befalls it."""

    def __init__(self, house: RayHouse, batch: Batch, chart: Chart, lines: int) -> None:
        self.house = house
        self.batch = batch
        self.lines = lines
        self._chart = chart
        self._before = house.upstream.requests()
        self._settled: dict[int, int] = {}
        self._began = 0.0

    def strike(self) -> None:
        """The fault is about to come: note what is durable, and how often it was sent.

        No answer is given meanwhile, so that the batch is still in its middle.
        """
        upstream = self.house.upstream
        upstream.hold()
        settled = self.house.ask(lambda parts: _settled(parts, self.batch.id, self.lines))
        hits = upstream.hits()
        assert 0 < len(settled) < self.lines // 2
        self._settled = {n: hits[line_id(self.batch.id, n)] for n in settled}
        upstream.release()
        self._began = time.monotonic()

    def end(self, fault: str, record: Record) -> Row:
        """Wait for the batch's end and hold it against every promise; tell what the fault cost."""
        ended = self.house.until_terminal(self.batch)
        again = self.house.check(ended)
        hits = self.house.upstream.hits()
        twice = [n for n, c in self._settled.items() if hits[line_id(self.batch.id, n)] != c]
        assert not twice, f"settled and yet sent again: {twice}"
        assert self.house.upstream.most_in_flight() <= self.house.slots
        tail = self._before + self.lines - 2 * self.house.slots
        row = Row(
            fault,
            round(self._chart.full_after(self._began, tail), 1),
            round(self._chart.longest_pause(self._began, tail), 1),
            self.lines,
            again,
        )
        record(PROPERTY, row.dump())
        return row


@contextmanager
def running_batch(house: RayHouse, workers: int, lines: int) -> Iterator[Trial]:
    """A batch of a whole deployment, a quarter of which was sent."""
    house.until_ready(workers)
    chart = Chart(house)
    chart.start()
    try:
        before = house.upstream.requests()
        house.upstream.forget_most_in_flight()
        batch = house.submit(lines)
        trial = Trial(house, batch, chart, lines)
        trial._before = before
        house.upstream.wait_until(lambda stats: stats.requests >= before + lines // 4)
        yield trial
    finally:
        chart.stop()


async def _settled(parts: Parts, batch_id: str, lines: int) -> frozenset[int]:
    """The numbers of lines that are durable in the journal."""
    gate = asyncio.Semaphore(_READS)

    async def read(index: int) -> frozenset[int]:
        async with gate:
            return frozenset((await parts.journal.read(batch_id, index)).records)

    shards = range(math.ceil(lines / SHARD_LINES))
    return frozenset().union(*await asyncio.gather(*(read(index) for index in shards)))
