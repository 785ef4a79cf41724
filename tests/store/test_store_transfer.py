"""Rows from one database into another: every one as it was, all or none, and numbers go on."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import postgres_server
import pytest
from hypothesis import HealthCheck, given, settings
from row_cases import Rows, databases
from sqlalchemy import select
from store_cases import PLENTY, T0, a_batch, a_file, an_upload, planned

from batchmill.domain.errors import ConfigError, Conflict
from batchmill.domain.file import UploadPart, UploadStatus
from batchmill.ports.moving import NamedBlob, Weight
from batchmill.store import open_store
from batchmill.store.database import Database
from batchmill.store.tables import accounts, files, leadership, metadata, secrets, signs
from batchmill.store.transfer import MOVED, SqlInventory, SqlRowMove, open_for_moving

TARGETS = ("sqlite", "postgresql")


@cache
def empty_file() -> Path:
    """A SQLite database after its migrations, to be copied."""
    folder = Path(tempfile.mkdtemp(prefix="batchmill-rows-"))

    async def make() -> None:
        store = await open_store(folder / "empty.db")
        await store.close()

    asyncio.run(make())
    return folder / "empty.db"


@contextmanager
def empty(kind: str) -> Iterator[str]:
    """The URL of a fresh database."""
    if kind == "postgresql":
        with postgres_server.database() as url:
            yield url
        return
    with tempfile.TemporaryDirectory(prefix="batchmill-rows-") as folder:
        shutil.copy(empty_file(), Path(folder) / "rows.db")
        yield f"sqlite:///{folder}/rows.db"


@dataclass
class Way:
    """A move under test, and the databases at both ends."""

    source: Database
    target: Database
    move: SqlRowMove
    from_url: str
    to_url: str


@asynccontextmanager
async def way(
    from_url: str, to_url: str, kept: dict[str, bytes] | None = None
) -> AsyncIterator[Way]:
    source, target = await open_for_moving(from_url), await open_for_moving(to_url)
    try:
        yield Way(source, target, SqlRowMove(source, target, kept or {}), from_url, to_url)
    finally:
        await source.close()
        await target.close()


def on_the_way(test: Callable[[Way], Any]) -> Callable[[str], None]:
    """Run an async test once to an empty target of each kind."""

    async def main(from_url: str, to_url: str) -> None:
        async with way(from_url, to_url) as found:
            await test(found)

    @pytest.mark.parametrize("kind", TARGETS)
    def run(kind: str) -> None:
        with empty("sqlite") as from_url, empty(kind) as to_url:
            asyncio.run(main(from_url, to_url))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def quiet(_table: str, _count: int) -> None:
    """Nobody watches."""


async def fill(database: Database, rows: Rows) -> None:
    async with database.write() as connection:
        for table in reversed(MOVED):
            await connection.execute(table.delete())
        for table in MOVED:
            if rows[table.name]:
                await connection.execute(table.insert(), rows[table.name])


async def dump(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Every row of the tables that move, in the order of their keys."""
    async with database.read() as connection:
        return {
            table.name: [
                dict(row)
                for row in (
                    await connection.execute(select(table).order_by(*table.primary_key))
                ).mappings()
            ]
            for table in MOVED
        }


def by_key(table: str, rows: list[dict[str, Any]]) -> list[Any]:
    names = [column.name for column in metadata.tables[table].primary_key]
    return sorted(([row[name] for name in names], row) for row in rows)


@pytest.mark.parametrize("kind", TARGETS)
@settings(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=databases())
def test_every_row_arrives_as_it_was(kind: str, rows: Rows) -> None:
    assert_all_arrive(kind, rows)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TARGETS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=databases())
def test_every_row_of_many_databases_arrives_as_it_was(kind: str, rows: Rows) -> None:
    assert_all_arrive(kind, rows)


def assert_all_arrive(kind: str, rows: Rows) -> None:
    """Fill a database with ``rows``, move them, and look at both."""

    async def main(from_url: str, to_url: str) -> None:
        async with way(from_url, to_url) as found:
            await fill(found.source, rows)
            before = await dump(found.source)
            counts = await found.move.copy(quiet)
            after = await dump(found.target)
            for table in before:
                assert by_key(table, after[table]) == by_key(table, before[table])
                assert by_key(table, after[table]) == by_key(table, rows[table])
            assert counts == {table: len(of_table) for table, of_table in rows.items()}

    with empty("sqlite") as from_url, empty(kind) as to_url:
        asyncio.run(main(from_url, to_url))


async def one_account_each(store: Any) -> None:
    """Rows that a server would have written."""
    await store.files.add(a_file(), PLENTY)
    await planned(store, a_batch("1"), shards=3)


async def write_rows(url: str) -> None:
    store = await open_store(url)
    try:
        await one_account_each(store)
    finally:
        await store.close()


@on_the_way
async def test_new_rows_are_numbered_behind_all_that_ever_were(way: Way) -> None:
    await write_rows(way.from_url)
    async with way.source.write() as connection:
        await connection.execute(files.insert(), [{**row_of_file("last"), "seq": 700}])
        await connection.execute(files.delete().where(files.c.seq == 700))
    await way.move.copy(quiet)
    await way.move.release()
    store = await open_store(way.to_url)
    try:
        await store.files.add(a_file("2"), PLENTY)
        made = await store.batches.create(a_batch("2"), None, ())
    finally:
        await store.close()
    rows = await dump(way.target)
    assert [row["seq"] for row in rows["files"]] == [1, 701]
    assert [row["seq"] for row in rows["batches"]] == [1, 2]
    assert made.id == rows["batches"][1]["id"]


def row_of_file(name: str) -> dict[str, Any]:
    file = a_file(name)
    known = {column.name: getattr(file, column.name, None) for column in files.columns}
    return {**known, "folded": file.filename, "seq": 1}


@on_the_way
async def test_no_release_opens_the_target_before_the_move_has_ended(way: Way) -> None:
    await write_rows(way.from_url)
    await way.move.copy(quiet)
    with pytest.raises(ConfigError, match="batchmill move"):
        await open_store(way.to_url)
    await way.move.release()
    await way.move.release()  # as when the end was cut off
    await (await open_store(way.to_url)).close()


@on_the_way
async def test_what_a_cut_off_move_left_is_replaced(way: Way) -> None:
    await write_rows(way.from_url)
    await way.move.copy(quiet)
    async with way.source.write() as connection:
        await connection.execute(files.update().values(filename="later.jsonl"))
    await way.move.check()
    await way.move.copy(quiet)
    assert await dump(way.target) == await dump(way.source)


@on_the_way
async def test_a_copy_that_breaks_leaves_the_target_empty(way: Way) -> None:
    await write_rows(way.from_url)
    before = await dump(way.target)

    def break_off(table: str, _count: int) -> None:
        if table == "shards":
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await way.move.copy(break_off)
    assert await dump(way.target) == before
    await (await open_store(way.to_url)).close()
    await way.move.copy(quiet)


@on_the_way
async def test_a_target_in_use_is_refused(way: Way) -> None:
    await write_rows(way.from_url)
    store = await open_store(way.to_url)
    await store.files.add(a_file("theirs"), PLENTY)
    await store.close()
    before = await dump(way.target)
    for attempt in (way.move.check(), way.move.copy(quiet)):
        with pytest.raises(Conflict, match="'files'"):
            await attempt
    assert await dump(way.target) == before


@on_the_way
async def test_a_target_with_another_account_is_refused(way: Way) -> None:
    async with way.target.write() as connection:
        theirs = {"id": "acc_1", "name": "Theirs", "created_at": T0}
        await connection.execute(accounts.insert(), [theirs])
    with pytest.raises(Conflict, match="'accounts'"):
        await way.move.check()


@on_the_way
async def test_of_two_moves_at_once_one_arrives(way: Way) -> None:
    await write_rows(way.from_url)
    other = await open_for_moving(way.to_url)
    try:
        with empty("sqlite") as url:
            source = await open_for_moving(url)
            moves = (way.move.copy(quiet), SqlRowMove(source, other, {}).copy(quiet))
            ends = await asyncio.gather(*moves, return_exceptions=True)
            await source.close()
    finally:
        await other.close()
    # The later one replaces what is not released yet: never is there a mixture.
    assert not any(isinstance(end, BaseException) for end in ends)
    held = await dump(way.target)
    assert (len(held["files"]), len(held["shards"])) in {(1, 3), (0, 0)}


@on_the_way
async def test_an_engine_that_leads_over_the_target_is_superseded(way: Way) -> None:
    for database, epoch in ((way.source, 4), (way.target, 9)):
        async with database.write() as connection:
            await connection.execute(leadership.update().values(epoch=epoch))
    await way.move.copy(quiet)
    async with way.target.read() as connection:
        assert (await connection.execute(select(leadership.c.epoch))).scalar_one() == 10


@on_the_way
async def test_secrets_go_along_and_signs_of_life_do_not(way: Way) -> None:
    async with way.source.write() as connection:
        await connection.execute(signs.insert(), [{"name": "n", "body": b"b", "at": T0}])
    async with way.target.write() as connection:
        await connection.execute(secrets.insert(), [{"name": "session", "value": b"theirs"}])
    move = SqlRowMove(way.source, way.target, {"session": b"ours"})
    await move.check()
    await move.copy(quiet)
    async with way.target.read() as connection:
        assert (await connection.execute(select(signs))).all() == []
        assert (await connection.execute(select(secrets))).all() == [("session", b"ours")]


@on_the_way
async def test_a_database_of_a_newer_release_is_not_moved(way: Way) -> None:
    for url, database in ((way.from_url, way.source), (way.to_url, way.target)):
        async with database.write() as connection:
            await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(ConfigError, match="newer release"):
            await open_for_moving(url)


def test_a_row_that_the_new_database_does_not_take_is_named() -> None:
    async def main(from_url: str, to_url: str) -> None:
        async with way(from_url, to_url) as found:
            await write_rows(from_url)
            # More than PostgreSQL keeps in an index: no release writes such a key.
            digits = "".join(map(str, range(20_000)))
            async with found.source.write() as connection:
                changed = metadata.tables["batches"].update().values(idempotency_key=digits)
                await connection.execute(changed)
            before = await dump(found.target)
            with pytest.raises(Conflict, match="'batches'"):
                await found.move.copy(quiet)
            assert await dump(found.target) == before

    with empty("sqlite") as from_url, empty("postgresql") as to_url:
        asyncio.run(main(from_url, to_url))


@pytest.mark.parametrize("kind", TARGETS)
def test_files_and_parts_of_pending_uploads_name_blobs(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchmill.store.transfer._BLOBS_AT_ONCE", 2)

    async def main(url: str) -> None:
        store = await open_store(url)
        for n in range(5):
            await store.files.add(a_file(str(n), bytes=n), PLENTY)
        for name in ("pending", "cancelled"):
            upload = an_upload(name)
            await store.uploads.add(upload, PLENTY)
            part = UploadPart(f"part-{name}", upload.id, 50, f"uploads/{name}", T0)
            assert await store.uploads.add_part(part)
        cancelled = replace(an_upload("cancelled"), status=UploadStatus.CANCELLED)
        assert await store.uploads.close(cancelled)
        await store.close()
        database = await open_for_moving(url)
        inventory = SqlInventory(database)
        try:
            named = [one async for one in inventory.named()]
            assert named == [
                *(NamedBlob(f"files/{n}", n, "d" * 64, f"file-batch-{n}") for n in range(5)),
                NamedBlob("uploads/pending", 50, None, "part-pending"),
            ]
            assert await inventory.weigh() == Weight(6, 60)
        finally:
            await database.close()

    with empty(kind) as url:
        asyncio.run(main(url))
