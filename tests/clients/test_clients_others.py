"""Clients of other makers, each in an environment of its own, driven for real batches.

They get the server's address and a key and nothing else of ours. A guard refuses
whatever would leave this machine, and each test fails where one tried.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from clients_input import chat_file, contents
from clients_python import connect
from clients_server import FAMILIAR_MODEL, Server

pytest_plugins = ["clients_fixtures"]
pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / ".venv-clients"
LIMIT = 600
COUNT = 5
QUIET = {
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "TELEMETRY_ENABLED": "false",
}


class Driver:
    """Runs the scripts of other clients against a server, in a folder of their own."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._escapes = folder / "escapes"

    def drive(self, script: str, environment: str, *words: str) -> dict[str, Any]:
        """What the script says that the client brought back."""
        python = ENVIRONMENTS / environment / "bin" / "python"
        assert python.exists(), "run ./scripts/install-clients first"
        done = subprocess.run(
            [python, HERE / "scripts" / script, *words],
            cwd=self._folder,
            env=self._env(),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        assert not self._escapes.exists(), self._escapes.read_text()
        answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answers

    def _env(self) -> dict[str, str]:
        foreign = ("OPENAI_", "BATCHMILL_", "LANGSMITH_", "LANGCHAIN_", "LITELLM_")
        kept = {name: at for name, at in os.environ.items() if not name.startswith(foreign)}
        return {
            **kept,
            **QUIET,
            "HOME": str(self._folder),
            "OPENAI_BASE_URL": self._server.url,
            "OPENAI_API_KEY": "sk-unused",
            "PYTHONPATH": str(HERE / "guard"),
            "CLIENT_GUARD_LOG": str(self._escapes),
        }

    def input_file(self) -> str:
        """A file of ``COUNT`` chat requests."""
        path = self._folder / "in.jsonl"
        path.write_bytes(chat_file(COUNT, FAMILIAR_MODEL))
        return str(path)


@pytest.fixture
def driver(server: Server, tmp_path: Path) -> Driver:
    return Driver(server, tmp_path)


def said(count: int) -> list[str]:
    return [f"You said: word {at}" for at in range(count)]


def newest(server: Server, count: int) -> list[tuple[str, int]]:
    """Status and number of completed lines of the newest batches, as the server has them."""
    with connect(server) as client:
        batches = client.batches.list(limit=count).data
    return [(one.status, one.request_counts.completed) for one in batches if one.request_counts]


def test_the_guard_lets_nothing_leave_this_machine(tmp_path: Path) -> None:
    """A documentation address, which nobody has: the attempt ends before a packet is sent."""
    log = tmp_path / "escapes"
    asked = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
    done = subprocess.run(
        [ENVIRONMENTS / "openai2" / "bin" / "python", "-c", asked],
        env={"PYTHONPATH": str(HERE / "guard"), "CLIENT_GUARD_LOG": str(log)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert "lets nothing leave" in done.stderr
    assert log.read_text() == "192.0.2.1\n"


def test_litellm(driver: Driver, server: Server) -> None:
    got = driver.drive("drive_litellm.py", "openai2", driver.input_file())
    assert got["status"] == "completed"
    assert got["counts"] == {"total": COUNT, "completed": COUNT, "failed": 0}
    assert got["metadata"] == {"by": "litellm"}
    assert contents(got["lines"]) == said(COUNT)
    assert (got["newest"], got["later"], got["deleted"]) == (True, "409", True)
    assert newest(server, 2) == [("completed", COUNT)] * 2


def test_batchwizard(driver: Driver, server: Server) -> None:
    got = driver.drive("drive_batchwizard.py", "openai2", driver.input_file())
    for way in ("processed", "watched"):
        (results,) = got[way]
        assert contents(results["lines"]) == said(COUNT)
        assert results["name"].removesuffix("_results.jsonl") in got["listed"]
    assert got["status"].count(f"{COUNT} ok") == 2
    assert "Cannot cancel a batch with status 'completed'" in got["too late"]
    assert newest(server, 2) == [("completed", COUNT)] * 2


def test_openai_batch(driver: Driver, server: Server) -> None:
    words = (driver.input_file(), server.url, "sk-unused", FAMILIAR_MODEL)
    got = driver.drive("drive_openai_batch.py", "openai3", *words)
    library, command_line = got["library"], got["command line"]
    assert (library["status"], library["errors"]) == ("completed", None)
    assert contents(library["lines"]) == said(3)
    (scores,) = library["scores"]
    assert [one["score"] for one in scores["response"]["body"]["data"]] == [1.0, 0.3333]
    assert contents(command_line["lines"]) == said(COUNT)
    assert not command_line["errors"]
    assert newest(server, 3) == [("completed", COUNT), ("completed", 1), ("completed", 3)]


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_inspect_ai(driver: Driver, server: Server, endpoint: str) -> None:
    got = driver.drive("drive_inspect_ai.py", "openai3", f"openai/{FAMILIAR_MODEL}", endpoint)
    assert (got["status"], got["error"], got["accuracy"]) == ("success", None, 1.0)
    assert got["answers"] == said(6)
    assert got["tokens"] > 0
    assert newest(server, 1) == [("completed", 6)]


def test_langasync(driver: Driver, server: Server) -> None:
    got = driver.drive("drive_langasync.py", "openai3", FAMILIAR_MODEL)
    assert (got["same"], got["status"], got["counts"]) == (True, "completed", [4, 4])
    assert got["results"] == [f"You said: Say word {at}, please." for at in range(4)]


def test_langasync_cancels(driver: Driver, server: Server) -> None:
    with server.upstream.held():
        got = driver.drive("drive_langasync.py", "openai3", FAMILIAR_MODEL, "cancel")
    assert got == {"cancelled": True}
    assert newest(server, 1) == [("cancelled", 0)]


def test_bespokelabs_curator(driver: Driver, server: Server) -> None:
    got = driver.drive("drive_curator.py", "curator", FAMILIAR_MODEL)
    assert sorted(row["response"] for row in got["rows"]) == said(COUNT)
    assert sorted(newest(server, 2)) == [("completed", 2), ("completed", 3)]
