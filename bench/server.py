"""The batchmill that is measured, and a client that costs as little as a client can."""

import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.processes import family, python, running

LOOK_SECONDS = 0.1
LOOKS = 600
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
    """A model of the server's: its upstream and how much it may hold."""

    url: str
    max_in_flight: int


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
            if self._call("GET", "/readyz", base="")[0] == 200:
                return
            time.sleep(LOOK_SECONDS)
        raise RuntimeError("The server did not become ready in a minute.")

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
        while True:
            batch: dict[str, Any] = self._json("GET", f"/batches/{batch_id}")
            if batch["status"] == "completed" and not batch["request_counts"]["failed"]:
                return batch
            if batch["status"] not in {"validating", "in_progress", "finalizing"}:
                raise RuntimeError(f"The batch went wrong: {json.dumps(batch)[:1000]}")
            time.sleep(LOOK_SECONDS)

    def download(self, file_id: str) -> int:
        """Read a file to its end; how many bytes it had."""
        return download(self.address, f"{self._base}/files/{file_id}/content")

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
def batchmill(folder: Path, models: Mapping[str, Model]) -> Iterator[Batchmill]:
    """A server over ``folder`` that is ready for batches."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "batchmill.toml"
    config.write_text("\n".join(map(_table, models, models.values())))
    command = python("-m", "batchmill", "serve", "--config", str(config), "--port", "0")
    data = ("--data-dir", str(folder / "data"))
    with running([*command, *data], folder / "server.log") as (pid, greeting):
        server = Batchmill(pid, greeting.split()[-1])
        server.wait_until_ready()
        yield server


def _table(name: str, model: Model) -> str:
    return (
        f'[[models]]\nname = "{name}"\n[[models.upstreams]]\n'
        f'url = "{model.url}"\nmax_in_flight = {model.max_in_flight}\n'
    )


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
