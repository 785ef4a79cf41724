"""Large files: upload, download and validation, each against its limit in the same run."""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import inputs
from bench.processes import cpu_seconds, python, run_to_end, running
from bench.server import Address, Batchmill, Model, batchmill, download, upload

LINE_BYTES = 10_000
MODEL = "bench"
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Speed:
    """Megabytes a second of batchmill and of its limit; ``cpu`` is CPU seconds a GB."""

    what: str
    limit: str
    megabytes_per_second: float
    limit_megabytes_per_second: float
    cpu: float

    @property
    def share(self) -> float:
        """What of the limit was reached."""
        return self.megabytes_per_second / self.limit_megabytes_per_second


def measure(folder: Path, *, megabytes: int, rounds: int) -> list[Speed]:
    """Upload, download and validation of one file."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "large.jsonl"
    lines = megabytes * MEGABYTE // LINE_BYTES
    inputs.write_requests(source, lines=lines, line_bytes=LINE_BYTES, model=MODEL)
    nowhere = {MODEL: Model("http://127.0.0.1:9/v1", 1)}
    with ExitStack() as stack:
        server = stack.enter_context(batchmill(folder / "server", nowhere))
        receiver, sender = (_limit(stack, folder, way) for way in ("receive", "send"))
        up = _measure_upload(server, receiver, source, rounds)
        down = _measure_download(server, sender, source, rounds)
    return [up, down, *_measure_validation(source, rounds)]


def _limit(stack: ExitStack, folder: Path, way: str) -> Address:
    path = folder / ("large.jsonl" if way == "send" else "received")
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
    return _speed("upload", "recv, write, fsync", size, (ours, limit, cpu))


def _measure_download(server: Batchmill, sender: Address, source: Path, rounds: int) -> Speed:
    size = source.stat().st_size
    file_id = server.upload(source)
    pids, limit, ours, cpu = server.pids(), [], [], []
    for _ in range(rounds):
        limit.append(_seconds(lambda: download(sender, "/")))
        before = cpu_seconds(pids)
        ours.append(_seconds(lambda: server.download(file_id)))
        cpu.append(cpu_seconds(pids) - before)
    server.delete(file_id)
    return _speed("download", "sendfile", size, (ours, limit, cpu))


def _measure_validation(source: Path, rounds: int) -> list[Speed]:
    size = source.stat().st_size
    command = python("-m", "bench.validation", str(source), MODEL)
    runs = [json.loads(run_to_end(command)[0]) for _ in range(rounds)]
    ours = [run["batchmill"] for run in runs]
    return [
        _speed("validation, CPU", limit, size, (ours, [run[name] for run in runs], ours))
        for name, limit in (("lines", "readlines only"), ("decode", "msgspec, whole lines"))
    ]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _speed(
    what: str, limit: str, size: int, times: tuple[list[float], list[float], list[float]]
) -> Speed:
    ours, best, cpu = (median(one) for one in times)
    megabytes = size / MEGABYTE
    return Speed(what, limit, megabytes / ours, megabytes / best, cpu / (size / 1e9))
