"""Lines a second where batchmill has one core for all of its processes, against wrk on that core.

Upstream, uploads and the bench itself have another core.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import inputs
from bench.end_to_end import LINE_BYTES, MODEL, SLOTS, Work, run_batchmill, run_wrk, upstream
from bench.processes import pinned
from bench.server import Model, batchmill


@dataclass(frozen=True)
class OneCore:
    """Lines a second of batchmill, upload to download, and requests a second of wrk."""

    ours: float
    wrk: float

    @property
    def share(self) -> float:
        """Batchmill's part of what wrk did."""
        return self.ours / self.wrk


def measure(folder: Path, *, lines: int, rounds: int) -> OneCore | None:
    """The medians; None on one core, or without wrk."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2 or not shutil.which("wrk"):
        return None
    core, other = cores[:2]
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "requests.jsonl"
    inputs.write_requests(source, lines=lines, line_bytes=LINE_BYTES, model=MODEL)
    with pinned({other}), upstream(folder) as served:
        models = {MODEL: Model(served.url, SLOTS)}
        with batchmill(folder / "server", models, cores={core}) as server:
            pairs = [
                (run_batchmill(server, source, lines), _run_wrk(core, source, served.url, folder))
                for _ in range(rounds)
            ]
    ours, theirs = (
        median(work.lines / work.seconds for work in works) for works in zip(*pairs, strict=True)
    )
    return OneCore(ours, theirs)


def _run_wrk(core: int, source: Path, url: str, folder: Path) -> Work:
    with pinned({core}):
        return run_wrk(source, url, folder)
