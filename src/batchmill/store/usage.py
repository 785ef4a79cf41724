"""Usage and spending, read from sums: what a row holds, and pages of them.

The statements live in ``usage_sums``. Amounts leave here in units, joined from
their two columns; whole numbers are made ints, since PostgreSQL sums to a Decimal.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, Select

from batchmill.domain.pricing import Item
from batchmill.ports import (
    Busy,
    Group,
    Page,
    Place,
    SpendingLine,
    Spent,
    UsageFilter,
    UsageLine,
    UsageQuery,
)
from batchmill.store.database import Database
from batchmill.store.money import prices_of
from batchmill.store.paging import page_of
from batchmill.store.tokens import usage_of
from batchmill.store.usage_sums import (
    BILLED,
    RUNNING,
    busy_spans,
    output_sums,
    place_names,
    spending_sums,
    spent_sums,
    usage_sums,
)


class SqlUsage:
    """See the port UsageStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def usage(self, query: UsageQuery) -> Page[UsageLine]:
        """Lines in the order of their places, none where nothing was used."""
        rows = await self._rows(usage_sums(query))
        return page_of([_usage_line(row, query) for row in rows], query.limit)

    async def spending(self, query: UsageQuery) -> Page[SpendingLine]:
        """Lines in the order of their places, an item a line."""
        rows = await self._rows(spending_sums(query))
        return page_of([_spending_line(row, query) for row in rows], query.limit)

    async def busy(self, where: UsageFilter) -> Sequence[Busy]:
        """Every batch and model that anything was used by."""
        rows = await self._rows(busy_spans(where))
        return [
            Busy(row["model"], row["workspace"], row["begun_at"], row["last_at"]) for row in rows
        ]

    async def spent(self, where: UsageFilter) -> Sequence[Spent]:
        """What was spent, by key, workspace, account and currency."""
        sums: dict[tuple[str, str, str | None, str], list[int]] = {}
        for row in await self._rows(spent_sums(where)):
            whose = (row["account"], row["workspace"], row["key_id"], row["currency"])
            sums.setdefault(whose, [0, 0])[int(row[RUNNING])] += prices_of(row)[1]
        return [Spent(*whose, charged, running) for whose, (charged, running) in sums.items()]

    async def mean_output(self, model: str, account: str | None, since: float) -> float | None:
        """Output tokens of a successful line, on average; None where there was none."""
        (row,) = await self._rows(output_sums(model, account, since))
        lines = int(row["lines"] or 0)
        return int(row["tokens"]) / lines if lines else None

    async def _rows(self, statement: Select[Any]) -> Sequence[RowMapping]:
        async with self._database.read() as connection:
            found = await connection.execute(statement)
        return list(found.mappings())


def _usage_line(row: RowMapping, query: UsageQuery) -> UsageLine:
    return UsageLine(
        group=_group(row, query),
        place=_place(row, place_names(query)),
        calls=int(row["calls"]),
        failures=int(row["failures"]),
        rejections=int(row["rejections"]),
        millis=int(row["millis"]),
        usage=usage_of(row),
        embedding=int(row["embedding_tokens"]),
    )


def _spending_line(row: RowMapping, query: UsageQuery) -> SpendingLine:
    list_price, price = prices_of(row)
    return SpendingLine(
        group=_group(row, query),
        place=_place(row, place_names(query, *BILLED)),
        item=Item(row["item"]),
        tokens=int(row["tokens"]),
        currency=row["currency"] or None,
        list_price=list_price,
        price=price,
    )


def _group(row: RowMapping, query: UsageQuery) -> Group:
    return Group(
        bucket=query.bucket,
        period=int(row["period"]),
        account=row["account"],
        model=row.get("model"),
        workspace=row.get("workspace"),
        workspace_name=row.get("workspace_name"),
        key=row.get("key_id") or None,
        key_name=row.get("key_name"),
        batch=row.get("batch_id"),
        region=row.get("region") or None,
    )


def _place(row: RowMapping, names: Sequence[str]) -> Place:
    return Place(int(row["period"]), tuple(row[name] for name in names))
