"""``batchmill move``: what it says, what it refuses, and who is refused afterwards."""

import asyncio
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import postgres_server
import pytest
from alembic import command
from alembic.config import Config
from bucket_server import new_place
from sqlalchemy import create_engine
from typer.testing import CliRunner, Result

from batchmill.cli.main import make_app
from batchmill.cli.move import Tenths
from batchmill.cli.serve import lock_folder
from batchmill.ports.moving import Stage
from batchmill.store import migrations, open_store
from batchmill.store.migrations import HEAD
from batchmill.wiring.moved import FILE
from batchmill.wiring.parts import Paths


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of whoever runs the tests counts, and the working folder is empty."""
    for name in [name for name in os.environ if name.startswith("BATCHMILL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of a server that has made a key and is stopped."""
    folder = tmp_path / "old"
    result = say("keys", "create", "--admin", "--data-dir", str(folder))
    assert result.exit_code == 0, result.stderr
    Paths(folder).session_secret.write_bytes(b"s" * 32)
    return folder


def say(*words: str) -> Result:
    return CliRunner().invoke(make_app(["move", "keys", "serve"]), list(words))


def config(folder: Path, text: str) -> str:
    """The path of a file that says so."""
    path = folder / "new.toml"
    path.write_text(f"[data]\n{text}\n")
    return str(path)


def move(old: Path, text: str, *words: str) -> Result:
    return say("move", "--config", config(old.parent, text), "--from", str(old), *words)


def refusal(result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    return result.stderr


def into(folder: Path) -> str:
    return f"dir = {json.dumps(str(folder))}"


def test_a_folder_moves_and_is_served_no_more(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    result = move(old, into(new))
    assert result.exit_code == 0, result.stderr
    assert f"{old}/batchmill.sqlite3 -> {new}/batchmill.sqlite3" in result.stderr
    assert "rows of api_keys\t1\t-" in result.stdout.splitlines()
    assert Paths(new).session_secret.read_bytes() == b"s" * 32
    assert Paths(new).session_secret.stat().st_mode & 0o077 == 0
    for words in (("serve", "--port", "0"), ("keys", "list")):
        assert f"moved to {new}" in refusal(say(*words, "--data-dir", str(old)))
    listed = say("keys", "list", "--data-dir", str(new))
    assert (listed.exit_code, len(listed.stdout.splitlines())) == (0, 1)


def test_a_move_that_has_ended_is_said_to_have_and_changes_nothing(
    old: Path, tmp_path: Path
) -> None:
    assert move(old, into(tmp_path / "new")).exit_code == 0
    before = (old / FILE).read_bytes()
    again = move(old, into(tmp_path / "new"))
    assert (again.exit_code, again.stdout) == (0, "")
    assert "was moved before" in again.stderr
    assert (old / FILE).read_bytes() == before
    assert "before" in refusal(move(old, into(tmp_path / "newer")))


def test_a_dry_run_says_what_there_is_and_moves_nothing(old: Path, tmp_path: Path) -> None:
    result = move(old, into(tmp_path / "new"), "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "rows of api_keys\t1\t-" in result.stdout.splitlines()
    assert not Paths(tmp_path / "new").database.exists()
    assert not (old / FILE).exists()


@pytest.fixture
def database() -> Iterator[str]:
    with postgres_server.database() as url:
        yield url


def test_database_and_bucket_take_a_folder_over(old: Path, database: str) -> None:
    place = new_place()
    options = ", ".join(f"{name} = {json.dumps(value)}" for name, value in place.options.items())
    Paths(old).blobs.mkdir()
    text = (
        f"{into(old)}\ndatabase = {json.dumps(database)}\n"
        f"blobs = {json.dumps(place.url)}\nblob_options = {{{options}}}"
    )
    result = move(old, text)
    assert result.exit_code == 0, result.stderr
    assert "files\t0\t0" in result.stdout.splitlines()
    moves = json.loads((old / FILE).read_text())
    assert moves["blobs"]["to"] == place.url
    assert moves["database"]["to"].startswith("postgresql://")
    listed = say("keys", "list", "--config", str(old.parent / "new.toml"))
    assert (listed.exit_code, len(listed.stdout.splitlines())) == (0, 1)

    async def kept() -> bytes:
        store = await open_store(database)
        try:
            return await store.secrets.keep("console.sessions", b"another")
        finally:
            await store.close()

    assert asyncio.run(kept()) == b"s" * 32


def test_a_database_that_is_in_use_is_refused(old: Path, database: str) -> None:
    text = f"{into(old)}\ndatabase = {json.dumps(database)}"
    made = say("keys", "create", "--admin", "--config", config(old.parent, text))
    assert made.exit_code == 0, made.stderr
    assert "in use already" in refusal(move(old, text))
    assert say("keys", "list", "--data-dir", str(old)).exit_code == 0


def test_no_password_is_shown_or_written(old: Path) -> None:
    url = f"postgresql://me:hushhush@127.0.0.1:{postgres_server.free_port()}/x"
    result = move(old, f"{into(old)}\ndatabase = {json.dumps(url)}")
    assert "cannot be reached" in refusal(result)
    assert "hushhush" not in result.output
    assert not any(b"hushhush" in path.read_bytes() for path in old.iterdir() if path.is_file())


def test_a_server_at_work_is_in_the_way(old: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    for folder in (old, tmp_path / "new"):
        lock = lock_folder(folder)
        assert "in use by another batchmill" in refusal(move(old, into(tmp_path / "new")))
        os.close(lock)
    assert move(old, into(tmp_path / "new")).exit_code == 0


def test_an_engine_at_work_is_in_the_way(old: Path, tmp_path: Path) -> None:
    with Paths(old).engine_lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "engine still works" in refusal(move(old, into(tmp_path / "new")))


@pytest.mark.parametrize("text", ["", "database = 'sqlite:///{own}'"])
def test_the_same_place_is_no_place_to_move_to(old: Path, text: str) -> None:
    own = text.format(own=Paths(old).database)
    assert "no other place" in refusal(move(old, f"{into(old)}\n{own}"))
    assert not (old / FILE).exists()


def test_a_folder_without_data_is_named(tmp_path: Path) -> None:
    missing, empty = tmp_path / "missing", tmp_path / "empty"
    empty.mkdir()
    assert "no folder" in refusal(move(missing, into(tmp_path / "new")))
    assert not missing.exists()
    assert "no data of batchmill" in refusal(move(empty, into(tmp_path / "new")))


def test_a_note_that_cannot_be_read_is_said_to_be(old: Path, tmp_path: Path) -> None:
    (old / FILE).write_text("{")
    assert "cannot be read" in refusal(move(old, into(tmp_path / "new")))
    assert "cannot be read" in refusal(say("keys", "list", "--data-dir", str(old)))


def test_a_database_of_an_older_release_is_brought_up_to_date_first(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    make_database(Paths(old).database, "0003")
    result = move(old, into(new))
    assert result.exit_code == 0, result.stderr
    assert "rows of accounts\t1\t-" in result.stdout.splitlines()
    assert revision_of(Paths(old).database) == revision_of(Paths(new).database) == HEAD


def make_database(path: Path, revision: str) -> None:
    """A database as an older release has left it."""
    settings = Config()
    folder = Path(migrations.__file__).parent
    settings.set_main_option("script_location", str(folder))
    settings.set_main_option("path_separator", "os")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        command.upgrade(settings, revision)
    engine.dispose()


def revision_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(found)


def test_a_line_is_said_for_each_tenth_of_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    tenths = Tenths()
    tenths.begin(Stage.JOURNALS, 30)
    for _ in range(30):
        tenths.advance(1)
    tenths.begin(Stage.ROWS, 0)
    tenths.advance(0)
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["journals: 0 of 30 journals", "journals: 3 of 30 journals"]
    assert said[-2:] == ["journals: 30 of 30 journals", "rows: 0 of 0 rows"]
    assert len(said) == 12
