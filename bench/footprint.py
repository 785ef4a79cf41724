"""What batchmill holds of the memory: with 5,000 requests in flight, and as batches grow.

PSS of all of its processes. Idle is the server after its first batch of a few lines, so that what
is loaded once is not counted; each figure comes from a server of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import inputs
from bench.end_to_end import LINE_BYTES, MODEL, SLOTS, upstream
from bench.processes import memory, watched
from bench.server import Batchmill, Model, batchmill
from bench.simulated import simulated

MEGABYTE = 1_000_000
IN_FLIGHT = 5_000
FEW_LINES = 500
HOLD_SECONDS = 5.0
PATIENCE = 120.0


@dataclass(frozen=True)
class Footprint:
    """Megabytes over idle: at ``in_flight`` requests, and at the height of two batches.

    ``idle`` is what the server held before.
    """

    in_flight: int
    held: float
    idle: float
    small_lines: int
    small: float
    large_lines: int
    large: float

    @property
    def growth(self) -> float:
        """What the large batch needed more than the small one."""
        return self.large - self.small


def measure(folder: Path, *, small: int, large: int, in_flight: int, rounds: int) -> Footprint:
    """The medians; ``large`` is at least ``in_flight`` lines."""
    folder.mkdir(parents=True, exist_ok=True)
    held, idle, smalls, larges = [], [], [], []
    for number in range(rounds):
        place = folder / str(number)
        place.mkdir()
        one, base = _held(place / "held", in_flight)
        held.append(one)
        idle.append(base)
        smalls.append(_peak(place / "small", small))
        larges.append(_peak(place / "large", large))
    return Footprint(
        in_flight, median(held), median(idle), small, median(smalls), large, median(larges)
    )


def _held(folder: Path, in_flight: int) -> tuple[float, float]:
    """Megabytes over idle when so many requests wait for their answers; and idle."""
    folder.mkdir()
    with (
        simulated(folder / "engine.log", mean=HOLD_SECONDS) as engine,
        _warm(folder, engine.url, in_flight) as server,
    ):
        idle = memory(server.pids())
        file_id = server.upload(_requests(folder, "many", 2 * in_flight))
        batch = server.create(file_id)
        engine.wait_until(lambda seen: seen.working >= in_flight, seconds=PATIENCE)
        held = memory(server.pids())
        server.wait_for(batch)
    return (held - idle) / MEGABYTE, idle / MEGABYTE


def _peak(folder: Path, lines: int) -> float:
    """Megabytes over idle at the height of a batch, its upload and download included."""
    folder.mkdir()
    with upstream(folder) as served, _warm(folder, served.url, SLOTS) as server:
        idle = memory(server.pids())
        source = _requests(folder, "lines", lines)
        with watched(server.pids) as peak:
            batch = server.wait_for(server.create(server.upload(source)))
            server.download(batch["output_file_id"])
    return (peak.bytes - idle) / MEGABYTE


@contextmanager
def _warm(folder: Path, url: str, in_flight: int) -> Iterator[Batchmill]:
    with batchmill(folder / "server", {MODEL: Model(url, in_flight)}) as server:
        batch = server.wait_for(server.create(server.upload(_requests(folder, "few", FEW_LINES))))
        server.download(batch["output_file_id"])
        yield server


def _requests(folder: Path, name: str, lines: int) -> Path:
    source = folder / f"{name}.jsonl"
    inputs.write_requests(source, lines=lines, line_bytes=LINE_BYTES, model=MODEL)
    return source
