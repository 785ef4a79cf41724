"""``batchmill cluster``: what keeps it from reaching a cluster is said in a sentence."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from batchmill.cli.main import make_app
from batchmill.cluster.ray_session import prepare_environment
from batchmill.domain.errors import ConfigError

RAY = """
[data]
database = "postgresql://nobody@127.0.0.1:9/none"
blobs = "s3://bucket/prefix"
[cluster]
kind = "ray"
address = "127.0.0.1:9"
"""


def run(tmp_path: Path, *words: str, text: str = RAY) -> Result:
    config = tmp_path / "batchmill.toml"
    config.write_text(text)
    return CliRunner().invoke(make_app(["cluster"]), ["cluster", *words, "--config", str(config)])


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a token in the environment nor one at home."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        # set first, so that what the test itself sets is taken back
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("verb", ["start", "status", "drain", "stop"])
def test_without_a_cluster_in_the_settings_every_verb_says_so(tmp_path: Path, verb: str) -> None:
    result = run(tmp_path, verb, text="")
    assert result.exit_code == 2
    assert 'cluster.kind is "local"' in result.stderr


@pytest.mark.parametrize("verb", ["status", "drain", "stop"])
def test_without_a_token_every_verb_says_where_it_may_be(
    tmp_path: Path, bare: None, verb: str
) -> None:
    result = run(tmp_path, verb)
    assert result.exit_code == 2
    assert "RAY_AUTH_TOKEN" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("verb", ["status", "drain", "stop"])
def test_where_nobody_listens_every_verb_says_so_at_once(
    tmp_path: Path, bare: None, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t0ken")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        result = run(tmp_path, verb, text=RAY.replace('127.0.0.1:9"\n', f'{address}"\n'))
    assert result.exit_code == 2
    assert f"{address} cannot be reached (ConnectionRefusedError)" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_token_is_taken_from_each_of_its_places(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bare: None
) -> None:
    with pytest.raises(ConfigError):
        prepare_environment("token")
    file = tmp_path / "elsewhere"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    with pytest.raises(ConfigError):
        prepare_environment("token")
    file.write_text("t0ken\n")
    prepare_environment("token")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    home = tmp_path / ".ray" / "auth_token"
    home.parent.mkdir()
    home.write_text("t0ken")
    prepare_environment("token")
    home.unlink()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t0ken")
    prepare_environment("token")
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_a_cluster_without_tokens_is_used_only_when_asked_for(bare: None) -> None:
    prepare_environment("none")
    assert os.environ["RAY_AUTH_MODE"] == "disabled"


def test_start_says_that_the_database_cannot_be_reached_before_it_asks_ray(tmp_path: Path) -> None:
    result = run(tmp_path, "start")
    assert result.exit_code == 2
    assert "database" in result.stderr
    assert "nobody" not in result.stderr


def test_ray_is_loaded_by_nothing_that_one_machine_uses() -> None:
    code = (
        "import sys, batchmill.wiring.engine, batchmill.wiring.api, batchmill.cli.cluster, "
        "batchmill.wiring.cluster; "
        "sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
