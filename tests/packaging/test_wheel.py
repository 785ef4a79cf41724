"""A wheel built from the checkout, in an empty environment, serves with every file it needs."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

ROOT = Path(__file__).parents[2]
DEADLINE = 300

pytestmark = pytest.mark.slow


def _call(*words: str | Path, cwd: Path = ROOT) -> None:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--wheel", "--no-isolation", "--outdir", folder)
    _call(sys.executable, "-m", "build", *options, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an empty environment with the wheel and its locked dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    _call(sys.executable, "-m", "venv", folder)
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
    _call(*pip, "--require-hashes", "-r", ROOT / "requirements.lock")
    _call(*pip, "--no-deps", wheel)
    return folder / "bin"


def test_the_wheel_holds_every_file_that_git_knows_of_the_package(wheel: Path) -> None:
    known = subprocess.run(
        ["git", "ls-files", "src/batchmill"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    wanted = {name.removeprefix("src/") for name in known.stdout.splitlines()}
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    assert wanted <= held
    assert any(name.endswith("licenses/LICENSE") for name in held)


def test_the_dependencies_fit_together(environment: Path) -> None:
    _call(environment / "python", "-m", "pip", "check")


@contextmanager
def _serve(environment: Path, folder: Path) -> Iterator[str]:
    data = str(folder / "data")
    command = [str(environment / "batchmill"), "serve", "--port", "0", "--data-dir", data]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder, env=clean
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0


def test_an_installed_wheel_runs_a_batch(environment: Path, tmp_path: Path) -> None:
    with _serve(environment, tmp_path) as url:
        with httpx2.Client(base_url=url, trust_env=False, timeout=60) as client:
            _run_batch(client)
        with httpx2.Client(base_url=url.removesuffix("/v1"), trust_env=False) as root:
            assert root.get("/openapi.json").json()["info"]["title"]
            assert root.get("/metrics").status_code == 200


def _run_batch(client: httpx2.Client) -> None:
    endpoint = "/v1/chat/ds-test"
    body = {"model": "batch-test-model", "messages": [{"role": "user", "content": "Hello!"}]}
    line = {"custom_id": "1", "method": "POST", "url": endpoint, "body": body}
    sent = {"file": ("in.jsonl", json.dumps(line).encode())}
    file = client.post("/files", data={"purpose": "batch"}, files=sent).raise_for_status().json()
    wanted = {"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h"}
    batch = client.post("/batches", json=wanted).raise_for_status().json()
    end = time.monotonic() + DEADLINE
    while batch["status"] not in {"completed", "failed"}:
        assert time.monotonic() < end
        batch = client.get(f"/batches/{batch['id']}").raise_for_status().json()
    assert batch["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    content = client.get(f"/files/{batch['output_file_id']}/content").raise_for_status()
    assert json.loads(content.text)["custom_id"] == "1"
