"""Sums over the ledger: exact, by whatever they are told apart, page by page."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import astuple, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from usage_rows import DAY, DEC, HOUR, NOV, UNIT, Row, of_acme, some_rows, write_names, write_rows

from batchmill.domain.ledger import EMBEDDINGS
from batchmill.domain.periods import Bucket
from batchmill.domain.pricing import Item
from batchmill.domain.usage import ZERO, Usage
from batchmill.ports import Dimension, SpendingLine, UsageLine, UsageQuery
from batchmill.store import SqlStore, open_store

ALL = tuple(Dimension)
Test = Callable[[SqlStore], Coroutine[Any, Any, None]]


def with_rows(rows: Sequence[Row], test: Test) -> None:
    """Run a test on a store that holds the rows, and names."""

    async def main(folder: str) -> None:
        store = await open_store(Path(folder) / "x.db")
        try:
            await write_names(store)
            await write_rows(store, rows)
            await test(store)
        finally:
            await store.close()

    with TemporaryDirectory() as folder:
        asyncio.run(main(folder))


async def usage(store: SqlStore, **asked: Any) -> list[UsageLine]:
    query = UsageQuery(**{"where": of_acme(), "bucket": Bucket.MONTH, **asked})
    return list((await store.usage.usage(query)).items)


async def spending(store: SqlStore, **asked: Any) -> list[SpendingLine]:
    query = UsageQuery(**{"where": of_acme(), "bucket": Bucket.MONTH, **asked})
    return list((await store.usage.spending(query)).items)


GROUPINGS = st.lists(st.sampled_from(ALL), unique=True).map(tuple)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=some_rows(), bucket=st.sampled_from(Bucket), group_by=GROUPINGS)
def test_lines_sum_to_the_rows(
    rows: list[Row], bucket: Bucket, group_by: tuple[Dimension, ...]
) -> None:
    """However they are divided: nothing is lost, doubled or rounded, and pages join."""

    async def test(store: SqlStore) -> None:
        asked = UsageQuery(of_acme(0, DEC * 2), bucket, group_by)
        used = await usage(store, where=asked.where, bucket=bucket, group_by=group_by)
        assert sum(line.calls for line in used) == sum(row.calls for row in rows)
        assert sum(line.failures for line in used) == sum(row.failures for row in rows)
        assert sum((x.usage for x in used), ZERO) == sum((row.usage for row in rows), ZERO)
        billed = await spending(store, where=asked.where, bucket=bucket, group_by=group_by)
        closed = [row for row in rows if not row.running]
        for item, currency in product(Item, ["USD", "CNY", None]):
            found = [one for one in billed if (one.item, one.currency) == (item, currency)]
            expected = [
                charge
                for row in closed
                for charge in row.items
                if (charge[0], row.currency) == (item, currency)
            ]
            assert sum(one.tokens for one in found) == sum(one[1] for one in expected)
            assert sum(one.list_price for one in found) == sum(one[2] for one in expected)
            assert sum(one.price for one in found) == sum(one[3] for one in expected)
        assert await paged(store.usage.usage, asked) == used
        assert await paged(store.usage.spending, asked) == billed

    with_rows(rows, test)


async def paged(listing: Any, query: UsageQuery) -> list[Any]:
    """The same lines, two at a time."""
    lines: list[Any] = []
    after = None
    while True:
        page = await listing(replace(query, limit=2, after=after))
        assert len(page.items) <= 2
        lines += page.items
        if not page.has_more:
            return lines
        assert len(page.items) == 2
        after = page.items[-1].place


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=some_rows())
def test_what_was_spent_is_what_the_rows_cost(rows: list[Row]) -> None:
    """Charged and running apart, by key and currency; what has no price is left out."""

    async def test(store: SqlStore) -> None:
        spent = await store.usage.spent(of_acme(0, DEC * 2))
        assert len({(s.workspace, s.key, s.currency) for s in spent}) == len(spent)
        for currency in ("USD", "CNY"):
            mine = [one for one in spent if one.currency == currency]
            for running in (False, True):
                paid = [r for r in rows if r.currency == currency and r.running is running]
                found = sum(one.running if running else one.charged for one in mine)
                assert found == sum(row.price for row in paid)
        assert {one.currency for one in spent} <= {"USD", "CNY"}

    with_rows(rows, test)


def test_a_month_begins_and_ends_on_the_instant() -> None:
    """The first instant of the month is in it, that of the next one is not."""
    rows = [
        Row(position=n, at=at, calls=10**n)
        for n, at in enumerate((NOV - 0.001, NOV, DEC - 0.001, DEC))
    ]

    async def test(store: SqlStore) -> None:
        (line,) = await usage(store)
        assert line.calls == 110
        (line,) = await usage(store, where=of_acme(NOV + 0.001, DEC))
        assert line.calls == 100
        assert [one.calls for one in await usage(store, where=of_acme(0, DEC * 2))] == [
            1,
            110,
            1000,
        ]
        (bill,) = await spending(store)
        assert bill.tokens == 200

    with_rows(rows, test)


def test_lines_are_named_and_in_order() -> None:
    """By period first, then by the names that tell them apart; what is not asked for is None."""
    rows = [
        Row(batch="b1", at=NOV + DAY, model="b"),
        Row(batch="b1", at=NOV + DAY, model="a", position=1),
        Row(batch="b2", at=NOV, model="b", workspace="ws_2", key=None, region="eu"),
    ]

    async def test(store: SqlStore) -> None:
        lines = await usage(store, bucket=Bucket.DAY, group_by=ALL)
        first, second, third = (line.group for line in lines)
        assert astuple(first)[2:] == ("acme", "b", "ws_2", "Sales", None, None, "b2", "eu")
        named = ("acme", "a", "ws_1", "Research", "key_1", "robot 1", "b1", None)
        assert astuple(second)[2:] == named
        assert (first.period + 1, second.model, third.model) == (second.period, "a", "b")
        (line,) = await usage(store)
        assert astuple(line.group)[3:] == (None,) * 7
        assert [one.group.model for one in await usage(store, group_by=(Dimension.MODEL,))] == [
            "a",
            "b",
        ]

    with_rows(rows, test)


@pytest.mark.parametrize(
    ("asked", "calls"),
    [
        ({}, 111),
        ({"models": ("a",)}, 101),
        ({"models": ("a", "b")}, 111),
        ({"models": ("c",)}, 0),
        ({"workspaces": ("ws_2",)}, 100),
        ({"keys": ("key_1",)}, 11),
        ({"batches": ("b2", "b3")}, 110),
        ({"models": ("a",), "keys": ("key_1",)}, 1),
        ({"account": "rival"}, 1000),
        ({"account": None}, 1111),
    ],
)
def test_filters_choose_what_is_summed(asked: dict[str, Any], calls: int) -> None:
    """They combine with AND, and another account is never among what they choose."""
    rows = [
        Row(batch="b1", model="a", calls=1),
        Row(batch="b2", model="b", calls=10),
        Row(batch="b3", model="a", calls=100, workspace="ws_2", key="key_2", running=True),
        Row(batch="b4", model="a", calls=1000, account="rival", workspace="ws_3", key="key_3"),
    ]

    async def test(store: SqlStore) -> None:
        lines = await usage(store, where=of_acme(**asked))
        assert sum(line.calls for line in lines) == calls
        closed = list(await spending(store, where=of_acme(**asked)))
        assert bool(closed) == (calls not in (0, 100))

    with_rows(rows, test)


def test_embedding_tokens_are_those_of_the_embedding_endpoint() -> None:
    """They are a part of the input."""
    rows = [
        Row(batch="b1", usage=Usage(100, 5)),
        Row(batch="b2", usage=Usage(30, 0), endpoint=EMBEDDINGS),
        Row(batch="b3", usage=Usage(7, 0), endpoint=EMBEDDINGS, running=True),
    ]

    async def test(store: SqlStore) -> None:
        (line,) = await usage(store)
        assert (line.usage.input, line.embedding) == (137, 37)

    with_rows(rows, test)


def test_currencies_are_never_summed() -> None:
    """A line is of one currency, or of none."""
    rows = [
        Row(position=n, currency=currency, items=((Item.INPUT, 1, 2 * UNIT, UNIT),))
        for n, currency in enumerate(["USD", "CNY", None, "USD"])
    ]

    async def test(store: SqlStore) -> None:
        found = [(one.currency, one.price) for one in await spending(store)]
        assert found == [(None, UNIT), ("CNY", UNIT), ("USD", 2 * UNIT)]

    with_rows(rows, test)


def test_a_batch_is_busy_from_its_begin_to_its_last_word() -> None:
    """Closed and running shards together, each model of a batch for itself."""
    rows = [
        Row(batch="b1", at=NOV + HOUR),
        Row(batch="b1", position=1, at=NOV + 2 * HOUR, running=True),
        Row(batch="b1", position=2, at=NOV + 3 * HOUR, model="other"),
    ]

    async def test(store: SqlStore) -> None:
        spans = {one.model: one for one in await store.usage.busy(of_acme())}
        begin = NOV + HOUR - 60
        assert (spans["qwen-plus"].begun_at, spans["qwen-plus"].last_at) == (begin, NOV + 2 * HOUR)
        assert (spans["other"].begun_at, spans["other"].last_at) == (begin, NOV + 3 * HOUR)

    with_rows(rows, test)


def test_the_mean_output_is_of_successful_lines_of_late() -> None:
    """Of one account or of all; without a successful line there is none."""
    rows = [
        Row(batch="b1", calls=4, failures=2, usage=Usage(0, 30), at=NOV + 10),
        Row(batch="b2", calls=1, failures=0, usage=Usage(0, 90), account="rival", at=NOV + 10),
        Row(batch="b3", calls=9, failures=9, usage=ZERO, model="broken", at=NOV + 10),
    ]

    async def test(store: SqlStore) -> None:
        mean = store.usage.mean_output
        assert await mean("qwen-plus", "acme", NOV) == 15.0
        assert await mean("qwen-plus", None, NOV) == 40.0
        assert await mean("qwen-plus", "acme", NOV + 10) == 15.0
        assert await mean("qwen-plus", "acme", NOV + 10.5) is None
        assert await mean("broken", "acme", NOV) is None
        assert await mean("unknown", None, NOV) is None

    with_rows(rows, test)
