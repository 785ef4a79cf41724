"""SQLite's plans for the lists and look-ups: by an index, never through a whole table."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ClauseElement, insert, select
from store_cases import T0, a_batch, a_file, a_tally, some_shards

from batchmill.domain.batch import Status
from batchmill.ports import BatchQuery, FileQuery
from batchmill.store import SqlStore, open_store
from batchmill.store.batch_rows import new_row
from batchmill.store.batches import list_statement as batch_list
from batchmill.store.batches import with_sums
from batchmill.store.file_uses import uses_statement
from batchmill.store.files import insert_files
from batchmill.store.files import list_statement as file_list
from batchmill.store.shards import insert_shards
from batchmill.store.tables import UNFINISHED, batches

COUNT = 10_000
ONES = 1_111
"""How many numbers below it begin with a one."""


async def plan_of(store: SqlStore, statement: ClauseElement) -> list[str]:
    engine = store._database._engine
    compiled = statement.compile(engine, compile_kwargs={"literal_binds": True})
    async with store._database.read() as connection:
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}".replace("%", "%%"))
        return [row[-1] for row in rows]


def scanned(plan: list[str]) -> list[str]:
    """The tables read whole. A page, its sums and prices are results on their way, not tables."""
    scans = [step.split()[1] for step in plan if step.startswith("SCAN")]
    return [name for name in scans if name not in ("page", "sums", "prices", "spent")]


BATCH_LISTS: dict[str, BatchQuery] = {
    "newest first": BatchQuery(20),
    "the last 30 days": BatchQuery(20, created_after=T0),
    "by name": BatchQuery(20, name_contains="x"),
    "by status": BatchQuery(20, statuses=(Status.FAILED, Status.COMPLETED), created_after=T0),
    "by input": BatchQuery(20, input_file_ids=("file-batch-1", "file-batch-2")),
    "by a part of the name or id": BatchQuery(20, search="x", created_after=T0),
    "of a workspace": BatchQuery(20, workspaces=("ws_1",), created_after=T0),
    "of workspaces and models": BatchQuery(20, workspaces=("ws_1", "ws_2"), models=("a", "b")),
    "by all at once": BatchQuery(
        20, search="x", workspaces=("ws_1",), models=("a",), statuses=(Status.FAILED,)
    ),
}
# Where few rows are expected they may be sorted.
SORTED = ("by input", "by status", "of workspaces and models", "by all at once")
FILE_LISTS: dict[str, FileQuery] = {
    "newest first": FileQuery(20),
    "oldest first": FileQuery(20, descending=False),
    "of a purpose": FileQuery(20, purpose="batch"),
    "of a time": FileQuery(20, created_after=T0, created_before=T0 + 5),
    "by a part of the name or id": FileQuery(20, search="x", purpose="batch"),
}


def assert_plan(path: Path, statement: ClauseElement, *, sorts_few: bool = False) -> None:
    async def main() -> None:
        store = await open_store(path / "x.db")
        plan = await plan_of(store, statement)
        await store.close()
        assert scanned(plan) == [], plan
        if not sorts_few:
            assert not [step for step in plan if "TEMP B-TREE FOR ORDER BY" in step], plan

    asyncio.run(main())


@pytest.mark.parametrize("name", sorted(BATCH_LISTS))
def test_a_list_of_batches_reads_no_whole_table(name: str, tmp_path: Path) -> None:
    """The page is found by an index; only the page itself is sorted and summed."""
    statement = batch_list("acme", BATCH_LISTS[name])
    assert_plan(tmp_path, with_sums(statement, descending=True), sorts_few=True)
    assert_plan(tmp_path, statement, sorts_few=name in SORTED)


@pytest.mark.parametrize("name", sorted(FILE_LISTS))
def test_a_list_of_files_reads_no_whole_table(name: str, tmp_path: Path) -> None:
    """Nor does it sort: the index has the order."""
    assert_plan(tmp_path, file_list("acme", FILE_LISTS[name]))


def test_the_uses_of_files_are_found_by_the_files(tmp_path: Path) -> None:
    """As input, output and error file each by an index of its own."""
    statement = uses_statement("acme", ["file-batch-1", "file-batch-2"], most=20)

    async def main() -> list[str]:
        store = await open_store(tmp_path / "x.db")
        plan = await plan_of(store, statement)
        await store.close()
        return plan

    plan = asyncio.run(main())
    assert [name for name in scanned(plan) if name in ("batches", "files")] == [], plan
    for index in ("ix_batches_input", "ix_batches_output", "ix_batches_error"):
        assert any(f"{index} (account=? AND" in step for step in plan), plan


@pytest.mark.parametrize("name", sorted(BATCH_LISTS))
def test_only_the_batches_of_the_page_are_summed(name: str, tmp_path: Path) -> None:
    """The page is made once, cut to its limit, before any shard is looked at."""

    async def main() -> list[str]:
        store = await open_store(tmp_path / "x.db")
        statement = with_sums(batch_list("acme", BATCH_LISTS[name]), descending=True)
        plan = await plan_of(store, statement)
        await store.close()
        return plan

    plan = asyncio.run(main())
    assert plan.count("MATERIALIZE page") == 1, plan
    assert plan.index("MATERIALIZE page") < plan.index("MATERIALIZE sums")
    assert "SEARCH shards USING PRIMARY KEY (batch_id=?)" in plan


def test_the_engine_finds_unfinished_batches_by_an_index(tmp_path: Path) -> None:
    """It asks again and again, however many batches have ended."""
    unfinished = select(batches).where(batches.c.status.in_(UNFINISHED))
    assert_plan(tmp_path, with_sums(unfinished, descending=False), sorts_few=True)


def test_ten_thousand_of_each_are_listed_to_the_end(tmp_path: Path) -> None:
    """Page by page, with running batches among them."""

    async def main() -> None:
        store = await open_store(tmp_path / "x.db")
        await fill(store)
        assert await walk(store.batches.list, BatchQuery(1_000)) == COUNT
        assert await walk(store.files.list, FileQuery(2_000)) == COUNT
        assert await walk(store.batches.list, BatchQuery(1_000, search="batch_1")) == ONES
        assert await walk(store.files.list, FileQuery(2_000, search="batch-1")) == ONES
        newest = (await store.batches.list("acme", BatchQuery(1))).items[0]
        assert (newest.counts.total, newest.counts.completed) == (30, 5)
        await store.close()

    asyncio.run(main())


async def fill(store: SqlStore) -> None:
    ended = [a_batch(str(n), status=Status.COMPLETED, created_at=T0 + n) for n in range(COUNT - 1)]
    newest = a_batch("newest", status=Status.IN_PROGRESS, created_at=T0 + COUNT)
    async with store._database.write() as connection:
        await insert_files(connection, [a_file(str(n)) for n in range(COUNT)])
        await connection.execute(insert(batches), [new_row(batch) for batch in [*ended, newest]])
        await connection.run_sync(insert_shards, some_shards(newest, 3))
    claimed = await store.shards.claim(await store.shards.of_batch(newest.id))
    await store.shards.tally([a_tally(claimed[0], 5)])


async def walk(listing: Any, query: Any) -> int:
    seen: set[str] = set()
    more = True
    while more:
        page = await listing("acme", query)
        seen |= {item.id for item in page.items}
        query, more = replace(query, after=page.items[-1].id), page.has_more
    return len(seen)
