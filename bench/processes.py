"""Programs that the bench starts, and what they use of the machine.

Figures come from ``/proc``. Whatever is started here is ended here, also when
the bench is interrupted.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Event, Thread

ROOT = Path(__file__).resolve().parent.parent
TICK = 1.0 / os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 60
LOOK_SECONDS = 0.1


def python(*arguments: str) -> list[str]:
    """The command line of a Python program of this environment."""
    return [sys.executable, *arguments]


@contextmanager
def running(
    command: Sequence[str], log: Path, *, cores: Iterable[int] | None = None
) -> Iterator[tuple[int, str]]:
    """A started program: its process id, and the first line that ends with a URL or number."""
    with log.open("ab") as errors, nullcontext() if cores is None else pinned(cores):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT)
    try:
        line = process.stdout.readline().decode().strip() if process.stdout else ""
        if not line:
            raise RuntimeError(f"{command[-1]} did not start: {log.read_text()[-2000:]}")
        yield process.pid, line
    finally:
        process.send_signal(signal.SIGTERM)
        _wait_or_kill(process)
        if process.stdout:
            process.stdout.close()


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def asking(command: Sequence[str], log: Path) -> Iterator[Callable[[str], str]]:
    """A started program that answers each line with one; it ends when nothing more is asked."""
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT
        )
    assert process.stdin is not None
    assert process.stdout is not None
    questions, answers = process.stdin, process.stdout

    def ask(question: str) -> str:
        with suppress(BrokenPipeError):  # it has ended, and answers nothing
            questions.write(f"{question}\n".encode())
            questions.flush()
        if not (answer := answers.readline()):
            raise RuntimeError(f"{command[-1]} did not answer: {log.read_text()[-2000:]}")
        return answer.decode().strip()

    try:
        yield ask
    finally:
        with suppress(BrokenPipeError):
            questions.close()
        _wait_or_kill(process)
        answers.close()


def run_to_end(command: Sequence[str]) -> tuple[str, float]:
    """What a program prints, and the CPU seconds that it took, its start included."""
    before = os.times()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    after = os.times()
    children = after.children_user + after.children_system
    return done.stdout, children - before.children_user - before.children_system


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents = dict(_parents())
    members = [pid]
    for member in members:
        members += [child for child, parent in parents.items() if parent == member]
    return members


def _parents() -> Iterator[tuple[int, int]]:
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (fields := _stat(int(path.name))):
            yield int(path.name), int(fields[1])


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` behind the command; empty where the process has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of processes so far."""
    return sum(TICK * (int(f[11]) + int(f[12])) for pid in pids if (f := _stat(pid)))


def memory(pids: Iterable[int]) -> int:
    """Bytes that processes hold together: what several share counts once (PSS)."""
    return sum(map(_proportional, pids))


def _proportional(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((1024 * int(n.split()[1]) for n in text.splitlines() if n.startswith("Pss:")), 0)


class Peak:
    """The most that was held at any look."""

    def __init__(self) -> None:
        self.bytes = 0


@contextmanager
def watched(pids: Callable[[], Iterable[int]]) -> Iterator[Peak]:
    """Look all along at the memory of the processes that ``pids`` names at the time."""
    peak, ended = Peak(), Event()

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            peak.bytes = max(peak.bytes, memory(pids()))

    thread = Thread(target=watch, name="memory")
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


@contextmanager
def pinned(cores: Iterable[int]) -> Iterator[None]:
    """What is started meanwhile by this thread runs on these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cores))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
