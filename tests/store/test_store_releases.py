"""Two releases over one database, and what brings its schema up to date."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from postgres_server import DATABASES, shared
from sqlalchemy import Connection, text
from store_cases import KINDS, PLENTY, a_file

from batchmill.domain.errors import ConfigError
from batchmill.store import NEWEST, Schema, SqlStore, migrate_store, open_store, read_schema, schema

NEXT = f"{int(NEWEST) + 1:04}"


def where(kind: str, folder: Path) -> str | Path:
    return folder / "batchmill.db" if kind == "sqlite" else DATABASES.of(folder)


def an_empty_database(kind: str, folder: Path) -> str | Path:
    """One without tables."""
    return (
        folder / "empty.db" if kind == "sqlite" else shared().url(shared().create(migrated=False))
    )


async def migrated_by(store: SqlStore, revision: str, oldest: str) -> None:
    """As the release of ``revision`` leaves a database behind."""
    async with store._database.write() as connection:
        changed = (
            ("UPDATE alembic_version SET version_num = :value", revision),
            ("UPDATE schema_terms SET oldest = :value", oldest),
        )
        for statement, value in changed:
            await connection.execute(text(statement), {"value": value})


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_release_goes_on_where_a_newer_one_says_that_it_may(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        store = await KINDS[kind](tmp_path)
        assert not store.schema.is_ahead
        await migrated_by(store, NEXT, NEWEST)
        await store.close()
        again = await KINDS[kind](tmp_path)
        assert again.schema == Schema(NEXT, NEWEST)
        assert again.schema.is_ahead
        await again.files.add(a_file(), PLENTY)
        await again.close()
        assert await migrate_store(where(kind, tmp_path)) == Schema(NEXT, NEWEST)
        assert await read_schema(where(kind, tmp_path)) == Schema(NEXT, NEWEST)

    asyncio.run(main())


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_release_stays_away_where_a_newer_one_says_so(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        store = await KINDS[kind](tmp_path)
        await migrated_by(store, NEXT, NEXT)
        await store.close()
        for opening in (KINDS[kind](tmp_path), migrate_store(where(kind, tmp_path))):
            with pytest.raises(ConfigError, match="newer release"):
                await opening
        found = await read_schema(where(kind, tmp_path))
        assert (found.is_ahead, found.is_behind, found.is_usable) == (True, False, False)

    asyncio.run(main())


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_look_makes_and_changes_nothing(kind: str, tmp_path: Path) -> None:
    empty = an_empty_database(kind, tmp_path)
    for _ in range(2):
        found = asyncio.run(read_schema(empty))
        assert found == Schema(None, None)
        assert (found.is_behind, found.is_ahead, found.is_usable) == (True, False, True)
    assert not list(tmp_path.iterdir())
    assert asyncio.run(migrate_store(empty)) == Schema(None, None)
    assert asyncio.run(read_schema(empty)).revision == NEWEST


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_of_several_that_migrate_at_once_one_does(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    migrate = schema.migrate

    def noted(connection: Connection) -> None:
        ran.append("migrated")
        migrate(connection)

    async def main() -> None:
        empty = an_empty_database(kind, tmp_path)
        found = await asyncio.gather(*(migrate_store(empty) for _ in range(4)))
        assert sorted(one.revision or "" for one in found) == ["", NEWEST, NEWEST, NEWEST]
        store = await open_store(empty)
        await store.files.add(a_file(), PLENTY)
        await store.close()

    monkeypatch.setattr(schema, "migrate", noted)
    asyncio.run(main())
    assert ran == ["migrated"]


def test_a_user_without_the_rights_is_told_who_has_them(tmp_path: Path) -> None:
    """What is up to date is served all the same."""
    name = shared().create(migrated=False)
    shared().run("DROP ROLE IF EXISTS mill_user")
    shared().run("CREATE ROLE mill_user LOGIN")
    theirs = shared().url(name, user="mill_user")

    async def main() -> None:
        with pytest.raises(ConfigError, match="batchmill migrate"):
            await open_store(theirs)
        await migrate_store(shared().url(name))
        rights = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
        shared().run(f"GRANT {rights} TO mill_user", name)
        shared().run("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO mill_user", name)
        store = await open_store(theirs)
        await store.files.add(a_file(), PLENTY)
        assert await store.leadership.take() == 1
        await store.close()

    asyncio.run(main())


def test_a_file_that_may_not_be_written_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(connection: Connection) -> None:
        connection.execute(text("PRAGMA query_only = ON"))
        connection.execute(text("CREATE TABLE files (id TEXT)"))

    monkeypatch.setattr(schema, "migrate", refused)
    with pytest.raises(ConfigError, match="does not allow") as told:
        asyncio.run(migrate_store(tmp_path / "x.db"))
    cause = told.value.__cause__
    assert isinstance(getattr(cause, "orig", None), sqlite3.OperationalError)
