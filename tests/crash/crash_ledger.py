"""The bill of a batch that went through crashes, held against its output file to the last digit.

Prices are small and odd, in two tiers, so that no two mistakes cancel out.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from crash_stores import Stores

PRICES = """
currency = "USD"
batch_discount = "0.377"
[[prices]]
model = "m"
[[prices.tiers]]
up_to = 6
input = "0.000101"
output = "3.000007"
[[prices.tiers]]
input = "17.313131"
output = "0.70707"
"""
DEARER = PRICES.replace("17.313131", "999.9").replace("0.000101", "888.8")

_AMOUNTS = ("list_millionths", "list_rest", "price_millionths", "price_rest")
_MILLION = Decimal(1_000_000)
_SHARE = 1 - Decimal("0.377")
_TIERS = (
    (6, Decimal("0.000101"), Decimal("3.000007")),
    (None, Decimal("17.313131"), Decimal("0.70707")),
)


def line_price(usage: dict[str, int]) -> Decimal:
    """What a line costs outside a batch, by ``PRICES``."""
    used, made = usage["prompt_tokens"], usage["completion_tokens"]
    _, of_input, of_output = next(t for t in _TIERS if t[0] is None or used <= t[0])
    return (used * of_input + made * of_output) / _MILLION


def check_ledger(stores: Stores, batch: dict[str, Any], good: Sequence[dict[str, Any]]) -> None:
    """The ledger, its items and the batch object all say what the output lines cost."""
    listed = sum((line_price(line["response"]["body"]["usage"]) for line in good), Decimal(0))
    entries = _sums(stores, "ledger", batch["id"])
    items = _sums(stores, "ledger_items", batch["id"])
    lines = stores.rows("ledger", ["calls", "failures"], batch["id"])
    assert entries == items == (listed, listed * _SHARE)
    cost = batch["batchmill"]["cost"]
    assert (Decimal(cost["list_price"]), Decimal(cost["price"])) == entries
    assert (cost["currency"], cost["is_final"]) == ("USD", True)
    assert sum(calls - failures for calls, failures in lines) == len(good)
    assert not stores.rows("meters", ["batch_id"], batch["id"]), "nothing is left open"


def _sums(stores: Stores, table: str, batch_id: str) -> tuple[Decimal, Decimal]:
    exact = [
        [Decimal(whole).scaleb(-6) + Decimal(rest).scaleb(-15) for whole, rest in (r[:2], r[2:])]
        for r in stores.rows(table, _AMOUNTS, batch_id)
    ]
    return (
        sum((row[0] for row in exact), Decimal(0)),
        sum((row[1] for row in exact), Decimal(0)),
    )
