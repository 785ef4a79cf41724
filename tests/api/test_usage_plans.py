"""SQLite's plans for usage and spending: by an index, never through the whole ledger."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select
from sqlalchemy.dialects import postgresql
from usage_rows import NOV, of_acme

from batchmill.domain.periods import Bucket
from batchmill.ports import Dimension, Place, UsageQuery
from batchmill.store import open_store
from batchmill.store.usage_sums import (
    busy_spans,
    output_sums,
    spending_sums,
    spent_sums,
    usage_sums,
)

_ALL = UsageQuery(of_acme(), Bucket.MONTH, tuple(Dimension))
_NEXT = UsageQuery(of_acme(), Bucket.DAY, (), after=Place(Bucket.DAY.number_of(NOV), ("acme",)))
_EVERYONE = UsageQuery(of_acme(account=None), Bucket.DAY)
STATEMENTS: dict[str, Select[Any]] = {
    "usage": usage_sums(_ALL),
    "the next page": usage_sums(_NEXT),
    "spending": spending_sums(_ALL),
    "spending of everyone": spending_sums(_EVERYONE),
    "spans": busy_spans(of_acme()),
    "what was spent": spent_sums(of_acme()),
    "mean output": output_sums("qwen-plus", "acme", NOV),
    "mean output of everyone": output_sums("qwen-plus", None, NOV),
}
TABLES = ("ledger", "ledger_items", "meters", "batches", "workspaces", "api_keys")


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_no_table_is_read_whole(name: str, tmp_path: Path) -> None:
    """Rows are found by account and hour, and what belongs to them by its key."""

    async def main() -> list[str]:
        store = await open_store(tmp_path / "x.db")
        engine = store._database._engine
        compiled = STATEMENTS[name].compile(engine, compile_kwargs={"literal_binds": True})
        async with store._database.read() as connection:
            rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")
            plan = [row[-1] for row in rows]
        await store.close()
        return plan

    plan = asyncio.run(main())
    assert [step for step in plan if step.startswith("SCAN") and step.split()[1] in TABLES] == []
    assert any("ix_ledger_" in step for step in plan), plan


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_postgresql_takes_the_statement(name: str) -> None:
    """It is written without a word that only one database knows."""
    text = str(STATEMENTS[name].compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert "strftime" not in text
    assert "FLOOR" not in text.upper()
