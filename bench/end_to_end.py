"""A file of small requests from upload to download, against what people write and against wrk.

One upstream for all; the contenders take turns, and the medians of the rounds
count. CPU a line is that of the side that sends: all of batchmill's processes,
API and disk included, against the script's and wrk's.
"""

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import inputs
from bench.processes import cpu_seconds, python, run_to_end, running
from bench.server import Batchmill, Model, batchmill

SLOTS = 256
LINE_BYTES = 600
MODEL = "bench"
WRK_SECONDS = 4

BATCHMILL = "batchmill, upload to download"
SCRIPT = "aiohttp and a semaphore"
TRANSPORT = "batchmill's transport alone"
WRK = "wrk"


@dataclass(frozen=True)
class Run:
    """One run of a contender: seconds for ``lines`` lines, its own CPU and the upstream's."""

    lines: int
    seconds: float
    cpu: float
    upstream_cpu: float


@dataclass(frozen=True)
class Standing:
    """A contender's medians: microseconds of CPU a line, and lines a second."""

    name: str
    cpu_us: float
    lines_per_second: float
    upstream_cpu_us: float


def measure(folder: Path, *, lines: int, rounds: int) -> list[Standing]:
    """Every contender's medians."""
    source = folder / "requests.jsonl"
    inputs.write_requests(source, lines=lines, line_bytes=LINE_BYTES, model=MODEL)
    log = folder / "upstream.log"
    with running(python("-m", "bench.upstream"), log) as (upstream, port):
        url = f"http://127.0.0.1:{port}/v1"
        with batchmill(folder / "server", {MODEL: Model(url, SLOTS)}) as server:
            contenders: dict[str, Callable[[], tuple[int, float, float]]] = {
                BATCHMILL: lambda: _run_batchmill(server, source, lines),
                SCRIPT: lambda: _run_script(source, url, lines),
                TRANSPORT: lambda: _run_transport(source, url, lines),
            }
            if shutil.which("wrk"):
                contenders[WRK] = lambda: _run_wrk(source, url, folder)
            return _take_turns(contenders, upstream, rounds)


def _take_turns(
    contenders: dict[str, Callable[[], tuple[int, float, float]]], upstream: int, rounds: int
) -> list[Standing]:
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contend in contenders.items():
            before = cpu_seconds([upstream])
            lines, seconds, cpu = contend()
            runs[name].append(Run(lines, seconds, cpu, cpu_seconds([upstream]) - before))
    return [_stand(name, of_one) for name, of_one in runs.items()]


def _stand(name: str, runs: list[Run]) -> Standing:
    return Standing(
        name,
        cpu_us=median(run.cpu / run.lines for run in runs) * 1e6,
        lines_per_second=median(run.lines / run.seconds for run in runs),
        upstream_cpu_us=median(run.upstream_cpu / run.lines for run in runs) * 1e6,
    )


def _run_batchmill(server: Batchmill, source: Path, lines: int) -> tuple[int, float, float]:
    pids = server.pids()
    began, began_cpu = time.perf_counter(), cpu_seconds(pids)
    file_id = server.upload(source)
    batch = server.wait_for(server.create(file_id))
    server.download(batch["output_file_id"])
    seconds, cpu = time.perf_counter() - began, cpu_seconds(pids) - began_cpu
    if batch["request_counts"]["completed"] != lines:
        raise RuntimeError(f"{batch['request_counts']} of {lines} lines")
    return lines, seconds, cpu


def _run_script(source: Path, url: str, lines: int) -> tuple[int, float, float]:
    target = source.with_name("answers.jsonl")
    where = (str(source), str(target), url, str(SLOTS))
    told, _ = run_to_end(python("-m", "bench.aiohttp_script", *where))
    seconds, cpu = map(float, told.split())
    return lines, seconds, cpu


def _run_transport(source: Path, url: str, lines: int) -> tuple[int, float, float]:
    told, _ = run_to_end(python("-m", "bench.transport_alone", str(source), url, str(SLOTS)))
    seconds, cpu = map(float, told.split())
    return lines, seconds, cpu


def _run_wrk(source: Path, url: str, folder: Path) -> tuple[int, float, float]:
    script = folder / "post.lua"
    body = inputs.first_body(source)
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f"wrk.body = [==[{body}]==]\n"
    )
    options = ("-t1", f"-c{SLOTS}", f"-d{WRK_SECONDS}", "-s", str(script))
    told, cpu = run_to_end(["wrk", *options, f"{url}/chat/completions"])
    found = re.search(r"(\d+) requests in ([\d.]+)s", told)
    if found is None or "Non-2xx" in told:
        raise RuntimeError(f"wrk said: {told}")
    return int(found[1]), float(found[2]), cpu
