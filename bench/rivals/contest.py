"""Each contestant on the same upstream, and then killed half-way and started again.

The speed is that on an upstream that answers at once, 256 in flight. For the kill every process of
the contestant ends by SIGKILL when the upstream has given half of the answers; then it is started
again as its user would, and what it has in the end is counted, and what was answered twice.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import inputs
from bench.end_to_end import LINE_BYTES, MODEL, SLOTS, upstream
from bench.processes import cpu_seconds, family, python, watched
from bench.rivals.contestants import AIBRIX, BATCHMILL, SCRIPTS, Contestant
from bench.rivals.environments import cache_folder, prepare
from bench.server import Batchmill, Model, batchmill
from bench.simulated import Simulated, simulated

KILL_SLOTS = 64
KILL_SECONDS = 0.25
PATIENCE = 60.0
# For as long a user waits for an old batch before a new one is begun.
STUCK_SECONDS = 180.0
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Loss:
    """After a kill half-way and a second start: answers that are missing, and paid for again."""

    lines: int
    missing: int
    again: int
    remark: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a contestant did. Where it could not run, ``remark`` says why."""

    title: str
    lines: int = 0
    lines_per_second: float = 0.0
    cpu_us: float = 0.0
    peak: float = 0.0
    loss: Loss | None = None
    remark: str = ""


Service = Callable[[Path, str, int], AbstractContextManager[Batchmill]]


def measure(folder: Path, *, lines: int, kill_lines: int) -> list[Outcome]:
    """Everybody's outcome, batchmill's first."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _measure_one(folder / str(place), one, lines // one.part, kill_lines)
        for place, one in enumerate((BATCHMILL, *SCRIPTS, AIBRIX))
    ]


def _measure_one(folder: Path, one: Contestant, lines: int, kill_lines: int) -> Outcome:
    interpreter = Path(python()[0])
    if one.requirement is not None:
        found = prepare(one.requirement, cache_folder())
        if found.python is None:
            return Outcome(one.title, remark=found.remark)
        interpreter = found.python
    folder.mkdir()
    try:
        if one.is_service:
            service = _batchmill if one is BATCHMILL else _aibrix(interpreter, one.program)
            speed = _service_speed(folder, one.title, service, lines)
            return replace(speed, loss=_service_loss(folder, service, kill_lines))
        command = [str(interpreter), "-P", str(one.program)]
        speed = _script_speed(folder, one.title, command, lines)
        return replace(speed, loss=_script_loss(folder, command, kill_lines))
    except (RuntimeError, OSError) as error:
        return Outcome(one.title, remark=f"did not run: {str(error)[:200]}")


def _requests(folder: Path, name: str, lines: int) -> Path:
    source = folder / f"{name}.jsonl"
    inputs.write_requests(source, lines=lines, line_bytes=LINE_BYTES, model=MODEL)
    return source


# --- scripts ---


@dataclass(frozen=True)
class Told:
    """What a script said of its run, and the most that it held."""

    seconds: float
    cpu: float
    answers: int
    peak: float


def _script_speed(folder: Path, title: str, command: Sequence[str], lines: int) -> Outcome:
    source = _requests(folder, "speed", lines)
    with upstream(folder) as served:
        told = _run(folder, [*command, *_words(folder, "speed", source, served.url, SLOTS)])
    if told.answers != lines:
        raise RuntimeError(f"{told.answers} of {lines} lines were answered")
    return Outcome(title, lines, lines / told.seconds, told.cpu / lines * 1e6, told.peak / MEGABYTE)


def _script_loss(folder: Path, command: Sequence[str], lines: int) -> Loss:
    source = _requests(folder, "kill", lines)
    with simulated(folder / "engine.log", mean=KILL_SECONDS) as engine:
        words = _words(folder, "kill", source, engine.url, KILL_SLOTS)
        with _started(folder, [*command, *words]) as process:
            _wait_for_half(engine, lines)
            _kill(process.pid)
        told = _run(folder, [*command, *words])
        again = engine.figures().again
    return Loss(lines, missing=lines - told.answers, again=again)


def _words(folder: Path, name: str, source: Path, url: str, slots: int) -> list[str]:
    place = folder / f"{name}-out"
    place.mkdir()
    return [str(source), str(place / "answers.jsonl"), url, str(slots)]


def _run(folder: Path, command: Sequence[str]) -> Told:
    """Run a script to its end; its last line is its seconds, CPU seconds, and maybe answers."""
    with _started(folder, command) as process, watched(lambda: family(process.pid)) as peak:
        text, _ = process.communicate()
    if process.returncode:
        raise RuntimeError((folder / "errors.log").read_text()[-200:].replace("\n", " "))
    seconds, cpu, *answers = text.splitlines()[-1].split()
    count = int(answers[0]) if answers else _count_lines(Path(command[-3]))
    return Told(float(seconds), float(cpu), count, peak.bytes)


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


@contextmanager
def _started(folder: Path, command: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    with (folder / "errors.log").open("ab") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=folder,
            env=_environment(folder),
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _environment(home: Path) -> dict[str, str]:
    """Nothing of the bench's own environment, and nothing kept from run to run."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "HOME": str(home)
    }


def _wait_for_half(engine: Simulated, lines: int) -> None:
    engine.wait_until(lambda seen: seen.answered >= lines // 2, seconds=PATIENCE)


def _kill(pid: int) -> None:
    """End a process and all that descend from it, leaving none the time to start another."""
    members = family(pid)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for member in members:
            os.kill(member, number)


# --- services ---


def _service_speed(folder: Path, title: str, service: Service, lines: int) -> Outcome:
    source = _requests(folder, "speed", lines)
    with (
        upstream(folder) as served,
        service(folder / "speed", served.url, SLOTS) as server,
        watched(server.pids) as peak,
    ):
        pids = server.pids()
        began, began_cpu = time.perf_counter(), cpu_seconds(pids)
        batch = server.wait_for(server.create(server.upload(source)))
        server.download(batch["output_file_id"])
        seconds, cpu = time.perf_counter() - began, cpu_seconds(pids) - began_cpu
    return Outcome(title, lines, lines / seconds, cpu / lines * 1e6, peak.bytes / MEGABYTE)


def _service_loss(folder: Path, service: Service, lines: int) -> Loss:
    source = _requests(folder, "kill", lines)
    place = folder / "kill"
    with simulated(folder / "engine.log", mean=KILL_SECONDS) as engine:
        with service(place, engine.url, KILL_SLOTS) as server:
            file_id = server.upload(source)
            batch_id = server.create(file_id)
            _wait_for_half(engine, lines)
            for pid in server.pids()[:1]:
                _kill(pid)
        with service(place, engine.url, KILL_SLOTS) as server:
            answers, remark = _second_try(server, batch_id, source)
        again = engine.figures().again
    return Loss(lines, missing=lines - answers, again=again, remark=remark)


def _second_try(server: Batchmill, batch_id: str, source: Path) -> tuple[int, str]:
    """The answers of the batch, or of a new one where the first comes to no good end."""
    batch = server.find(batch_id, seconds=STUCK_SECONDS)
    if batch is not None and batch["status"] == "completed":
        return int(batch["request_counts"]["completed"]), ""
    state = "is unknown" if batch is None else f"stays {batch['status']}"
    batch = server.wait_for(server.create(server.upload(source)))
    remark = f"the batch {state} after the start: its user begins anew"
    return int(batch["request_counts"]["completed"]), remark


def _batchmill(folder: Path, url: str, slots: int) -> AbstractContextManager[Batchmill]:
    return batchmill(folder, {MODEL: Model(url, slots)})


def _aibrix(interpreter: Path, program: Path) -> Service:
    @contextmanager
    def serving(folder: Path, url: str, slots: int) -> Iterator[Batchmill]:
        folder.mkdir(exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        # It adds the whole path of an endpoint itself.
        words = [str(folder / "files"), str(port), url.removesuffix("/v1"), str(slots)]
        with (
            (folder / "service.log").open("ab") as log,
            _logged([str(interpreter), str(program), *words], folder, log.fileno()) as process,
        ):
            server = Batchmill(process.pid, f"http://127.0.0.1:{port}/v1")
            server.wait_until_ready()
            yield server

    return serving


@contextmanager
def _logged(command: Sequence[str], folder: Path, log: int) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        command, stdout=log, stderr=log, cwd=folder, env=_environment(folder)
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
