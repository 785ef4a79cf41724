"""A served server that needs keys: how the first one is made, and that none is to be found.

The keys are made by the command line and by the API, used well and badly; then
their secret parts are looked for wherever something was written.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil

from batchmill.domain.account import KEY_ENTROPY, make_secret, prefix_of

PATIENCE = 120.0
LINE = (
    b'{"custom_id":"1","method":"POST","url":"/v1/chat/ds-test",'
    b'"body":{"model":"batch-test-model","messages":[{"role":"user","content":"hi"}]}}\n'
)


class Served:
    """A started server, its greeting, and everything that it wrote."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process
        self.greeting = _greeting(process)
        self.url = self.greeting.splitlines()[0].split()[-1]

    def client(self, secret: str | None = None) -> httpx2.Client:
        headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
        return httpx2.Client(base_url=self.url, headers=headers, timeout=PATIENCE, trust_env=False)

    def command_lines(self) -> Iterator[bytes]:
        """How its processes show up in a list of processes."""
        parent = psutil.Process(self.process.pid)
        for process in (parent, *parent.children(recursive=True)):
            yield Path(f"/proc/{process.pid}/cmdline").read_bytes()


def _greeting(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.decode())
        if line.strip().startswith(b"stop"):
            break
    return "".join(lines)


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BATCHMILL_")}
    return {**kept, "BATCHMILL_CONFIG": str(folder / "batchmill.toml")}


@contextmanager
def serve(folder: Path) -> Iterator[Served]:
    """A server that needs keys and logs whatever it can."""
    config = '[server]\nrequire_keys = true\nport = 0\n[log]\nlevel = "debug"\n'
    (folder / "batchmill.toml").write_text(f'{config}[data]\ndir = "{folder / "data"}"\n')
    command = [sys.executable, "-m", "batchmill", "serve"]
    with (
        (folder / "stderr.log").open("ab") as stderr,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, env=environment(folder)
        ) as process,
    ):
        try:
            yield Served(folder, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def batchmill(folder: Path, *words: str) -> tuple[str, str]:
    """What a command prints on stdout and on stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "batchmill", *words],
        env=environment(folder),
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    return done.stdout.decode().strip(), done.stderr.decode()


def made(client: httpx2.Client, **body: Any) -> str:
    answer = client.post("/admin/keys", json={"name": "k", **body})
    assert answer.status_code == 200, answer.text
    return str(json.loads(answer.content)["key"])


def test_no_secret_is_found_where_anything_is_written(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        assert "keys create --admin --data-dir" in served.greeting
        admin, hint = batchmill(tmp_path, "keys", "create", "--admin")
        with served.client(admin) as client:
            member, reader = made(client), made(client, role="read-only")
            wrong = member[:-3] + ("AAA" if member[-3:] != "AAA" else "BBB")
            stranger = make_secret(bytes(range(KEY_ENTROPY)))
            said = [hint, served.greeting, *use_well(served, member)]
            said += use_badly(served, [wrong, stranger, member + "x", reader, admin])
            listed = [client.get(path).text for path in ("/admin/keys", "/admin/audit")]
        shown = batchmill(tmp_path, "keys", "list", "--json")
        command_lines = list(served.command_lines())
    secrets = [secret_part(one) for one in (admin, member, reader, wrong, stranger)]
    for secret in secrets:
        assert not [text for text in (*said, *listed, *shown) if secret in text]
        assert not [line for line in command_lines if secret.encode() in line]
        assert found_in(tmp_path, secret) == []
    # the search does find what is there: the public beginning of a key, and a use of it
    public = prefix_of(admin)
    assert public is not None
    assert found_in(tmp_path, public) != []
    assert b"request_served" in (tmp_path / "stderr.log").read_bytes()
    assert public in " ".join(listed)


def secret_part(key: str) -> str:
    """What must be nowhere: shorter than the whole, so that a piece is found too."""
    return key[len(prefix_of(key) or "") + 1 :][:20]


def use_well(served: Served, secret: str) -> Iterator[str]:
    """Upload a file, run a batch of it, look at everything."""
    with served.client(secret) as client:
        file = ("in.jsonl", LINE)
        uploaded = client.post("/files", data={"purpose": "batch"}, files={"file": file})
        assert uploaded.status_code == 200, uploaded.text
        body = {
            "input_file_id": json.loads(uploaded.content)["id"],
            "endpoint": "/v1/chat/ds-test",
            "completion_window": "24h",
        }
        created = client.post("/batches", json=body)
        assert created.status_code == 200, created.text
        yield from (created.text, client.get("/batches").text, client.get("/models").text)


def use_badly(served: Served, secrets: list[str]) -> Iterator[str]:
    """Each key where it has no business, in every way that a client might send it."""
    for secret in secrets:
        with served.client(secret) as client:
            yield client.post("/admin/accounts", json={"name": "a\0"}).text
            yield client.get("/files?limit=many").text
            yield client.post("/batches", content=b"{").text
        with served.client() as client:
            yield client.get("/files", headers={"api-key": f"{secret}!"}).text
            yield client.get("/files", headers={"authorization": f"Basic {secret}"}).text


def found_in(folder: Path, text: str) -> list[Path]:
    """Every file below the folder that holds the text."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if text.encode() in path.read_bytes()]


def test_a_key_that_the_machine_revokes_stops_at_once(tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        admin, _ = batchmill(tmp_path, "keys", "create", "--admin")
        with served.client(admin) as client:
            assert client.get("/models").status_code == 200
            key = json.loads(client.get("/admin/keys").content)["data"][0]
            batchmill(tmp_path, "keys", "revoke", key["id"])
            assert client.get("/models").status_code == 401
        batchmill(tmp_path, "keys", "create", "--admin")
    with serve(tmp_path) as served:
        assert "needed; clients take theirs from BATCHMILL_API_KEY" in served.greeting
