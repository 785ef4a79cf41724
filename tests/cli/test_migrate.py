"""``batchmill migrate``, and what verbs over a shared database say of where it is."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from postgres_server import database
from typer.testing import CliRunner, Result

from batchmill.cli.main import make_app
from batchmill.cli.serve import _describe_door, _describe_places, _prepare
from batchmill.config import DataSettings, Settings, load_settings
from batchmill.config.settings import ServerSettings
from batchmill.store import NEWEST, migrate_store

HUSH = "hush-hush"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BATCHMILL_CONFIG", "BATCHMILL_DATA__DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> Result:
    return CliRunner().invoke(make_app(["migrate", "keys"]), words)


def set_revision(path: Path, revision: str, oldest: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.execute("UPDATE schema_terms SET oldest = ?", (oldest,))


def test_a_database_is_made_and_then_is_up_to_date(tmp_path: Path) -> None:
    asked = run("migrate", "--check", "--data-dir", str(tmp_path / "data"))
    assert (asked.exit_code, asked.stderr) == (1, "")
    assert f"was empty; this release needs {NEWEST}" in asked.stdout
    assert not (tmp_path / "data").exists()
    made = run("migrate", "--data-dir", str(tmp_path / "data"))
    assert made.exit_code == 0, made.stderr
    assert f"was empty, and is at {NEWEST} now" in made.stdout
    for words in (["migrate"], ["migrate", "--check"]):
        again = run(*words, "--data-dir", str(tmp_path / "data"))
        assert (again.exit_code, again.stderr) == (0, "")
        assert f"up to date, at revision {NEWEST}" in again.stdout


@pytest.mark.parametrize("words", [["migrate"], ["migrate", "--check"]])
def test_a_newer_database_is_left_alone(words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "batchmill.sqlite3"
    asyncio.run(migrate_store(path))
    set_revision(path, "9998", NEWEST)
    fine = run(*words, "--data-dir", str(tmp_path))
    assert fine.exit_code == 0
    assert "revision 9998" in fine.stdout
    set_revision(path, "9998", "9997")
    refused = run(*words, "--data-dir", str(tmp_path))
    assert refused.exit_code == 2
    assert "newer release" in refused.stderr


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The settings of a server over PostgreSQL, with a password that nobody may see."""
    with database(migrated=False) as url:
        monkeypatch.setenv("MILL", url.replace("postgres@", f"postgres:{HUSH}@"))
        file = tmp_path / "batchmill.toml"
        file.write_text(f'[data]\ndir = "{tmp_path / "data"}"\ndatabase_env = "MILL"\n')
        yield file


def settings_in(config: Path) -> Settings:
    import os

    return load_settings(file=config, env=os.environ, flags={}).settings


def test_a_shared_database_is_administered_by_the_settings_of_its_servers(config: Path) -> None:
    asked = run("migrate", "--check", "--config", str(config))
    made = run("migrate", "--config", str(config))
    key = run("keys", "create", "--admin", "--config", str(config))
    listed = run("keys", "list", "--config", str(config))
    results = (asked, made, key, listed)
    assert [one.exit_code for one in results] == [1, 0, 0, 0], [one.stderr for one in results]
    assert "postgresql:///test_" in made.stdout
    assert "postgresql:///test_" in key.stderr
    assert len(listed.stdout.splitlines()) == 1
    assert not [one for one in results if HUSH in one.output]
    assert not (config.parent / "data").exists()


def test_a_start_says_how_to_make_the_first_key_of_a_shared_database(config: Path) -> None:
    settings = settings_in(config).model_copy(update={"server": ServerSettings(require_keys=True)})
    _prepare(settings)
    said = _describe_door(settings, config)
    assert said.endswith(f"keys create --admin --config {config}")
    run("keys", "create", "--admin", "--config", str(config))
    assert "there is none" not in _describe_door(settings, config)


def test_a_greeting_says_where_rows_and_files_are_and_nothing_more(config: Path) -> None:
    data = settings_in(config).data.model_copy(update={"blobs": "s3://bucket/prefix"})
    said = _describe_places(data)
    assert [line.split()[0] for line in said.splitlines()] == ["rows", "files"]
    assert said.splitlines()[1].split()[1] == "s3://bucket/prefix"
    assert "postgresql:///test_" in said
    assert HUSH not in said
    assert _describe_places(DataSettings()) == ""


def test_a_start_waits_for_a_database_that_is_away(tmp_path: Path) -> None:
    """The processes that serve try again: the start itself goes on."""
    env = {"BATCHMILL_DATA__DATABASE": f"postgresql://u:{HUSH}@/d?host={tmp_path}"}
    settings = load_settings(file=None, env=env, flags={}).settings
    _prepare(settings)
    assert "there is none" in _describe_door(
        settings.model_copy(update={"server": ServerSettings(require_keys=True)}), None
    )
