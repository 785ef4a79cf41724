"""What durable results cost: the engine with its journal on disk, and with one in memory."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import inputs
from bench.end_to_end import LINE_BYTES, MODEL, SLOTS, upstream
from bench.processes import python, run_to_end

JOURNALS = ("local", "memory")


@dataclass(frozen=True)
class Durability:
    """Microseconds of the engine's CPU a line, with durable results and without.

    ``cost_us`` is the difference, as the median of the rounds': what slows the machine down for
    longer than a round slows both sides of it.
    """

    durable_us: float
    careless_us: float
    cost_us: float

    def share_of(self, line_us: float) -> float:
        """The part that durability has of ``line_us``, a line's CPU end to end."""
        return self.cost_us / line_us


def measure(folder: Path, *, lines: int, rounds: int) -> Durability:
    """The medians; the two take turns on one upstream, each in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "requests.jsonl"
    inputs.write_requests(source, lines=lines, line_bytes=LINE_BYTES, model=MODEL)
    costs: dict[str, list[float]] = {name: [] for name in JOURNALS}
    with upstream(folder) as served:
        for number in range(rounds):
            for name in JOURNALS if number % 2 else reversed(JOURNALS):
                data = folder / f"{name}-{number}"
                where = (str(source), served.url, str(data), str(SLOTS), name)
                told, _ = run_to_end(python("-m", "bench.engine_alone", *where))
                costs[name].append(float(told.split()[-1]) / lines * 1e6)
    durable, careless = costs.values()
    differences = [one - other for one, other in zip(durable, careless, strict=True)]
    return Durability(median(durable), median(careless), median(differences))
