"""The figures as tables of Markdown, and the machine that they were taken on."""

import os
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from bench.bulk import Speed
from bench.console import Sight
from bench.crowd import Kind
from bench.crowded import STEPS, Crowded
from bench.dispatch_simulation import Simulation
from bench.dispatching import Dispatching
from bench.efficiency import Efficiency
from bench.end_to_end import BATCHMILL, TRANSPORT, WRK, Standing


def machine() -> str:
    """Cores, memory and versions."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (
        f"{os.cpu_count()} cores ({_processor()}), {pages / 2**30:.0f} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}, "
        f"uvloop {version('uvloop')}, aiohttp {version('aiohttp')}"
    )


def load() -> str:
    """How many processes wanted the machine's cores in the last minutes, as ``uptime`` tells it."""
    return ", ".join(f"{mean:.2f}" for mean in os.getloadavg())


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def end_to_end(standings: Sequence[Standing]) -> str:
    """One row a contender, batchmill as the measure."""
    ours = next(one for one in standings if one.name == BATCHMILL)
    rows = [
        [
            one.name,
            f"{one.cpu_us:.1f}",
            f"{one.cpu_us / ours.cpu_us:.2f}",
            f"{one.lines_per_second:,.0f}",
            f"{one.lines_per_second / ours.lines_per_second:.2f}",
            f"{one.upstream_cpu_us:.1f}",
        ]
        for one in standings
    ]
    if all(one.name != WRK for one in standings):
        rows.append([f"{WRK} (not installed)", "", "", "", "", ""])
    heads = ["", "CPU us/line", "x batchmill", "lines/s", "x batchmill", "upstream CPU us/line"]
    floor = next(one for one in standings if one.name == TRANSPORT)
    told = f"batchmill costs {ours.cpu_us / floor.cpu_us:.1f} times its transport alone."
    return f"{table(heads, rows)}\n{told}\n"


def efficiency(figures: Sequence[Efficiency]) -> str:
    """One row a number of requests in flight."""
    heads = ["in flight", "lines", "ideal s", "achieved s", "efficiency"]
    rows = [
        [
            str(one.max_in_flight),
            f"{one.lines:,}",
            f"{one.ideal:.2f}",
            f"{one.seconds:.2f}",
            f"{one.share:.1%}",
        ]
        for one in figures
    ]
    return table(heads, rows)


def bulk(speeds: Sequence[Speed]) -> str:
    """One row a way of the bytes."""
    heads = ["", "MB/s", "limit", "limit MB/s", "of the limit", "CPU s/GB"]
    rows = [
        [
            one.what,
            f"{one.megabytes_per_second:,.0f}",
            one.limit,
            f"{one.limit_megabytes_per_second:,.0f}",
            f"{one.share:.2f}",
            f"{one.cpu:.2f}",
        ]
        for one in speeds
    ]
    return table(heads, rows)


def console(sights: Sequence[Sight]) -> str:
    """One row a view."""
    heads = ["", "first row, ms", "answer, ms"]
    rows = [[one.what, f"{one.first_row:.0f}", f"{one.answer:.0f}"] for one in sights]
    return table(heads, rows)


def dispatching(rows: Sequence[Dispatching]) -> str:
    """One row a number of running and of finished batches."""
    heads = [
        *("running", "finished", "CPU us/shard", "x first", "us/shard"),
        *("full after s", "idle CPU ms/s", "peak MB"),
    ]
    cells = [
        [
            f"{one.running:,}",
            f"{one.finished:,}",
            f"{one.cpu_us:,.0f}",
            f"{one.cpu_us / rows[0].cpu_us:.2f}",
            f"{one.wall_us:,.0f}",
            f"{one.first:.2f}",
            f"{one.idle_ms:.1f}",
            f"{one.megabytes:.0f}",
        ]
        for one in rows
    ]
    return table(heads, cells)


def crowded(rows: Sequence[Crowded]) -> str:
    """One row a number of batches, and what the most cost against the second fewest."""
    return table(["beside it", *STEPS], [cells for kind in Kind for cells in _curve(rows, kind)])


def _curve(rows: Sequence[Crowded], kind: Kind) -> Iterator[list[str]]:
    curve = [row for row in rows if row.kind is kind]
    for row in curve:
        yield [f"{row.beside:,} {kind}", *(f"{row.milliseconds[step]:.2f}" for step in STEPS)]
    few, many = curve[1], curve[-1]
    ratios = [f"{many.milliseconds[step] / few.milliseconds[step]:.2f}" for step in STEPS]
    yield [f"{many.beside:,} to {few.beside:,}", *ratios]


def simulation(played: Sequence[Simulation]) -> str:
    """One column a play: figures that stand side by side are those of one play."""
    rows = [
        ["workers", *(f"{one.workers:,}" for one in played)],
        ["of their share of a billion lines a day", *(f"{one.load:g}" for one in played)],
        ["lines", *(f"{one.lines:,}" for one in played)],
        ["batches, and waiting behind", *(f"{one.batches:,} + {one.waiting:,}" for one in played)],
        ["shards handed out", *(f"{one.decisions:,}" for one in played)],
        ["needed a second", *(f"{one.needed_a_second:.1f}" for one in played)],
        ["possible a second, of CPU", *(f"{one.decisions_a_second:,.0f}" for one in played)],
        ["CPU us a shard", *(f"{one.cpu / one.decisions * 1e6:.0f}" for one in played)],
        ["workers busy", *(f"{one.use:.1%}" for one in played)],
        ["late batches", *(str(one.misses) for one in played)],
        ["late in the ideal", *(str(one.ideal_misses) for one in played)],
        ["the same, without fair turns' quarter", *(str(one.fair_misses) for one in played)],
        ["times the equal share's time, median", *(f"{one.slowdown:.1f}" for one in played)],
        ["the same, 99th of 100", *(f"{one.slowdown_99:.1f}" for one in played)],
        ["longest wait for a first shard, s", *(f"{one.first_turn:.0f}" for one in played)],
        ["Jain's index over accounts", *(f"{one.fairness:.3f}" for one in played)],
    ]
    return table(["", *("" for _ in played)], rows)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned for reading as text too."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    rule = [
        ("-" * width if at == 0 else "-" * (width - 1) + ":") for at, width in enumerate(widths)
    ]
    return "".join(_row(cells, widths) for cells in (heads, rule, *rows))


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |\n"
