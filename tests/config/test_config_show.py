"""``batchmill config show``, and the reference page that is generated from the settings."""

import json
import runpy
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from batchmill.cli.config_show import register
from batchmill.config.tree import env_names, spots

ROOT = Path(__file__).resolve().parents[2]
TEXT = """
[server]
port = 8081
[[models]]
name = "qwen-plus"
  [[models.upstreams]]
  url = "http://10.0.0.5:8000/v1"
  api_key = "sk-very-secret"
[limits]
max_file_bytes = "300MB"
"""


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*env_names(), "BATCHMILL_CONFIG"]:
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str) -> tuple[int, str, str]:
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, ["config", "show", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_each_setting_is_shown_with_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "batchmill.toml"
    file.write_text(TEXT)
    monkeypatch.setenv("BATCHMILL_LOG__LEVEL", "debug")
    code, out, _ = run("--config", str(file))
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert code == 0
    assert rows["server.port"] == ["8081", "file", str(file)]
    assert rows["limits.max_file_bytes"] == ["300MB", "file", str(file)]
    assert rows["log.level"] == ["debug", "environment", "BATCHMILL_LOG__LEVEL"]
    assert rows["engine.stop_grace"] == ["30s", "default"]
    assert rows["models.0.upstreams.0.api_key"] == ["**********", "file", str(file)]
    assert "sk-very-secret" not in out


def test_json_has_plain_values_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "batchmill.toml"
    file.write_text(TEXT)
    code, out, _ = run("--config", str(file), "--json")
    rows = json.loads(out)
    assert code == 0
    assert rows["limits.max_file_bytes"] == {"value": 300 * 1024**2, "origin": f"file {file}"}
    assert rows["models.0.upstreams.0.api_key"]["value"] == "**********"
    assert rows["server.allowed_hosts"] == {"value": [], "origin": "default"}


def test_the_file_can_be_named_by_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "batchmill.toml"
    file.write_text(TEXT)
    monkeypatch.setenv("BATCHMILL_CONFIG", str(file))
    _, out, _ = run("--json")
    assert json.loads(out)["server.port"]["value"] == 8081


def test_without_anything_all_settings_are_defaults() -> None:
    _, out, _ = run("--json")
    shown = json.loads(out)
    expected = {".".join(map(str, spot.path)) for spot in spots() if "*" not in spot.path}
    assert set(shown) == expected
    assert {row["origin"] for row in shown.values()} == {"default"}


def test_a_wrong_setting_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHMILL_SERVER__PORT", "x")
    code, out, err = run()
    assert (code, out) == (2, "")
    assert err.startswith("server.port is 'x' (environment BATCHMILL_SERVER__PORT), but")
    assert err.count("\n") == 1


def test_every_setting_is_described() -> None:
    bare = [spot.path for spot in spots() if not spot.field.description]
    untold = [spot.path for spot in spots() if spot.kind.may_be == "a table of settings"]
    assert (bare, untold) == ([], [])


def test_the_reference_page_is_not_stale() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    render = runpy.run_path(str(ROOT / "scripts" / "gen_settings_doc.py"))["render"]
    assert page == render(), "run scripts/gen_settings_doc.py"
