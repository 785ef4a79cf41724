"""The ledger against the files: what was charged, and what the output lines say should be."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from engine_house import House
from sqlalchemy import select

from batchmill.domain.batch import Batch
from batchmill.domain.money import decimal_of
from batchmill.domain.pricing import ModelPrice, PriceTable, Tier
from batchmill.store import SqlStore
from batchmill.store.money import prices_of
from batchmill.store.tables import ledger, ledger_items, meters

MILLION = Decimal(1_000_000)

PRICES = PriceTable(
    "first",
    (
        ModelPrice(
            "m",
            "USD",
            (
                Tier(Decimal("0.8"), Decimal(2), Decimal(8), up_to=10),
                Tier(Decimal("2.4"), Decimal(20), Decimal(24)),
            ),
        ),
        ModelPrice(
            "n", "USD", (Tier(Decimal("1.000001"), Decimal("3.5")),), discount=Decimal("0.3")
        ),
    ),
)
DEARER = PriceTable("second", (ModelPrice("m", "USD", (Tier(Decimal(1000), Decimal(1000)),)),))


@dataclass(frozen=True)
class Bill:
    """What one batch was charged, read from the database as it stands."""

    price: Decimal
    list_price: Decimal
    calls: int
    failures: int
    input: int
    output: int
    entries: int
    open: int


async def bill_of(house: House, batch: Batch) -> Bill:
    """The ledger's rows of a batch, after checking that their items sum to them."""
    store = house.rows
    assert isinstance(store, SqlStore)
    async with store._database.read() as connection:

        async def rows(table: Any) -> Sequence[Mapping[str, Any]]:
            statement = select(table).where(table.c.batch_id == batch.id)
            return [dict(row) for row in (await connection.execute(statement)).mappings()]

        entries, items, running = await rows(ledger), await rows(ledger_items), await rows(meters)
    by_entry: dict[tuple[int, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for item in items:
        prices = prices_of(item)  # type: ignore[arg-type]
        for place in (0, 1):
            by_entry[_entry_of(item)][place] += prices[place]
    for entry in entries:
        prices = prices_of(entry)  # type: ignore[arg-type]
        assert tuple(by_entry[_entry_of(entry)]) == prices
        assert entry["price_version"] == batch.price_version
        assert (entry["account"], entry["workspace"]) == (batch.account, batch.workspace)
    totals = [prices_of(entry) for entry in entries]  # type: ignore[arg-type]
    return Bill(
        price=sum((decimal_of(price) for _, price in totals), Decimal(0)),
        list_price=sum((decimal_of(price) for price, _ in totals), Decimal(0)),
        calls=sum(entry["calls"] for entry in entries),
        failures=sum(entry["failures"] for entry in entries),
        input=sum(entry["input_tokens"] for entry in entries),
        output=sum(entry["output_tokens"] for entry in entries),
        entries=len(entries),
        open=len(running),
    )


def _entry_of(row: Mapping[str, Any]) -> tuple[int, str, str]:
    return row["position"], row["model"], row["region"]


def by_the_book(
    table: PriceTable, output: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]
) -> tuple[Decimal, Decimal]:
    """List price and price of output lines: tokens x price x what is left, line by line."""
    asked = {line["custom_id"]: line["body"] for line in lines}
    listed = charged = Decimal(0)
    for line in output:
        body, usage = asked[line["custom_id"]], line["response"]["body"]["usage"]
        model = next(one for one in table.prices if one.model == body["model"])
        used = usage["prompt_tokens"]
        tier = next(one for one in model.tiers if one.up_to is None or used <= one.up_to)
        details = usage.get("completion_tokens_details") or {}
        thinks = body.get("enable_thinking") is True or details.get("reasoning_tokens", 0) > 0
        out = tier.thinking_output if thinks and tier.thinking_output is not None else tier.output
        price = (used * tier.input + usage["completion_tokens"] * out) / MILLION
        listed += price
        charged += price * (1 - (table.discount if model.discount is None else model.discount))
    return listed, charged


async def check_bill(
    house: House, batch: Batch, lines: Sequence[Mapping[str, Any]], table: PriceTable = PRICES
) -> Bill:
    """The ledger and the batch say what the output file says, to the last digit."""
    output, _ = await house.results(batch)
    bill = await bill_of(house, batch)
    listed, charged = by_the_book(table, output, lines)
    assert (bill.list_price, bill.price) == (listed, charged)
    assert (decimal_of(batch.list_price), decimal_of(batch.price)) == (listed, charged)
    assert (bill.input, bill.output) == (batch.usage.input, batch.usage.output)
    assert bill.calls - bill.failures == len(output)
    assert bill.open == 0
    return bill
