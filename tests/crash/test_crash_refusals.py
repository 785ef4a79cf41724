"""What ``serve`` refuses to start with: one sentence, an exit code, no traceback."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_server import Server, serving


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("refusals"), "http://127.0.0.1:9/v1") as server:
        yield server


def refusal(*words: str | Path) -> str:
    """The one sentence with which ``serve`` refuses these arguments."""
    command = [sys.executable, "-m", "batchmill", "serve", *map(str, words)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("BATCHMILL_")}
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode not in (0, None)
    assert done.stdout == ""
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("batchmill: ")
    assert sentence.endswith((".", "?"))
    return sentence


def test_a_data_folder_that_is_in_use(running: Server) -> None:
    said = refusal("--data-dir", running.data, "--port", "0")
    assert str(running.data) in said
    assert "in use" in said
    assert running.is_whole()


def test_a_data_folder_is_free_again_when_its_server_was_killed(running: Server) -> None:
    running.kill_all()
    running.start()
    assert running.client.get("/models").status_code == 200


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refusal("--data-dir", tmp_path / "data", "--port", str(port))
    assert f"127.0.0.1:{port}" in said


def test_an_address_that_is_not_this_machines(tmp_path: Path) -> None:
    said = refusal("--data-dir", tmp_path / "data", "--port", "0", "--host", "192.0.2.1")
    assert "192.0.2.1" in said


def test_a_setting_that_does_not_exist(tmp_path: Path) -> None:
    config = tmp_path / "batchmill.toml"
    config.write_text("[engine]\nshard_line = 5\n")
    assert "shard_line" in refusal("--config", config, "--data-dir", tmp_path / "data")


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert str(missing) in refusal("--config", missing, "--data-dir", tmp_path / "data")


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    assert str(file) in refusal("--data-dir", file, "--port", "0")


def test_an_upstream_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}/v1"
        said = refusal("--upstream", url, "--data-dir", tmp_path / "data", "--port", "0")
    assert url in said


def test_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    config, missing = tmp_path / "batchmill.toml", tmp_path / "missing.pem"
    config.write_text(
        '[[models]]\nname = "m"\n[[models.upstreams]]\nurl = "https://gpu-1.internal/v1"\n'
        f'ca = "{missing}"\n'
    )
    said = refusal("--config", config, "--data-dir", tmp_path / "data")
    assert f"ca cannot be read: {missing}" in said
