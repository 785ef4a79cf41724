"""What lists are searched and filtered by: names, ids, workspaces, models; for every database."""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path

from sqlalchemy import text
from store_cases import PLENTY, T0, a_batch, a_file, planned, upgrade_to, with_store

from batchmill.domain.file import Purpose
from batchmill.ports import BatchQuery, FileQuery, Store
from batchmill.store import open_store
from batchmill.store.database import Database
from batchmill.store.sqlite import SqliteBackend


async def found_batches(store: Store, **query: object) -> list[str]:
    page = await store.batches.list("acme", replace(BatchQuery(9), **query))  # type: ignore[arg-type]
    return [batch.id.removeprefix("batch_") for batch in page.items]


async def found_files(store: Store, search: str, **query: object) -> list[str]:
    asked = replace(FileQuery(9, search=search), **query)  # type: ignore[arg-type]
    page = await store.files.list("acme", asked)
    return [file.id.removeprefix("file-batch-") for file in page.items]


async def create(store: Store, name: str, ds_name: str | None, age: int, account: str) -> None:
    metadata = None if ds_name is None else {"ds_name": ds_name, "other": "hidden"}
    batch = a_batch(name, metadata=metadata, created_at=T0 - age, account=account)
    await store.batches.create(batch, None, ())


@with_store
async def test_batches_are_found_by_name_or_id_in_any_case(store: Store) -> None:
    await create(store, "7f3a", "Nightly STRASSE", 0, "acme")
    await create(store, "9bcd", None, 1, "acme")
    await create(store, "aaaa", "has 9BcD in it", 2, "acme")
    await create(store, "bbbb", "Nightly 9bcd", 3, "other")
    assert await found_batches(store, search="9BCD") == ["9bcd", "aaaa"]
    assert await found_batches(store, search="straße") == ["7f3a"]
    assert await found_batches(store, search="batch_7F") == ["7f3a"]
    assert await found_batches(store, search="hidden") == []
    assert await found_batches(store, search="") == ["7f3a", "9bcd", "aaaa"]
    assert await found_batches(store, search=None) == ["7f3a", "9bcd", "aaaa"]


@with_store
async def test_what_is_searched_for_has_no_wildcards(store: Store) -> None:
    await create(store, "1", "100%_a/b", 0, "acme")
    await create(store, "2", "100xya\\b", 1, "acme")
    assert await found_batches(store, search="0%") == ["1"]
    assert await found_batches(store, search="_a") == ["1"]
    assert await found_batches(store, search="a\\b") == ["2"]
    assert await found_batches(store, search="%😀" * 100_000) == []


@with_store
async def test_a_search_and_a_name_must_both_hold(store: Store) -> None:
    await create(store, "1", "red apple", 0, "acme")
    await create(store, "2", "red pear", 1, "acme")
    assert await found_batches(store, search="red", name_contains="pear") == ["2"]
    assert await found_batches(store, search="pear", name_contains="apple") == []


@with_store
async def test_workspaces_and_models_filter_and_combine(store: Store) -> None:
    for n in range(6):
        batch = a_batch(str(n), workspace=f"ws_{n % 3}", created_at=T0 + n)
        if n == 5:
            await store.batches.create(batch, None, ())  # planned later: it has no model yet
        else:
            await planned(store, batch)
    assert await found_batches(store, workspaces=("ws_2",)) == ["5", "2"]
    assert await found_batches(store, workspaces=("ws_0", "ws_2")) == ["5", "3", "2", "0"]
    assert await found_batches(store, models=("qwen-plus",)) == ["4", "3", "2", "1", "0"]
    assert await found_batches(store, models=("qwen-plus", "x"), workspaces=("ws_2",)) == ["2"]
    assert await found_batches(store, models=("qwen",)) == []
    assert await found_batches(store, workspaces=("ws_",)) == []


@with_store
async def test_pages_of_a_search_tile_what_is_found(store: Store) -> None:
    for n in range(10):
        await create(store, str(n), "odd" if n % 2 else "even", -n, "acme")
    seen: list[str] = []
    query = BatchQuery(2, search="ODD")
    while True:
        page = await store.batches.list("acme", query)
        seen += [batch.id.removeprefix("batch_") for batch in page.items]
        if not page.has_more:
            break
        query = replace(query, after=page.items[-1].id)
    assert seen == ["9", "7", "5", "3", "1"]


@with_store
async def test_files_are_found_by_name_or_id_in_any_case(store: Store) -> None:
    add = store.files.add
    await add(a_file("abc1", filename="Übung GROẞ 100%.jsonl", created_at=T0), PLENTY)
    await add(a_file("def2", filename="ABC.csv", created_at=T0 - 1), PLENTY)
    await add(a_file("ghi3", filename="abc", account="other"), PLENTY)
    assert await found_files(store, "aBc") == ["abc1", "def2"]
    assert await found_files(store, "ÜBUNG gross") == ["abc1"]
    assert await found_files(store, "0%") == ["abc1"]
    assert await found_files(store, "_") == []
    assert await found_files(store, "DEF2") == ["def2"]
    assert await found_files(store, "") == ["abc1", "def2"]


@with_store
async def test_a_search_of_files_combines_with_the_rest(store: Store) -> None:
    for n in range(6):
        purpose = Purpose.BATCH_OUTPUT if n % 2 else Purpose.BATCH
        name = "blue" if n < 3 else "red"
        file = a_file(str(n), filename=name, created_at=T0 + n, purpose=purpose)
        await store.files.add(file, PLENTY)
    assert await found_files(store, "blue") == ["2", "1", "0"]
    assert await found_files(store, "BLUE", purpose="batch") == ["2", "0"]
    assert await found_files(store, "batch-5", purpose="batch_output") == ["5"]
    assert await found_files(store, "batch-5", purpose="batch") == []
    assert await found_files(store, "batch", descending=False, created_after=T0 + 4) == ["4", "5"]


def test_files_of_an_older_release_are_found_too(tmp_path: Path) -> None:
    """The migration folds the names that it finds, page by page."""
    path, count = tmp_path / "x.db", 1_001

    async def main() -> None:
        await make_old(path, count)
        store = await open_store(path)
        assert await found_files(store, "ünter 1000") == ["1000"]
        assert await found_files(store, "ünter 0.") == ["0"]
        all_of_them = await store.files.list("acme", FileQuery(5_000, search="ÜNTER"))
        assert len(all_of_them.items) == count
        await store.close()

    asyncio.run(main())


async def make_old(path: Path, count: int) -> None:
    """A database as it was at revision 0002, with ``count`` files."""
    database = Database(SqliteBackend(path))
    adding = text(
        "INSERT INTO files (id, account, purpose, filename, bytes, digest, blob, created_at) "
        "VALUES (:id, 'acme', 'batch', :name, 1, 'd', 'b', 1.0)"
    )
    rows = [{"id": f"file-batch-{n}", "name": f"Ünter {n}.jsonl"} for n in range(count)]
    async with database.opening(), database.write() as connection:
        await connection.run_sync(partial(upgrade_to, "0002"))
        await connection.execute(adding, rows)
    await database.close()
