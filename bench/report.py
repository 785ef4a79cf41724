"""The figures as tables of Markdown, and the machine that they were taken on."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from bench.bulk import MEGABYTE, Bulk
from bench.console import Sight
from bench.crowd import Kind
from bench.crowded import STEPS, Crowded
from bench.dispatch_simulation import Simulation
from bench.dispatching import Dispatching
from bench.efficiency import Efficiency
from bench.end_to_end import BATCHMILL, TRANSPORT, WRK, WRK_HTTPS, Standing
from bench.footprint import Footprint
from bench.goal_run import Measured
from bench.rivals.contest import Outcome
from bench.tables import table


def machine() -> str:
    """Cores, memory and versions."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (
        f"{os.cpu_count()} cores ({_processor()}), {pages / 2**30:.0f} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}, "
        f"uvloop {version('uvloop')}, aiohttp {version('aiohttp')}, openai {version('openai')}"
        f"{_wrk()}"
    )


def _wrk() -> str:
    """The version of wrk as it tells it, with what is before it; empty without wrk."""
    if not shutil.which("wrk"):
        return ""
    told = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout
    return f", wrk {told.split()[1]}"


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
            f"{one.share_of(ours):.2f}",
            f"{one.lines_per_second:,.0f}",
            f"{one.lines_per_second / ours.lines_per_second:.2f}",
            f"{one.upstream_cpu_us:.1f}",
        ]
        for one in standings
    ]
    stood = {one.name for one in standings}
    absent = [name for name in (WRK, WRK_HTTPS) if name not in stood]
    rows.extend([f"{name} (not installed)", "", "", "", "", ""] for name in absent)
    heads = ["", "CPU us/line", "x batchmill", "lines/s", "x batchmill", "upstream CPU us/line"]
    floor = next(one for one in standings if one.name == TRANSPORT)
    told = f"batchmill costs {ours.share_of(floor):.1f} times its transport alone."
    return f"{table(heads, rows)}\n{told}\n"


def efficiency(figures: Sequence[Efficiency]) -> str:
    """One row a number of requests in flight."""
    heads = ["in flight", "most", "lines", "ideal s", "achieved s", "of ideal", "first 30 s"]
    rows = [
        [
            "not set" if one.max_in_flight is None else str(one.max_in_flight),
            str(one.most),
            f"{one.lines:,}",
            f"{one.ideal:.2f}",
            f"{one.seconds:.2f}",
            f"{one.share:.1%}",
            f"{one.first:.1%}",
        ]
        for one in figures
    ]
    told = (
        "'First 30 s' is the share of the slots that were at work in the 30 seconds after the "
        "first request."
    )
    return f"{table(heads, rows)}\n{told}\n"


def footprint(held: Footprint) -> str:
    """One row a load."""
    rows = [
        ["idle", f"{held.idle:.1f}"],
        [f"{held.in_flight:,} in flight, over idle", f"{held.held:.1f}"],
        [f"a batch of {held.small_lines:,} lines, over idle", f"{held.small:.1f}"],
        [f"a batch of {held.large_lines:,} lines, over idle", f"{held.large:.1f}"],
    ]
    return table(["", "MB"], rows)


def behind(found: Measured) -> str:
    """What the goals' smaller ratios are made of."""
    durable, race = found.durability, found.race
    crowd, on_engine = found.crowd, found.crowd_on_engine
    rows = [
        ["the engine alone, CPU us/line: durable, and with a journal in memory"],
        [f"an upstream that closes after its third answer, {race.lines:,} lines: failed, spent"],
        [f"{crowd.batches} batches of {crowd.lines}, and one of all the lines: lines/s"],
        ["the same on a 256-slot engine, 0.1 s ± 50 %: lines/s"],
    ]
    rows[0] += [f"{durable.durable_us:.1f}", f"{durable.careless_us:.1f}"]
    rows[1] += [f"{race.failed:,}", f"{race.spent:,}"]
    rows[2] += [f"{crowd.many:,.0f}", f"{crowd.one:,.0f}"]
    rows[3] += [f"{on_engine.many:,.0f}", f"{on_engine.one:,.0f}"]
    if found.core is not None:
        pair = [f"{found.core.ours:,.0f}", f"{found.core.wrk:,.0f}"]
        rows.append(["on one core, and wrk on it: lines/s", *pair])
    return table(["", "the one", "the other"], rows)


def rivals(outcomes: Sequence[Outcome]) -> str:
    """One row a contestant, batchmill as the measure."""
    ours = outcomes[0]
    heads = [
        *("", "lines", "lines/s", "x batchmill", "CPU us/line", "x batchmill", "peak MB"),
        *("missing after kill -9", "paid twice", "remark"),
    ]
    return table(heads, [_rival(one, ours) for one in outcomes], texts=(0, 9))


def _rival(one: Outcome, ours: Outcome) -> list[str]:
    if one.loss is None:
        return [one.title, *[""] * 8, one.remark]
    return [
        one.title,
        f"{one.lines:,}",
        f"{one.lines_per_second:,.0f}",
        f"{one.lines_per_second / ours.lines_per_second:.3f}",
        f"{one.cpu_us:,.0f}",
        f"{one.cpu_us / ours.cpu_us:.1f}",
        f"{one.peak:.0f}",
        f"{one.loss.missing:,}",
        f"{one.loss.again:,} of {one.loss.lines:,}",
        one.loss.remark,
    ]


def bulk(measured: Bulk) -> str:
    """One row a way of the bytes, and what else a large file does."""
    heads = ["", "MB/s", "limit", "limit MB/s", "of the limit", "CPU s/GB"]
    rows = [
        [
            one.what,
            f"{one.megabytes_per_second:,.0f}",
            one.limit,
            _known(one.limit_megabytes_per_second, ",.0f"),
            _known(one.share, ".2f"),
            f"{one.cpu:.2f}",
        ]
        for one in measured.speeds
    ]
    told = (
        f"An engine that validates the file grows by {measured.memory / MEGABYTE:.0f} MB, and its "
        f"loop waits {1_000 * measured.delay:.0f} ms at most. From creating a batch of 50,000 "
        f"lines, 35 MB, to the first of them sent: {measured.first_line:.2f} s."
    )
    return f"{table(heads, rows)}\n{told}\n"


def _known(figure: float | None, style: str) -> str:
    return "" if figure is None else format(figure, style)


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
