"""A server as an operator has it: ``batchmill serve`` in processes of its own, to be killed.

Every process carries a mark in its environment, which its successors inherit:
by it they are found, whoever started them, and by it a test proves that none
is left. Fault orders travel through a file, see ``batchmill.faultpoint``.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx2
import psutil
from crash_ledger import PRICES
from crash_stores import Embedded, Stores
from crash_waiting import DEADLINE, wait_until

MARK = "CRASH_TEST_MARK"
ROLES = ("supervisor", "api", "engine")
MODEL = "m"
SLOTS = 16


class Server:
    """A server over ``folder``. It may be started again after it was killed.

    Rows and bytes are in its data folder, or in ``shared`` stores.
    """

    def __init__(
        self, folder: Path, upstream_url: str, shared: Stores | None = None, **engine: object
    ) -> None:
        self.data = folder / "data"
        self._shared = shared
        self.log = folder / "stderr.log"
        self._config = folder / "batchmill.toml"
        self._order = folder / "order"
        self._mark = uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None
        self._known: set[psutil.Process] = set()
        self.client = httpx2.Client()
        self.prices = folder / "prices.toml"
        self.prices.write_text(PRICES)
        self._config.write_text(_configuration(upstream_url, self.prices, engine))

    # --- its life ---

    def start(self) -> None:
        """Start, and return when the API answers."""
        assert not self.processes()
        self._forget()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                env=self.environment(),
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        greeting = self._process.stdout.readline().decode()
        assert "http://" in greeting, self.log.read_text()[-2000:]
        self.client = httpx2.Client(base_url=greeting.split()[-1], timeout=120)
        self.client.get("/models").raise_for_status()

    def command(self, *more: str) -> list[str]:
        """The command line that starts it."""
        where = ["--data-dir", str(self.data), "--port", "0", "--config", str(self._config)]
        return [sys.executable, "-m", "batchmill", "serve", *where, *more]

    def environment(self) -> dict[str, str]:
        """The environment of its processes."""
        own = {MARK: self._mark, "BATCHMILL_FAULT": f"@{self._order}"}
        return {**os.environ, **self.stores.environment, **own}

    @property
    def stores(self) -> Stores:
        """What holds its rows and bytes now."""
        return self._shared or Embedded(self.data)

    def stop(self, number: int = signal.SIGTERM) -> int | None:
        """Ask the supervisor to leave, and return when all have; its exit code if it is known."""
        self.the("supervisor").send_signal(number)
        return self.wait_for_exit()

    def wait_for_exit(self) -> int | None:
        """Return when every process has left by itself; the exit code if it is known."""
        wait_until(self.is_gone, "every process has left")
        return self._forget()

    def kill_all(self) -> None:
        """Cut the power: every process is killed, and is gone when this returns."""
        wait_until(self._kill_those_left, "every process is gone")
        self._forget()

    def _kill_those_left(self) -> bool:
        processes = self.processes()
        for process in processes:
            _kill(process)
        return not processes and not is_any_unreadable()

    def _forget(self) -> int | None:
        """Reap the process that ``start`` made, and let go of its pipe."""
        self.client.close()
        process, self._process = self._process, None
        if process is None:
            return None
        if process.stdout is not None:
            process.stdout.close()
        return process.wait(DEADLINE)

    # --- its processes ---

    def processes(self) -> list[psutil.Process]:
        """Every process that is alive, those included that are on their way out."""
        # A process that is being torn down has lost its mark, but not yet its locks.
        self._known = {process for process in self._known if _is_alive(process)}
        self._known.update(find_marked(self._mark))
        return list(self._known)

    def roles(self) -> list[str]:
        """What its processes are, sorted; ``start`` is one that is not yet a supervisor."""
        return sorted(role for process in self.processes() if (role := _role_of(process)))

    def is_whole(self) -> bool:
        """Whether there is exactly one process of each role, and all have the same supervisor.

        Those of one that has died are about to leave; and what it was forked from is what a process
        seems to be for a moment.
        """
        if self.roles() != sorted(ROLES):
            return False
        try:
            supervisor = self.the("supervisor").pid
            return all(self.the(role).ppid() == supervisor for role in ROLES[1:])
        except (ValueError, psutil.NoSuchProcess):
            return False

    def the(self, role: str) -> psutil.Process:
        """The process of a role; fails unless there is exactly one."""
        (process,) = (one for one in self.processes() if _role_of(one) == role)
        return process

    def kill(self, role: str) -> None:
        """Kill one process, which is gone when this returns."""
        process = self.the(role)
        _kill(process)
        wait_until(lambda: not _is_alive(process), f"the {role} is gone")

    def kill_any(self, role: str) -> None:
        """Kill whatever there is of a role now; the dead are gone when this returns."""
        doomed = [one for one in self.processes() if _role_of(one) == role]
        for process in doomed:
            _kill(process)
        wait_until(lambda: not any(map(_is_alive, doomed)), f"every {role} is gone")

    # --- fault points ---

    def arm(self, order: str) -> None:
        """Put a fault order in place; it counts for the first process that fulfils it."""
        draft = self._order.with_name("draft")
        draft.write_text(order)
        draft.replace(self._order)

    def disarm(self) -> None:
        """Take back an order that was not carried out."""
        self._order.unlink(missing_ok=True)

    def wait_for_fault(self) -> None:
        """Return when the order has been carried out."""
        wait_until(lambda: not self._order.exists(), "the fault point was passed")

    def is_gone(self) -> bool:
        """Whether no process is left."""
        return not self.processes()

    # --- its log ---

    def events(self, since: int = 0) -> list[dict[str, object]]:
        """What its processes logged, from byte ``since`` of the log on."""
        lines = self.log.read_bytes()[since:].splitlines()
        return [json.loads(line) for line in lines if line.startswith(b"{") and line[-1:] == b"}"]

    def log_size(self) -> int:
        """Where the log ends now."""
        return self.log.stat().st_size


def find_marked(mark: str) -> Iterator[psutil.Process]:
    """Every living process that carries ``mark``, zombies left out."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and _is_alive(process):
                yield process
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue


def is_any_unreadable() -> bool:
    """Whether some Python is just being started: for a moment nobody can read its environment."""
    interpreter = str(Path(sys.executable).resolve())
    for process in psutil.process_iter():
        try:
            if not process.environ() and process.exe() == interpreter and _is_alive(process):
                # Ray's own processes write their names over their environments.
                if process.name().startswith("ray::"):
                    continue
                return True
        except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
            continue
    return False


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _role_of(process: psutil.Process) -> str | None:
    try:
        words = process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return None
    if "batchmill.cli.supervisor" in words:
        return "supervisor"
    return words[words.index("batchmill.cli.child") + 1] if "batchmill.cli.child" in words else None


def _configuration(upstream_url: str, prices: Path, engine: Mapping[str, object]) -> str:
    settings = {"shard_lines": 20, "poll_interval": 0.2, **engine}
    rows = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    return "\n".join(
        [
            "[prices]",
            f"file = {json.dumps(str(prices))}",
            "[limits]",
            'completion_window_min = "1s"',
            "[engine]",
            *rows,
            "[[models]]",
            f'name = "{MODEL}"',
            "[[models.upstreams]]",
            f'url = "{upstream_url}"',
            f"max_in_flight = {SLOTS}",
            "",
        ]
    )


@contextmanager
def serving(
    folder: Path, upstream_url: str, shared: Stores | None = None, **engine: object
) -> Iterator[Server]:
    """A started server; at the end it is killed, and none of its processes may be left."""
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(folder, upstream_url, shared, **engine)
    try:
        server.start()
        yield server
    finally:
        server.kill_all()
    assert server.is_gone()
