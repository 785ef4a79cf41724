"""A ledger written by hand: batches, entries and meters with as few words as possible."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import insert

from batchmill.domain.batch import Batch, Status
from batchmill.domain.pricing import Item
from batchmill.domain.usage import Usage
from batchmill.ports import UsageFilter
from batchmill.store import SqlStore
from batchmill.store.batch_rows import new_row
from batchmill.store.money import columns_of_prices
from batchmill.store.tables import (
    accounts,
    api_keys,
    batches,
    ledger,
    ledger_items,
    meters,
    workspaces,
)
from batchmill.store.tokens import columns_of

NOV = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
DEC = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
HOUR, DAY = 3600.0, 86_400.0
USED = Usage(100, 50, 20, 5)
UNIT = 10**15


@dataclass(frozen=True)
class Row:
    """One row of the ledger, or of the meters where its shard runs."""

    batch: str = "batch_1"
    position: int = 0
    model: str = "qwen-plus"
    account: str = "acme"
    workspace: str = "ws_1"
    key: str | None = "key_1"
    at: float = NOV
    currency: str | None = "USD"
    calls: int = 10
    failures: int = 1
    rejections: int = 2
    millis: int = 5_000
    usage: Usage = USED
    items: tuple[tuple[Item, int, int, int], ...] = ((Item.INPUT, 100, 4 * UNIT, 2 * UNIT),)
    running: bool = False
    endpoint: str = "/v1/chat/completions"
    region: str = ""

    @property
    def price(self) -> int:
        return sum(item[3] for item in self.items)


def of_acme(since: float = NOV, until: float = DEC, **more: Any) -> UsageFilter:
    """What a test asks for: November of one account."""
    return replace(UsageFilter("acme", since, until), **more)


async def write_rows(store: SqlStore, rows: Sequence[Row]) -> None:
    """Store the rows, and the batches that they are of."""
    first = {row.batch: row for row in reversed(rows)}
    async with store._database.write() as connection:
        await connection.execute(insert(batches), [_batch_row(row) for row in first.values()])
        for table, running in ((ledger, False), (meters, True)):
            chosen = [_entry_row(row) for row in rows if row.running is running]
            if chosen:
                await connection.execute(insert(table), chosen)
        items = [item for row in rows if not row.running for item in _item_rows(row)]
        if items:
            await connection.execute(insert(ledger_items), items)


async def write_names(store: SqlStore) -> None:
    """The accounts acme and rival, with rooms and keys that have names."""
    shared = {"account": "acme", "created_at": NOV}
    key = {"role": "member", "digest": "d", **shared}
    async with store._database.write() as connection:
        new = [{"id": one, "name": one, "created_at": NOV} for one in ("acme", "rival")]
        await connection.execute(insert(accounts), new)
        rooms = [("ws_1", "Research", 1), ("ws_2", "Sales", 0)]
        await connection.execute(
            insert(workspaces),
            [{"id": i, "name": name, "is_default": main, **shared} for i, name, main in rooms],
        )
        await connection.execute(
            insert(api_keys),
            [
                {"id": f"key_{n}", "name": f"robot {n}", "prefix": f"p{n}", "workspace": ws, **key}
                for n, ws in ((1, "ws_1"), (2, "ws_2"))
            ],
        )


def _batch_row(row: Row) -> dict[str, Any]:
    batch = Batch(
        id=row.batch,
        account=row.account,
        input_file_id="file-batch-1",
        endpoint=row.endpoint,
        completion_window="24h",
        status=Status.IN_PROGRESS,
        created_at=row.at - 120,
        expires_at=row.at + DAY,
        in_progress_at=row.at - 60,
    )
    payer = {"workspace": row.workspace, "key_id": row.key, "price_version": "1"}
    return {**new_row(batch), **payer}


def _entry_row(row: Row) -> dict[str, Any]:
    return {
        "batch_id": row.batch,
        "position": row.position,
        "model": row.model,
        "region": row.region,
        "account": row.account,
        "workspace": row.workspace,
        "key_id": row.key,
        "at": row.at,
        "hour": int(row.at // 3600),
        "price_version": "1",
        "currency": row.currency,
        "calls": row.calls,
        "failures": row.failures,
        "rejections": row.rejections,
        "millis": row.millis,
        **columns_of(row.usage),
        **columns_of_prices(sum(item[2] for item in row.items), row.price),
    }


def _item_rows(row: Row) -> list[dict[str, Any]]:
    return [
        {
            "batch_id": row.batch,
            "position": row.position,
            "model": row.model,
            "region": row.region,
            "item": item.value,
            "tokens": tokens,
            **columns_of_prices(list_price, price),
        }
        for item, tokens, list_price, price in row.items
    ]


@st.composite
def some_rows(draw: st.DrawFn) -> list[Row]:
    """Rows over a quarter, of a few models, keys, rooms and currencies, large and small.

    Some shards were served by two regions.
    """
    count = st.integers(0, 10**9)
    money = st.one_of(st.integers(0, 10**6), st.integers(0, 10**26))
    rows = []
    for position in range(draw(st.integers(1, 12))):
        chosen = draw(st.lists(st.sampled_from(list(Item)), unique=True, max_size=3))
        items = tuple((item, draw(count), draw(money), draw(money)) for item in chosen)
        room = draw(st.integers(1, 2))
        rows.append(
            Row(
                batch=f"batch_{draw(st.integers(1, 3))}",
                position=position,
                model=draw(st.sampled_from(["qwen-plus", "qwen-max", "嵌入"])),
                workspace=f"ws_{room}",
                key=draw(st.sampled_from([None, f"key_{room}"])),
                at=NOV + draw(st.integers(-31 * 86_400, 61 * 86_400)) + 0.25,
                currency=draw(st.sampled_from(["USD", "CNY", None])),
                calls=draw(count),
                failures=draw(count),
                usage=Usage(*(draw(count) for _ in range(4))),
                items=items,
                running=draw(st.booleans()),
                region=draw(st.sampled_from(["", "eu"])),
            )
        )
        if draw(st.booleans()):
            rows.append(replace(rows[-1], region="us", calls=draw(count)))
    return rows
