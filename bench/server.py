"""The batchmill that is measured, and a client that costs as little as a client can."""

import http.client
import json
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.processes import family, python, running

LOOK_SECONDS = 0.1
LOOKS = 600
ON_THE_WAY = ("validating", "in_progress", "finalizing")
ENDS = frozenset({"completed", "failed", "expired", "cancelled"})
BOUNDARY = "bench-boundary-0123456789"
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="bench.jsonl"\r\n\r\n'
).encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()
BUFFER = 1024 * 1024


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int


@dataclass(frozen=True)
class Model:
    """A model of the server's: its upstream and how much it may hold.

    ``max_in_flight`` None is left to the server; ``ca`` vouches for an upstream over HTTPS.
    """

    url: str
    max_in_flight: int | None
    ca: Path | None = None


class Batchmill:
    """A started server: its processes, and the few calls that the bench makes."""

    def __init__(self, pid: int, url: str) -> None:
        parts = urlsplit(url)
        self._pid = pid
        self._base = parts.path
        self.address = Address(parts.hostname or "", parts.port or 0)

    def pids(self) -> list[int]:
        """Supervisor, API and engine."""
        return family(self._pid)

    def wait_until_ready(self) -> None:
        """Return when both processes are up."""
        for _ in range(LOOKS):
            if self._is_ready():
                return
            time.sleep(LOOK_SECONDS)
        raise RuntimeError("The server did not become ready in a minute.")

    def _is_ready(self) -> bool:
        try:
            return self._call("GET", "/readyz", base="")[0] == 200
        except ConnectionRefusedError:
            return False

    def upload(self, path: Path) -> str:
        """Upload a file; its id."""
        status, body = upload(self.address, f"{self._base}/files", path)
        if status != 200:
            raise RuntimeError(f"The upload was answered with {status}: {body[:300]!r}")
        return str(json.loads(body)["id"])

    def create(self, file_id: str) -> str:
        """Create a batch; its id."""
        asked = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        return str(self._json("POST", "/batches", asked)["id"])

    def wait_for(self, batch_id: str) -> dict[str, Any]:
        """The batch when it is at its end; raises unless every line succeeded."""
        batch = self.wait_for_end(batch_id)
        if batch["status"] != "completed" or batch["request_counts"]["failed"]:
            told = {name: batch.get(name) for name in ("status", "request_counts", "errors")}
            raise RuntimeError(f"The batch went wrong: {json.dumps(told)[:1000]}")
        return batch

    def wait_for_end(self, batch_id: str) -> dict[str, Any]:
        """The batch when it is at its end, whatever that is."""
        while True:
            batch: dict[str, Any] = self._json("GET", f"/batches/{batch_id}")
            if batch["status"] in ENDS:
                return batch
            time.sleep(LOOK_SECONDS)

    def wait_until_idle(self) -> None:
        """Return when no batch is on its way any more."""
        while self._json("GET", f"/batches?limit=1&status={','.join(ON_THE_WAY)}")["data"]:
            time.sleep(LOOK_SECONDS)

    def find(self, batch_id: str, *, seconds: float) -> dict[str, Any] | None:
        """The batch at its end, or as it is after ``seconds``; None if the server has none."""
        end = time.monotonic() + seconds
        while True:
            status, body = self._call("GET", f"/batches/{batch_id}")
            if status != 200:
                return None
            batch: dict[str, Any] = json.loads(body)
            if batch["status"] in ENDS or time.monotonic() > end:
                return batch
            time.sleep(LOOK_SECONDS)

    def metric(self, name: str) -> float:
        """The sum of a metric's samples over their labels, 0 where there are none."""
        status, text = self._call("GET", "/metrics", base="")
        if status != 200:
            raise RuntimeError(f"GET /metrics was answered with {status}: {text[:300]!r}")
        return sum_of(text.decode(), name)

    def download(self, file_id: str) -> int:
        """Read a file to its end; how many bytes it had."""
        return download(self.address, f"{self._base}/files/{file_id}/content")

    def cancel(self, batch_id: str) -> None:
        """Cancel a batch, and wait until it is over."""
        self._json("POST", f"/batches/{batch_id}/cancel")
        while self._json("GET", f"/batches/{batch_id}")["status"] != "cancelled":
            time.sleep(LOOK_SECONDS)

    def delete(self, file_id: str) -> None:
        """Delete a file."""
        self._json("DELETE", f"/files/{file_id}")

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        status, answer = self._call(method, path, body)
        if status != 200:
            raise RuntimeError(f"{method} {path} was answered with {status}: {answer[:300]!r}")
        return json.loads(answer)

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        base: str | None = None,
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.address.host, self.address.port, timeout=600)
        try:
            data = None if body is None else json.dumps(body).encode()
            fields = {"Content-Type": "application/json"} if data else {}
            where = (self._base if base is None else base) + path
            connection.request(method, where, data, fields)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@contextmanager
def batchmill(
    folder: Path, models: Mapping[str, Model], *, cores: Iterable[int] | None = None
) -> Iterator[Batchmill]:
    """A server over ``folder`` that is ready for batches; on ``cores`` where they are given."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "batchmill.toml"
    config.write_text("\n".join(map(_table, models, models.values())))
    command = python("-m", "batchmill", "serve", "--config", str(config), "--port", "0")
    data = ("--data-dir", str(folder / "data"))
    with running([*command, *data], folder / "server.log", cores=cores) as (pid, greeting):
        server = Batchmill(pid, greeting.split()[-1])
        server.wait_until_ready()
        yield server


def _table(name: str, model: Model) -> str:
    lines = [f'[[models]]\nname = "{name}"\n[[models.upstreams]]\nurl = "{model.url}"']
    if model.max_in_flight is not None:
        lines.append(f"max_in_flight = {model.max_in_flight}")
    if model.ca is not None:
        lines.append(f'ca = "{model.ca}"')
    return "\n".join([*lines, ""])


def sum_of(text: str, name: str) -> float:
    """The sum of the samples of ``name`` in an exposition of metrics."""
    samples = (line for line in text.splitlines() if line.partition("{")[0].split(" ")[0] == name)
    return sum(float(line.rpartition(" ")[2]) for line in samples)


# --- bytes over a bare socket: the same client for the server and for the limits ---


def upload(address: Address, target: str, path: Path) -> tuple[int, bytes]:
    """POST ``path`` as a form, straight from the file into the socket; status and body."""
    length = len(HEAD) + path.stat().st_size + len(TAIL)
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    )
    with _connect(address) as connection, path.open("rb") as file:
        connection.sendall(head.encode() + HEAD)
        connection.sendfile(file)
        connection.sendall(TAIL)
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
        return response.status, response.read()


def download(address: Address, target: str) -> int:
    """GET into a buffer that is overwritten; the bytes of the body."""
    head = (
        f"GET {target} HTTP/1.1\r\nHost: {address.host}:{address.port}\r\nConnection: close\r\n\r\n"
    )
    with _connect(address) as connection:
        connection.sendall(head.encode())
        response = http.client.HTTPResponse(connection, method="GET")
        response.begin()
        if response.status != 200:
            raise RuntimeError(f"GET {target} was answered with {response.status}.")
        wanted, got = int(response.headers["content-length"]), 0
        buffer = memoryview(bytearray(BUFFER))
        while got < wanted and (size := response.readinto(buffer)):
            got += size
    if got != wanted:
        raise RuntimeError(f"GET {target} ended after {got} of {wanted} bytes.")
    return got


def _connect(address: Address) -> socket.socket:
    return socket.create_connection((address.host, address.port), timeout=600)
