"""How much of a model server's throughput reaches the batch.

The server is simulated: 256 slots, a second a call more or less the half of it. So many lines take
at best the time that was worked for them, divided by the slots. Counted is the whole life of the
batch, from its creation to files that can be read; once with the number of requests in flight set,
once with nothing configured.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import inputs
from bench.engine import FIRST_SECONDS
from bench.server import Model, batchmill
from bench.simulated import simulated

SLOTS = 256
MEAN = 1.0
SPREAD = 0.5
LINE_BYTES = 600
MODEL = "bench"


@dataclass(frozen=True)
class Efficiency:
    """A batch on the simulated engine. ``ideal`` and ``seconds`` are its time, best and real.

    ``first`` is the share of the slots that were at work in the 30 seconds after the first request
    came, or until the last answer where that was sooner. ``max_in_flight`` None was left to
    batchmill.
    """

    max_in_flight: int | None
    lines: int
    ideal: float
    seconds: float
    first: float
    most: int

    @property
    def share(self) -> float:
        """What of the engine's throughput was used."""
        return self.ideal / self.seconds


def measure(
    folder: Path, *, lines: int, in_flight: Sequence[int | None], rounds: int
) -> list[Efficiency]:
    """The median run with each number, on servers of their own that have sent nothing before."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "requests.jsonl"
    inputs.write_requests(source, lines=lines, line_bytes=LINE_BYTES, model=MODEL)
    return [
        _median(
            [_measure_one(folder / f"{place}-{n}", source, lines, count) for n in range(rounds)]
        )
        for place, count in enumerate(in_flight)
    ]


def _median(runs: Sequence[Efficiency]) -> Efficiency:
    return sorted(runs, key=lambda run: run.share)[len(runs) // 2]


def _measure_one(folder: Path, source: Path, lines: int, count: int | None) -> Efficiency:
    folder.mkdir()
    with (
        simulated(folder / "engine.log", slots=SLOTS, mean=MEAN, spread=SPREAD) as engine,
        batchmill(folder / "server", {MODEL: Model(engine.url, count)}) as server,
    ):
        file_id = server.upload(source)
        began = time.perf_counter()
        server.wait_for(server.create(file_id))
        seconds = time.perf_counter() - began
        seen = engine.figures()
    return Efficiency(
        max_in_flight=count,
        lines=lines,
        ideal=seen.worked / SLOTS,
        seconds=seconds,
        first=seen.first / SLOTS / min(FIRST_SECONDS, seen.elapsed),
        most=seen.most,
    )
