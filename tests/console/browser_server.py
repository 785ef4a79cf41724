"""A started server for browsers: ``batchmill serve`` in processes of its own, and its upstream.

The upstream runs on a thread of the tests' process and outlives the server, so
that answers can be held back and the server can be started again on its port.
Nothing here knows a browser.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from crash_upstream import Upstream, upstream_running
from crash_waiting import DEADLINE, wait_until

from batchmill.upstream.mock import Script

MODEL = "small-1"
CHAT = "/v1/chat/completions"
ROLES = ("admin", "member", "read-only")
TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})


class Server:
    """A server over ``folder``: may be stopped and started again, on the same port.

    ``settings`` are lines of TOML; ``keys`` are secrets by role, empty on a
    server that asks for none.
    """

    def __init__(self, folder: Path, upstream: Upstream, settings: str, *, keyed: bool) -> None:
        self.data = folder / "data"
        self.log = folder / "stderr.log"
        self.upstream = upstream
        self.keys: dict[str, str] = {}
        self.url = ""
        self._config = folder / "batchmill.toml"
        self._config.write_text(settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx2.Client(trust_env=False, timeout=DEADLINE)
        if keyed:
            self.keys["admin"] = self._make_first_key()

    # --- its life ---

    def start(self) -> None:
        """Start, and return when it is ready; a second time it takes the port of the first."""
        port = self.url.rpartition(":")[2] or "0"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("serve", "--port", port), stdout=subprocess.PIPE, stderr=log
            )
        assert self._process.stdout is not None
        greeting = self._process.stdout.readline().decode().split()
        assert greeting, self.log.read_text()[-2000:]
        self.url = greeting[-1].removesuffix("/v1")
        wait_until(self._is_ready, "the server is ready", pause=0.05)

    def stop(self) -> None:
        """Ask it to leave, and return when it has."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, self.log.read_text()[-2000:]

    def close(self) -> None:
        """Leave nothing behind."""
        self._client.close()
        self.stop()

    @property
    def pid(self) -> int:
        """Of the supervisor, while it runs."""
        assert self._process is not None
        return self._process.pid

    def _is_ready(self) -> bool:
        return self._client.get(f"{self.url}/readyz").status_code == 200

    def _command(self, *words: str) -> list[str]:
        where = ["--config", str(self._config), "--data-dir", str(self.data)]
        return [sys.executable, "-m", "batchmill", *words, *where]

    # --- what is in it ---

    def make_key(self, role: str) -> str:
        """The secret of a new key of the operator's account."""
        asked = {"name": role, "role": role}
        return str(self.ask("POST", "/admin/keys", json=asked)["key"])

    def _make_first_key(self) -> str:
        done = subprocess.run(
            self._command("keys", "create", "--role", "admin", "--json"),
            check=True,
            capture_output=True,
        )
        return str(json.loads(done.stdout)["key"])

    def make_keys(self) -> None:
        """A key of each role, on a server that asks for them."""
        if self.keys:
            self.keys |= {role: self.make_key(role) for role in ROLES if role not in self.keys}

    def revoke_key(self, secret: str) -> None:
        """From now on the key opens nothing."""
        keys = self.ask("GET", "/admin/keys")["data"]
        (key_id,) = (key["id"] for key in keys if secret.startswith(key["prefix"]))
        self.ask("POST", f"/admin/keys/{key_id}/revoke")

    def ask(self, method: str, path: str, **more: Any) -> Any:
        """What the API answers, as an admin; ``path`` is below ``/v1``."""
        key = self.keys.get("admin")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        answer = self._client.request(method, f"{self.url}/v1{path}", headers=headers, **more)
        return answer.raise_for_status().json()

    def upload(self, lines: Iterable[Mapping[str, Any]], name: str = "input.jsonl") -> str:
        """Upload an input file of these lines; its id."""
        body = "".join(json.dumps(line) + "\n" for line in lines)
        sent = {"file": (name, body.encode())}
        return str(self.ask("POST", "/files", data={"purpose": "batch"}, files=sent)["id"])

    def create(self, file_id: str, *, window: str = "24h", **metadata: str) -> str:
        """A batch over the file; its id. ``name`` and ``description`` are what pages show."""
        titles = {f"ds_{key}" if key in {"name", "description"} else key: value
                  for key, value in metadata.items()}  # fmt: skip
        asked = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": window}
        return str(self.ask("POST", "/batches", json={**asked, "metadata": titles})["id"])

    def submit(self, lines: Iterable[Mapping[str, Any]], **metadata: str) -> str:
        """A batch of these lines; its id."""
        return self.create(self.upload(lines), **metadata)

    def wait(self, batch_id: str) -> dict[str, Any]:
        """The batch, when it has come to its end."""
        found: dict[str, Any] = {}

        def is_over() -> bool:
            found.update(self.ask("GET", f"/batches/{batch_id}"))
            return found["status"] in TERMINAL

        wait_until(is_over, f"{batch_id} comes to its end", pause=0.1)
        return found


def chat_line(
    number: int, text: str = "How many stars are there?", **fields: Any
) -> dict[str, Any]:
    """A line of an input file. ``fields`` replace those of the line."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
    line = {"custom_id": f"line-{number}", "method": "POST", "url": CHAT, "body": body}
    return {**line, **fields}


def chat_lines(count: int, text: str = "Question", model: str = MODEL) -> list[dict[str, Any]]:
    """So many lines, each of its own text."""
    lines = [chat_line(number, f"{text} {number}") for number in range(count)]
    return [{**line, "body": {**line["body"], "model": model}} for line in lines]


def _prices(models: Sequence[str]) -> str:
    rows = (f'[[prices]]\nmodel = "{name}"\ninput = "400"\noutput = "1200"\n' for name in models)
    return "\n".join(['currency = "USD"', 'batch_discount = "0.5"', *rows])


def _settings(prices: Path, *, keyed: bool) -> str:
    names = ("file_upload", "file_other", "batch_list", "batch_retrieve", "sign_in")
    rates = "".join(f'{name} = "100000/s"\n' for name in names)
    return f"""\
[server]
require_keys = {str(keyed).lower()}
[rates]
{rates}[prices]
file = {json.dumps(str(prices))}
[limits]
completion_window_min = "1s"
[engine]
poll_interval = 0.2
cancel_grace = 0.5
stop_grace = 0.5
max_attempts = 2
backoff_base = 0.01
shard_lines = 20
[webhooks]
allow_private = true
"""


def _served(model: str, url: str) -> str:
    upstream = f'[[models.upstreams]]\nurl = "{url}"\nmax_in_flight = 16\n'
    return f'[[models]]\nname = "{model}"\n{upstream}'


@contextmanager
def serving(
    folder: Path,
    *,
    keyed: bool = False,
    script: Script | None = None,
    models: Sequence[str] = (MODEL,),
) -> Iterator[Server]:
    """A started server with prices, whose models are a scripted upstream; ended by SIGTERM."""
    folder.mkdir(parents=True, exist_ok=True)
    prices = folder / "prices.toml"
    prices.write_text(_prices(models))
    with upstream_running(script) as upstream:
        tables = [_settings(prices, keyed=keyed), *(_served(one, upstream.url) for one in models)]
        server = Server(folder, upstream, "".join(tables), keyed=keyed)
        try:
            server.start()
            server.make_keys()
            yield server
        finally:
            upstream.release()
            server.close()
