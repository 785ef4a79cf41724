"""How much of a model server's throughput reaches the batch.

The server is simulated: 256 slots of one second a call, so many lines take
lines / slots seconds at best. Counted is the whole life of the batch, from its
creation to files that can be read.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import inputs
from bench.processes import python, running
from bench.server import Batchmill, Model, batchmill

SLOTS = 256
LATENCY = 1.0
LINE_BYTES = 600


@dataclass(frozen=True)
class Efficiency:
    """A batch on the simulated engine. ``ideal`` and ``seconds`` are its time, best and real."""

    max_in_flight: int
    lines: int
    ideal: float
    seconds: float

    @property
    def share(self) -> float:
        """What of the engine's throughput was used."""
        return self.ideal / self.seconds


def measure(folder: Path, *, lines: int, in_flight: Sequence[int]) -> list[Efficiency]:
    """One batch after the other, each with another number of requests in flight."""
    with ExitStack() as stack:
        url = stack.enter_context(_engine(folder))
        models = {f"bench-{count}": Model(url, count) for count in in_flight}
        server = stack.enter_context(batchmill(folder / "server", models))
        return [_measure_one(server, folder, lines, count) for count in in_flight]


@contextmanager
def _engine(folder: Path) -> Iterator[str]:
    folder.mkdir(parents=True, exist_ok=True)
    options = ("--no-count-lines", "--slots", str(SLOTS), "--latency", str(LATENCY), "--port", "0")
    command = python("-m", "batchmill", "mock-upstream", *options)
    with running(command, folder / "engine.log") as (_, url):
        yield url


def _measure_one(server: Batchmill, folder: Path, lines: int, count: int) -> Efficiency:
    source = folder / f"requests-{count}.jsonl"
    inputs.write_requests(source, lines=lines, line_bytes=LINE_BYTES, model=f"bench-{count}")
    file_id = server.upload(source)
    began = time.perf_counter()
    server.wait_for(server.create(file_id))
    seconds = time.perf_counter() - began
    return Efficiency(count, lines, lines / SLOTS * LATENCY, seconds)
