"""The supervisor: keeps the API's process and the engine's process alive.

It holds the listening socket and the lock of the data folder, so that clients
wait instead of being refused while a process is replaced. It imports nothing
but the standard library, and knows nothing of batches. Should it die itself,
the API's process starts a new one with the same socket and lock (see
``child``).
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

ENGINE, API = "engine", "api"
NAMES = (ENGINE, API)
CANNOT_START = 3

# What the C library does with freed memory. One arena for all threads, for with one each it
# keeps 10 MB more; and what a long line took goes back at once, where pieces of it would stay.
_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(4 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(8 * 1024 * 1024),
}

_SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_STOPS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_SETTLED = b"s"
_PATIENCE = 15.0
_LONG_LIFE = 10.0
_LONGEST_PAUSE = 5.0


@dataclass(frozen=True)
class Post:
    """What a supervisor hands to its successor: settings, grace in seconds, descriptors.

    ``settings`` and ``prices`` are text for the children; ``socket`` and ``lock``
    are open file descriptors, ``log_json`` says how to write lines of its own,
    ``processes`` which children there are.
    """

    settings: str
    prices: str
    stop_grace: float
    socket: int
    lock: int
    log_json: bool
    processes: Sequence[str] = NAMES


@dataclass
class Child:
    """One of the processes, now alive or waiting to be started again."""

    name: str
    process: subprocess.Popen[bytes] | None = None
    lifeline: int = -1
    started: float = 0.0
    deaths: int = 0
    not_before: float = 0.0


def start(post: Post) -> None:
    """Replace this process by a supervisor. Does not return."""
    os.execv(sys.executable, command(post))


def spawn(post: Post) -> bool:
    """Start a supervisor beside this process; whether it lived to start its children.

    If so, this process may leave: the new API watches over the new supervisor.
    Blocks until either is known.
    """
    settled_read, settled_write = os.pipe()
    words = command(post, settled_write)
    fds = tuple(map(int, words[-2:]))
    # Blocked from its first instruction on, a signal to stop waits until it is looked for.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, pass_fds=(*fds, post.socket, post.lock)
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    for fd in fds:
        os.close(fd)
    with os.fdopen(settled_read, "rb") as settled:
        is_settled = settled.read(1) == _SETTLED
    if not is_settled:
        process.wait()
    return is_settled


def command(post: Post, settled: int | None = None) -> list[str]:
    """The command line of a supervisor; the post itself travels through a memory file.

    ``settled`` is the descriptor that it tells of its children, if anybody waits.
    """
    memory = os.memfd_create("batchmill-post", 0)
    os.write(memory, json.dumps(asdict(post)).encode())
    os.lseek(memory, 0, os.SEEK_SET)
    for fd in (memory, post.socket, post.lock):
        os.set_inheritable(fd, True)
    words = [sys.executable, "-m", "batchmill.cli.supervisor", str(memory)]
    return words if settled is None else [*words, str(settled)]


class Supervisor:
    """Its children, kept alive until a signal says stop."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._children = [Child(name) for name in post.processes]
        # The API writes a byte here when the engine should look; the pipe outlives both.
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._exit_code = 0

    def run(self, settled: int | None = None) -> int:
        """Supervise until told to stop; the exit code.

        ``settled`` is a descriptor to tell once the children are started.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._start_due()
        if settled is not None:
            _tell_settled(settled)
        while True:
            self._start_due()
            got = signal.sigtimedwait(_SIGNALS, self._wait())
            if got is not None and got.si_signo in _STOPS:
                break
            if self._reap() == CANNOT_START:
                self._exit_code = CANNOT_START
                break
        self._stop()
        return self._exit_code

    def _wait(self) -> float:
        now = time.monotonic()
        due = [child.not_before - now for child in self._children if child.process is None]
        return max(0.0, min(due, default=3600.0))

    def _start_due(self) -> None:
        for child in self._children:
            if child.process is None and time.monotonic() >= child.not_before:
                self._start(child)

    def _start(self, child: Child) -> None:
        post = self._post
        wake = self._wake_read if child.name == ENGINE else self._wake_write
        fds = (post.socket, post.lock, wake) if child.name == API else (wake,)
        read, child.lifeline = os.pipe()
        child.process = subprocess.Popen(
            [sys.executable, "-m", "batchmill.cli.child", child.name, str(wake)],
            stdin=read,
            pass_fds=fds,
            env=_ENVIRONMENT | os.environ,
        )
        os.close(read)
        child.started = time.monotonic()
        self._tell("child_started", child, pid=child.process.pid)
        # The pipe stays open for as long as this process lives: its end is how
        # a child learns that its supervisor is gone.
        with suppress(BrokenPipeError):  # it died at once; the signal of that is on its way
            _write_all(child.lifeline, json.dumps(asdict(post)).encode() + b"\n")

    def _reap(self) -> int:
        """Note which children died; CANNOT_START if one said that starting is of no use."""
        verdict = 0
        for child in self._children:
            if child.process is None or (code := child.process.poll()) is None:
                continue
            self._tell("child_died", child, exit_code=code, pid=child.process.pid)
            os.close(child.lifeline)
            child.process = None
            if code == CANNOT_START:
                verdict = CANNOT_START
            self._put_off(child)
        return verdict

    def _put_off(self, child: Child) -> None:
        """Start again at once, but pause longer each time while it dies young."""
        now = time.monotonic()
        child.deaths = 0 if now - child.started > _LONG_LIFE else child.deaths + 1
        pause = min(_LONGEST_PAUSE, 0.1 * 2.0 ** min(child.deaths, 10)) if child.deaths else 0.0
        child.not_before = now + pause

    def _stop(self) -> None:
        """Ask all to leave, wait for the grace and a little more, then make them."""
        alive = [child.process for child in self._children if child.process is not None]
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + self._post.stop_grace + _PATIENCE
        while any(process.poll() is None for process in alive):
            left = deadline - time.monotonic()
            got = signal.sigtimedwait(_SIGNALS, max(0.0, left))
            if left <= 0 or (got is not None and got.si_signo in _STOPS):
                break
        for process in alive:
            process.kill()
            process.wait()

    def _tell(self, event: str, child: Child, **fields: int) -> None:
        told = {"event": event, "process": child.name, **fields}
        if self._post.log_json:
            line = json.dumps({**told, "level": "info", "timestamp": _timestamp()})
        else:
            words = " ".join(f"{name}={value}" for name, value in told.items() if name != "event")
            line = f"{_timestamp()} [info     ] {event:<30} {words}"
        with suppress(BrokenPipeError):  # whoever read the log is gone: that stops no server
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


def _tell_settled(fd: int) -> None:
    with suppress(BrokenPipeError):  # whoever waited is gone
        os.write(fd, _SETTLED)
    os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _timestamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def main() -> int:
    """Read the post from the memory file that the command line names, and supervise."""
    with os.fdopen(int(sys.argv[1]), "rb") as memory:
        post = Post(**json.loads(memory.read()))
    settled = int(sys.argv[2]) if len(sys.argv) > 2 else None
    for fd in (post.socket, post.lock):
        os.set_inheritable(fd, False)
    return Supervisor(post).run(settled)


if __name__ == "__main__":
    sys.exit(main())
