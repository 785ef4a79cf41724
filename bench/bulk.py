"""Large files: upload, download and validation, each against its limit in the same run.

Where a tool is missing that a limit is taken with, the row says so.
"""

import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import first_line, inputs, validation_limit
from bench.processes import cpu_seconds, python, run_to_end, running
from bench.server import Address, Batchmill, Model, batchmill, download, upload

LINE_BYTES = 10_000
MODEL = "bench"
MEGABYTE = 1_000_000
UPLOAD, DOWNLOAD, VALIDATION = "upload", "download", "validation, CPU"
NGINX = "nginx, sendfile"


@dataclass(frozen=True)
class Speed:
    """Megabytes a second of batchmill and of its limit; ``cpu`` is CPU seconds a GB.

    Without ``limit_megabytes_per_second`` the limit could not be taken.
    """

    what: str
    limit: str
    megabytes_per_second: float
    limit_megabytes_per_second: float | None
    cpu: float

    @property
    def share(self) -> float | None:
        """What of the limit was reached."""
        if self.limit_megabytes_per_second is None:
            return None
        return self.megabytes_per_second / self.limit_megabytes_per_second


@dataclass(frozen=True)
class Bulk:
    """All of it: the ways of the bytes, and what else a large file does to an engine.

    ``memory`` and ``delay`` are the engine's growth in bytes and the longest wait of its loop in
    seconds while it validated the file; ``first_line`` is seconds from a batch of 50,000 lines of
    35 MB to its first line sent.
    """

    speeds: list[Speed]
    memory: float
    delay: float
    first_line: float


def measure(folder: Path, *, megabytes: int, rounds: int) -> Bulk:
    """Upload, download and validation of one file."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "large.jsonl"
    lines = megabytes * MEGABYTE // LINE_BYTES
    inputs.write_requests(source, lines=lines, line_bytes=LINE_BYTES, model=MODEL)
    nowhere = {MODEL: Model("http://127.0.0.1:9/v1", 1)}
    with ExitStack() as stack:
        server = stack.enter_context(batchmill(folder / "server", nowhere))
        receiver = _limit(stack, folder, "receive")
        sender = _limit(stack, folder, "nginx" if shutil.which("nginx") else "send")
        # A second each, on a disk that is shared: so there are more of them.
        up = _measure_upload(server, receiver, source, 2 * rounds + 1)
        down = _measure_download(server, sender, source, 2 * rounds + 1)
    memory, delay = _measure_engine(folder, source, rounds)
    return Bulk(
        speeds=[up, down, *_measure_validation(folder, source, 2 * rounds + 1)],
        memory=memory,
        delay=delay,
        first_line=first_line.measure(folder / "first-line", rounds=rounds),
    )


def _limit(stack: ExitStack, folder: Path, way: str) -> Address:
    path = folder / ("received" if way == "receive" else "large.jsonl")
    command = python("-m", "bench.raw_limits", way, str(path))
    _, port = stack.enter_context(running(command, folder / f"{way}.log"))
    return Address("127.0.0.1", int(port))


def _measure_upload(server: Batchmill, receiver: Address, source: Path, rounds: int) -> Speed:
    size = source.stat().st_size
    pids, limit, ours, cpu = server.pids(), [], [], []
    for _ in range(rounds):
        limit.append(_seconds(lambda: upload(receiver, "/", source)))
        before = cpu_seconds(pids)
        began = time.perf_counter()
        file_id = server.upload(source)
        ours.append(time.perf_counter() - began)
        cpu.append(cpu_seconds(pids) - before)
        server.delete(file_id)
    return _speed(UPLOAD, "recv, write, fsync", size, (ours, limit, cpu))


def _measure_download(server: Batchmill, sender: Address, source: Path, rounds: int) -> Speed:
    size = source.stat().st_size
    file_id = server.upload(source)
    pids, limit, ours, cpu = server.pids(), [], [], []
    for _ in range(rounds):
        limit.append(_seconds(lambda: download(sender, f"/{source.name}")))
        before = cpu_seconds(pids)
        ours.append(_seconds(lambda: server.download(file_id)))
        cpu.append(cpu_seconds(pids) - before)
    server.delete(file_id)
    name = NGINX if shutil.which("nginx") else "sendfile (nginx is not installed)"
    return _speed(DOWNLOAD, name, size, (ours, limit, cpu))


def _measure_validation(folder: Path, source: Path, rounds: int) -> list[Speed]:
    size = source.stat().st_size
    program = validation_limit.compiled(folder, MODEL)
    command = python("-m", "bench.validation", str(source), MODEL)
    ours, simd, whole = [], [], []
    for _ in range(rounds):
        run = json.loads(run_to_end(command)[0])
        ours.append(run["batchmill"])
        whole.append(run["decode"])
        if program:
            simd.append(float(run_to_end([str(program), str(source), MODEL])[0]))
    name = "simdjson, C++" if program else "simdjson, C++ (no compiler, or no libsimdjson-dev)"
    return [
        _speed(VALIDATION, name, size, (ours, simd, ours)),
        _speed(VALIDATION, "msgspec, whole lines", size, (ours, whole, ours)),
    ]


def _measure_engine(folder: Path, source: Path, rounds: int) -> tuple[float, float]:
    """Growth in bytes of an engine that validates the file, and its loop's longest wait."""
    runs = []
    for number in range(rounds):
        place = folder / f"engine-{number}"
        place.mkdir()
        command = python("-m", "bench.engine_validation", str(source), MODEL, str(place))
        runs.append(json.loads(run_to_end(command)[0]))
    return median(run["memory"] for run in runs), median(run["delay"] for run in runs)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _speed(
    what: str, limit: str, size: int, times: tuple[list[float], list[float], list[float]]
) -> Speed:
    ours, best, cpu = times
    megabytes = size / MEGABYTE
    limit_speed = megabytes / median(best) if best else None
    return Speed(what, limit, megabytes / median(ours), limit_speed, median(cpu) / (size / 1e9))
