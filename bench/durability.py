"""What durable results cost: the engine with its journal on disk, and with one in memory."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import inputs
from bench.end_to_end import LINE_BYTES, MODEL, SLOTS, upstream
from bench.processes import asking, python

LOCAL, MEMORY = "local", "memory"


@dataclass(frozen=True)
class Durability:
    """Microseconds of the engine's CPU a line, with durable results and without.

    ``share`` is the part of the first that the difference is, as the median of the rounds': what
    slows the machine down for longer than a round slows both sides of it.
    """

    durable_us: float
    careless_us: float
    share: float


def measure(folder: Path, *, lines: int, rounds: int) -> Durability:
    """The medians; two engines take turns on one upstream, ``lines`` at a time.

    Turns are short, and many: where others use the machine too, it is another one a second later.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "requests.jsonl"
    inputs.write_requests(source, lines=lines, line_bytes=LINE_BYTES, model=MODEL)
    costs: dict[str, list[float]] = {LOCAL: [], MEMORY: []}
    with (
        upstream(folder) as served,
        _engine(folder, served.url, LOCAL) as durable,
        _engine(folder, served.url, MEMORY) as careless,
    ):
        turns = [(LOCAL, durable), (MEMORY, careless)]
        for _, run in turns:  # connections are made, code is warm
            run(str(source))
        for _ in range(rounds):
            for journal, run in turns:
                costs[journal].append(float(run(str(source))) / lines * 1e6)
            turns.reverse()
    shares = [(one - other) / one for one, other in zip(costs[LOCAL], costs[MEMORY], strict=True)]
    return Durability(median(costs[LOCAL]), median(costs[MEMORY]), median(shares))


def _engine(folder: Path, url: str, journal: str) -> AbstractContextManager[Callable[[str], str]]:
    """An engine that runs the files whose paths it is told, see ``bench/engine_alone.py``."""
    data, log = folder / journal, folder / f"{journal}.log"
    return asking(python("-m", "bench.engine_alone", url, str(data), str(SLOTS), journal), log)
