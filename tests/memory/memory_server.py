"""A server and its upstream in processes of their own, as an operator has them."""

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import httpx2

MODEL = "m"
DEADLINE = 120.0
LOOKS = 600
PAUSE = 0.2
BATCH_LOOKS = 6000

_ROLES = {
    b"batchmill.cli.supervisor": "supervisor",
    b"engine": "engine",
    b"api": "api",
}


@contextmanager
def running(words: Sequence[str], log: Path) -> Iterator[tuple[int, str]]:
    """``batchmill`` with ``words``: its process id and the first line that it prints."""
    command = [sys.executable, "-m", "batchmill", *words]
    with log.open("ab") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
    try:
        assert process.stdout is not None
        greeting = process.stdout.readline().decode().strip()
        assert greeting, log.read_text()[-2000:]
        yield process.pid, greeting
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE)


class Server:
    """A started server: its processes, and a client."""

    def __init__(self, pid: int, url: str) -> None:
        self._pid = pid
        self.client = httpx2.Client(base_url=url, timeout=600, trust_env=False)
        self.root = url.removesuffix("/v1")

    def pids(self) -> dict[str, int]:
        """Its processes by their role."""
        pids = [self._pid, *_children(self._pid)]
        return {role: pid for pid in pids if (role := _role(pid))}

    def wait_until_ready(self) -> None:
        """Return when the API and the engine are up."""
        for _ in range(LOOKS):
            if self.client.get(f"{self.root}/readyz").status_code == 200:
                return
            pause()
        raise AssertionError("the server did not become ready")

    def run(self, file_id: str) -> dict[str, object]:
        """A batch over the file, when it has come to its end."""
        asked = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        batch = self.client.post("/batches", json=asked).raise_for_status().json()
        for _ in range(BATCH_LOOKS):
            batch = self.client.get(f"/batches/{batch['id']}").raise_for_status().json()
            if batch["status"] not in {"validating", "in_progress", "finalizing"}:
                return dict(batch)
            pause()
        raise AssertionError(f"the batch did not come to its end: {batch}")


def pause() -> None:
    """Between two looks at what another process does; no part of any claim."""
    Event().wait(PAUSE)


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:
        return []
    return [int(word) for word in text.split()]


def _role(pid: int) -> str | None:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next((_ROLES[word] for word in words if word in _ROLES), None)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server that is ready, in front of a scripted upstream that answers at once."""
    words = ["mock-upstream", "--port", "0", "--no-count-lines"]
    with running(words, folder / "upstream.log") as (_, url):
        config = folder / "batchmill.toml"
        config.write_text(_configuration({MODEL: url}))
        data = ("--data-dir", str(folder / "data"))
        words = ["serve", "--config", str(config), "--port", "0", *data]
        with running(words, folder / "server.log") as (pid, greeting):
            server = Server(pid, greeting.split()[-1])
            with server.client:
                server.wait_until_ready()
                yield server


def _configuration(upstreams: Mapping[str, str]) -> str:
    tables = (
        f'[[models]]\nname = "{name}"\n[[models.upstreams]]\nurl = "{url}"\n'
        for name, url in upstreams.items()
    )
    return "\n".join(tables)
