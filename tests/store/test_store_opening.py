"""Opening a database: migrations, the settings of SQLite, and what is refused."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from postgres_server import database
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection
from store_cases import KINDS, PLENTY, a_batch, a_file, with_store

from batchmill.domain.errors import ConfigError
from batchmill.ports import Store
from batchmill.store import SqlStore, migrations, open_store
from batchmill.store.tables import metadata

OPEN_AND_TELL = """
import asyncio, sys
from batchmill.store import open_store

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    store = await open_store(sys.argv[1])
    await store.ping()
    await store.close()
    print("alembic" in sys.modules, "asyncpg" in sys.modules)

asyncio.run(main())
"""


def opening_process(path: Path | str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", OPEN_AND_TELL, str(path)]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def sql_store(store: Store) -> SqlStore:
    assert isinstance(store, SqlStore)
    return store


@with_store
async def test_the_migrations_make_the_tables_that_the_code_uses(store: Store) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with sql_store(store)._database.read() as connection:
        assert await connection.run_sync(differences) == []


def test_head_is_the_newest_migration() -> None:
    """It is written by hand, so that a start need not ask Alembic."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == migrations.HEAD


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_was_stored_is_there_after_the_next_opening(kind: str, tmp_path: Path) -> None:
    """The second opening migrates nothing and finds everything."""

    async def main() -> None:
        first = await KINDS[kind](tmp_path)
        await first.batches.create(a_batch(), None, ())
        await first.close()
        second = await KINDS[kind](tmp_path)
        assert await second.batches.get("acme", "batch_1") == a_batch()
        await second.close()

    asyncio.run(main())


def a_new_database_of_sqlite(folder: Path) -> AbstractContextManager[Path | str]:
    return nullcontext(folder / "data" / "batchmill.db")


def a_new_database_of_postgres(folder: Path) -> AbstractContextManager[Path | str]:
    return database(migrated=False)


@pytest.mark.parametrize("a_new_one", [a_new_database_of_sqlite, a_new_database_of_postgres])
def test_processes_may_open_a_new_database_at_the_same_time(
    a_new_one: Callable[[Path], AbstractContextManager[Path | str]], tmp_path: Path
) -> None:
    """One of them migrates, the others wait for it. No other driver is loaded than is needed."""
    has_driver = a_new_one is a_new_database_of_postgres
    with a_new_one(tmp_path) as where:
        told = open_in_processes(where, 4)
    assert told == [f"False {has_driver}\n"] * 3 + [f"True {has_driver}\n"]


def open_in_processes(where: Path | str, count: int) -> list[str]:
    processes = [opening_process(where) for _ in range(count)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate()[0] for process in processes]
    assert {process.returncode for process in processes} == {0}
    return sorted(told)


def test_a_failed_migration_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start begins anew instead of finding half of the tables."""

    def broken(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE files (id TEXT)"))
        raise RuntimeError("the power went")

    async def main() -> None:
        with monkeypatch.context() as patched:
            patched.setattr("batchmill.store.schema.migrate", broken)
            with pytest.raises(RuntimeError, match="power"):
                await open_store(tmp_path / "x.db")
        store = await open_store(tmp_path / "x.db")
        await store.files.add(a_file(), PLENTY)
        await store.close()

    asyncio.run(main())


def test_sqlite_is_set_to_lose_nothing(tmp_path: Path) -> None:
    """Every connection: write-ahead log, synced at each commit, references checked."""

    async def main() -> None:
        store = await open_store(tmp_path / "x.db")
        for _ in range(2):
            async with store._database.read() as one, store._database.write() as two:
                for connection in (one, two):
                    assert await pragmas(connection) == ["wal", 2, 1, 60_000]
            # only what may be forgotten is not synced, on a connection that is never lent out
            async with store._database.relaxed() as lazy:
                assert await pragmas(lazy) == ["wal", 1, 1, 60_000]
        await store.close()

    asyncio.run(main())


async def pragmas(connection: AsyncConnection) -> list[object]:
    names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    return [(await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one() for name in names]


def test_a_relaxed_writer_keeps_all_others_out_too(tmp_path: Path) -> None:
    """It is BEGIN IMMEDIATE all the same: what it counted is still true when it adds."""

    async def main() -> None:
        store = await open_store(tmp_path / "x.db")
        with closing(sqlite3.connect(tmp_path / "x.db", timeout=0)) as stranger:
            async with store._database.relaxed() as connection:
                await connection.execute(text("SELECT count(*) FROM files"))
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    stranger.execute("BEGIN IMMEDIATE")
            stranger.execute("BEGIN IMMEDIATE")
        await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("where", ["{}/x.db", "sqlite:///{}/x.db", "sqlite+aiosqlite:///{}/x.db"])
def test_a_path_and_a_url_name_the_same_database(where: str, tmp_path: Path) -> None:
    """Folders on the way are made."""

    async def main() -> None:
        store = await open_store(where.format(tmp_path / "a" / "b"))
        await store.ping()
        await store.close()
        assert (tmp_path / "a" / "b" / "x.db").exists()

    asyncio.run(main())


@pytest.mark.parametrize(
    "where", ["mysql://me:secret@host/db", "sqlite://", "sqlite:///:memory:", "://secret"]
)
def test_what_cannot_be_a_database_is_refused_without_its_secrets(where: str) -> None:
    """The sentence says what to write instead."""
    with pytest.raises(ConfigError, match="sqlite:///path") as refused:
        asyncio.run(open_store(where))
    assert "secret" not in str(refused.value)


@with_store
async def test_errors_do_not_show_what_clients_wrote(store: Store) -> None:
    file = a_file(filename="private.jsonl")
    await store.files.add(file, PLENTY)
    with pytest.raises(Exception, match=r"(?i)unique") as failed:
        await store.files.add(file, PLENTY)
    assert "private" not in str(failed.value)


@with_store
async def test_ping_returns_while_the_database_answers(store: Store) -> None:
    await store.ping()
