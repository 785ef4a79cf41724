"""Run the bench: measure, print, and write ``bench/results.md``."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import (
    bulk,
    console,
    crowded,
    databases,
    dispatch_house,
    dispatch_simulation,
    dispatching,
    efficiency,
    end_to_end,
    footprint,
    goal_run,
    goals,
    report,
)
from bench.goals import Key
from bench.rivals import contest

RESULTS = Path(__file__).with_name("results.md")
# What a run measures by itself; the other parts are asked for, and kept behind this line.
ALWAYS = ("goals", "rivals")
APART = "\n# Measured apart\n"
IN_FLIGHT = (256, 512, None)
CROWD = 10_000
RUNNING = (1, 10, 100, 1_000)
FINISHED = (0, 1_000)
BESIDE = (1, 10, 100, 1_000)
# What can be measured over a database of one's choice; first the one that it is by itself.
DATABASES = {
    "dispatching": (databases.SQLITE,),
    "crowded": (databases.SQLITE, databases.POSTGRESQL),
}


@dataclass(frozen=True)
class Size:
    """How much is measured, and over which database where that is not as it is by itself."""

    rounds: int
    lines: int
    engine_lines: int
    megabytes: int
    looks: int
    slice: float
    kill_lines: int
    goals: goal_run.Amount
    database: str | None = None


FULL = Size(
    rounds=3,
    lines=20_000,
    engine_lines=10_000,
    megabytes=500,
    looks=15,
    slice=3_600.0,
    kill_lines=2_000,
    goals=goal_run.FULL,
)
QUICK = Size(
    rounds=1,
    lines=5_000,
    engine_lines=2_560,
    megabytes=100,
    looks=5,
    slice=600.0,
    kill_lines=500,
    goals=goal_run.QUICK,
)


def main() -> None:
    """Measure the parts that are asked for."""
    parts: dict[str, Callable[[Path, Size], str]] = {
        "goals": _goals,
        "rivals": _rivals,
        "end-to-end": _end_to_end,
        "efficiency": _efficiency,
        "bulk": _bulk,
        "console": _console,
        "dispatching": _dispatching,
        "crowded": _crowded,
        "simulation": _simulation,
        "cluster": _cluster,
    }
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller and rougher")
    parser.add_argument("--only", choices=parts, help="one part; results.md is left alone")
    parser.add_argument(
        "--database",
        help=f"with --only {' or '.join(DATABASES)}: {databases.SQLITE}, {databases.POSTGRESQL}, "
        "or the URL of a PostgreSQL server on which databases may be made",
    )
    asked = parser.parse_args()
    if asked.database and asked.only not in DATABASES:
        parser.error(f"--database goes with --only {' or '.join(DATABASES)}")
    size = replace(QUICK if asked.quick else FULL, database=asked.database)
    chosen = [asked.only] if asked.only else ALWAYS
    with tempfile.TemporaryDirectory(prefix="batchmill-bench-") as folder:
        texts = [_tell(parts[name], Path(folder) / name, size) for name in chosen]
    if not asked.only:
        RESULTS.write_text(_document(texts, size, RESULTS.read_text()))


def _tell(part: Callable[[Path, Size], str], folder: Path, size: Size) -> str:
    folder.mkdir()
    text = part(folder, size)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    return text


def _document(texts: list[str], size: Size, before: str) -> str:
    """The page of the results; what was measured apart stays as it was ``before``."""
    kind = "a quick run, rough" if size.rounds == 1 else f"medians of {size.rounds} rounds or more"
    head = (
        "# What the bench measured\n\n"
        f"Written by `./bench/run`: {kind}, on {report.machine()}. "
        "Ratios hold better than absolute figures.\n"
    )
    _, line, apart = before.partition(APART)
    return "\n".join([head, *texts]) + line + apart


def _goals(folder: Path, size: Size) -> str:
    found = goal_run.measure(folder, size.goals)
    place = folder / "bulk"
    place.mkdir()
    large = bulk.measure(place, megabytes=size.megabytes, rounds=size.rounds)
    figures = {**found.figures, **_bulk_figures(large)}
    return "\n".join(
        [
            f"## The goals\n\n{goals.told(figures)}",
            _end_to_end_text(found.standings, size.goals.lines),
            _efficiency_text(found.efficiencies),
            _footprint_text(found.footprint),
            f"## Behind the other goals\n\n{report.behind(found)}",
            _bulk_text(large, size),
        ]
    )


def _bulk_figures(measured: bulk.Bulk) -> dict[Key, float]:
    """What the way of large files says of the goals."""
    figures = {
        Key.VALIDATION_MEMORY: measured.memory / bulk.MEGABYTE,
        Key.VALIDATION_DELAY: 1_000 * measured.delay,
        Key.FIRST_LINE: measured.first_line,
    }
    up, down, validation, _ = measured.speeds
    if up.share is not None:
        figures[Key.UPLOAD] = up.share
    if down.share is not None and down.limit == bulk.NGINX:
        figures[Key.DOWNLOAD] = down.share
    if validation.share is not None:
        figures[Key.VALIDATION_CPU] = 1 / validation.share
    return figures


def _rivals(folder: Path, size: Size) -> str:
    outcomes = contest.measure(folder, lines=size.lines, kill_lines=size.kill_lines)
    return (
        f"## What users would pick instead\n\n{report.rivals(outcomes)}\n"
        f"Each was killed with SIGKILL when half of {size.kill_lines:,} lines were answered, and "
        "started again. Missing are answers that it does not have in the end; paid twice, lines "
        "that the upstream answered again.\n"
    )


def _end_to_end(folder: Path, size: Size) -> str:
    standings = end_to_end.measure(folder, lines=size.lines, rounds=size.rounds)
    return _end_to_end_text(standings, size.lines)


def _end_to_end_text(standings: Sequence[end_to_end.Standing], lines: int) -> str:
    return (
        f"## {lines:,} lines of {end_to_end.LINE_BYTES} bytes, "
        f"{end_to_end.SLOTS} in flight\n\n{report.end_to_end(standings)}"
    )


def _efficiency(folder: Path, size: Size) -> str:
    figures = efficiency.measure(
        folder, lines=size.engine_lines, in_flight=IN_FLIGHT, rounds=size.rounds
    )
    return _efficiency_text(figures)


def _efficiency_text(figures: Sequence[efficiency.Efficiency]) -> str:
    return (
        f"## An engine of {efficiency.SLOTS} slots, {efficiency.MEAN:g} s "
        f"± {efficiency.SPREAD:.0%} a call\n\n{report.efficiency(figures)}"
    )


def _footprint_text(held: footprint.Footprint) -> str:
    return f"## Memory of all processes\n\n{report.footprint(held)}"


def _bulk(folder: Path, size: Size) -> str:
    measured = bulk.measure(folder, megabytes=size.megabytes, rounds=size.rounds)
    return _bulk_text(measured, size)


def _bulk_text(measured: bulk.Bulk, size: Size) -> str:
    return f"## A file of {size.megabytes} MB\n\n{report.bulk(measured)}"


def _console(folder: Path, size: Size) -> str:
    sights = console.measure(folder, rows=CROWD, rounds=size.looks)
    return f"## The console with {CROWD:,} batches and files\n\n{report.console(sights)}"


def _dispatching(folder: Path, size: Size) -> str:
    (kind,) = _databases("dispatching", size)
    with databases.databases(kind, folder) as made:
        rows = dispatching.measure(made, running=RUNNING, finished=FINISHED, rounds=size.rounds)
    return (
        f"## Handing out shards, batches of {dispatch_house.SHARDS} shards of "
        f"{dispatch_house.LINES} lines, {databases.name_of(kind)}\n\n{report.dispatching(rows)}"
    )


def _crowded(folder: Path, size: Size) -> str:
    lines = dispatch_house.LINES * dispatch_house.SHARDS
    head = (
        f"## A batch of {lines:,} lines beside others, ms\n\n"
        f"Load of the machine before: {report.load()}.\n"
    )
    return "\n".join([head, *(_beside(folder, k, size) for k in _databases("crowded", size))])


def _beside(folder: Path, kind: str, size: Size) -> str:
    place = folder / databases.name_of(kind)
    place.mkdir()
    with databases.databases(kind, place) as made:
        rows = crowded.measure(place, made, beside=BESIDE, rounds=size.looks)
    return f"{databases.name_of(kind)}:\n\n{report.crowded(rows)}"


def _databases(part: str, size: Size) -> tuple[str, ...]:
    return DATABASES[part] if size.database is None else (size.database,)


def _simulation(folder: Path, size: Size) -> str:  # noqa: ARG001
    played = [
        dispatch_simulation.simulate(workers=1_000, seconds=size.slice, load=1.0, backlog=1_000),
        dispatch_simulation.simulate(workers=100, seconds=size.slice, load=5.0, backlog=100),
    ]
    return (
        f"## The dispatcher alone, {size.slice / 3600:g} h of a billion lines a day "
        f"on a virtual clock\n\n{report.simulation(played)}"
    )


def _cluster(folder: Path, size: Size) -> str:
    # Imported here: it needs the tests' PostgreSQL, bucket and Ray nodes, see bench/run.
    from bench import cluster_speed

    use = cluster_speed.measure_use(folder, lines=size.engine_lines)
    speeds = cluster_speed.measure_speed(folder, lines=size.lines, workers=(1, 2, 3))
    return (
        f"## Workers on Ray: {cluster_speed.SLOTS} slots in all, {cluster_speed.LATENCY:g} s a "
        f"call\n\n{cluster_speed.tell_use(use)}\n"
        f"The same on an upstream that answers at once, all on this machine:\n\n"
        f"{cluster_speed.tell_speed(speeds)}"
    )


if __name__ == "__main__":
    main()
