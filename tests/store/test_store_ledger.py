"""The ledger: written once with the shard, whatever comes late or twice."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from store_cases import T0, a_batch, a_tally, get, planned, with_store

from batchmill.domain.batch import Event, advance
from batchmill.domain.caps import Cap, Scope
from batchmill.domain.ledger import Charge, Entry, Payer
from batchmill.domain.periods import LATEST
from batchmill.domain.pricing import Item
from batchmill.domain.shards import Shard
from batchmill.domain.usage import Usage
from batchmill.ports import BatchSpent, ShardTally, Store, UsageFilter
from batchmill.store import SqlStore
from batchmill.store.money import prices_of
from batchmill.store.tables import ledger, ledger_items, meters

CAP = Cap("acme", Scope.ACCOUNT, "acme", "USD", 1)
PAYER = Payer("acme", "ws_default", "key_1")


def an_entry(shard: Shard, price: int = 7, model: str = "qwen-plus", calls: int = 10) -> Entry:
    usage = Usage(30, 20, 5, 2)
    charges = (
        Charge(Item.INPUT, 30, 2 * price, price),
        Charge(Item.OUTPUT, 20, 10**12, 5 * 10**11),
    )
    return Entry(
        shard.batch_id, shard.index, model, PAYER, "v1", "USD", calls, 1, 2, 4, 99, usage, charges
    )


def told(shard: Shard, *entries: Entry, at: float = T0) -> ShardTally:
    return replace(a_tally(shard, 9, 1), entries=entries, at=at)


async def rows(store: Store, table: Any) -> Sequence[Any]:
    assert isinstance(store, SqlStore)
    async with store._database.read() as connection:
        return [dict(row) for row in (await connection.execute(select(table))).mappings()]


async def running(store: Store, count: int = 1) -> Sequence[Shard]:
    batch = await planned(store, a_batch(), shards=count)
    return await store.shards.claim(await store.shards.of_batch(batch.id))


@with_store
async def test_closing_a_shard_writes_its_entries_and_forgets_its_meters(store: Store) -> None:
    [shard] = await running(store)
    await store.shards.tally([told(shard, an_entry(shard, 3))])
    assert [row["calls"] for row in await rows(store, meters)] == [10]
    assert await rows(store, ledger) == []
    two = (an_entry(shard), an_entry(shard, model="other"))
    assert await store.shards.close(told(shard, *two, at=T0 + 3600))
    assert await rows(store, meters) == []
    entries = await rows(store, ledger)
    assert [(row["model"], row["at"], row["hour"]) for row in entries] == [
        ("qwen-plus", T0 + 3600, int(T0 // 3600) + 1),
        ("other", T0 + 3600, int(T0 // 3600) + 1),
    ]
    assert len(await rows(store, ledger_items)) == 4


@with_store
async def test_a_close_that_is_repeated_charges_once(store: Store) -> None:
    [shard] = await running(store)
    for _ in range(3):
        assert await store.shards.close(told(shard, an_entry(shard)))
    assert len(await rows(store, ledger)) == 1


@with_store
async def test_a_late_twin_changes_nothing_and_bills_nothing(store: Store) -> None:
    [old] = await running(store)
    await store.shards.release()
    [new] = await store.shards.claim([old])
    await store.shards.tally([told(old, an_entry(old, 1))])
    assert not await store.shards.close(told(old, an_entry(old, 1)))
    assert await rows(store, ledger) == await rows(store, meters) == []
    assert await store.shards.close(told(new, an_entry(new, 2)))
    assert not await store.shards.close(told(old, an_entry(old, 1)))
    await store.shards.tally([told(old, an_entry(old, 1))])
    assert await rows(store, meters) == []
    assert [row["price_rest"] for row in await rows(store, ledger)] == [2]


@with_store
async def test_a_tally_replaces_the_one_before_and_only_its_own(store: Store) -> None:
    one, two = await running(store, 2)
    await store.shards.tally([told(one, an_entry(one, 1)), told(two, an_entry(two, 2))])
    await store.shards.tally([told(one, an_entry(one, 5), an_entry(one, 6, "other"))])
    names = ("position", "model", "price_rest")
    found = {tuple(row[name] for name in names) for row in await rows(store, meters)}
    assert found == {(0, "qwen-plus", 5), (0, "other", 6), (1, "qwen-plus", 2)}


@with_store
async def test_delivery_writes_what_was_never_closed_and_leaves_no_meter(store: Store) -> None:
    one, two = await running(store, 2)
    await store.shards.close(told(one, an_entry(one)))
    await store.shards.tally([told(two, an_entry(two, 3))])
    batch = await get(store, a_batch())
    stopping = advance(batch, Event.CANCEL_REQUESTED, T0 + 1)
    assert await store.batches.move(batch, stopping)
    after = advance(stopping, Event.DELIVERED, T0 + 7200)
    for _ in range(2):
        await store.batches.deliver(stopping, after, (), [an_entry(two, 4)])
    entries = await rows(store, ledger)
    assert [(row["position"], row["at"]) for row in entries] == [(0, T0), (1, T0 + 7200)]
    assert await rows(store, meters) == []


@with_store
async def test_a_second_entry_for_the_same_shard_and_model_cannot_be(store: Store) -> None:
    [shard] = await running(store)
    with pytest.raises(IntegrityError):
        await store.shards.close(told(shard, an_entry(shard), an_entry(shard)))
    assert await rows(store, ledger) == [], "the shard is not closed by halves"
    assert await store.shards.close(told(shard, an_entry(shard)))


@with_store
async def test_what_a_batch_has_cost_is_its_closed_and_its_open_shards(store: Store) -> None:
    one, two, three = await running(store, 3)
    half = 5 * 10**11
    await store.shards.close(told(one, an_entry(one, 1)))
    await store.shards.close(told(two, an_entry(two, 10**18)))
    await store.shards.tally([told(three, an_entry(three, 4))])
    spent = await store.ledger.of_batch(one.batch_id)
    assert spent == BatchSpent(10**18 + 1 + 2 * half, {2: 4 + half})
    batch = await get(store, a_batch())
    assert batch.price == 10**18 + 5 + 3 * half
    assert batch.list_price == 2 * batch.price


@with_store
async def test_sums_under_a_cap_count_its_own_scope_currency_and_time(store: Store) -> None:
    one, two = await running(store, 2)
    half = 5 * 10**11
    await store.shards.close(told(one, an_entry(one, 1), at=T0))
    await store.shards.tally([told(two, an_entry(two, 2), at=T0 + 9 * 3600)])
    hour = T0 - T0 % 3600
    names = {Scope.ACCOUNT: "acme", Scope.WORKSPACE: "ws_default", Scope.KEY: "key_1"}
    for scope, name in names.items():
        cap = Cap("acme", scope, name, "USD", 1)
        assert await store.ledger.spent(cap, hour) == 1 + half
        assert await store.ledger.spent(cap, hour + 3600) == 0
        assert await store.ledger.spent(replace(cap, currency="CNY"), hour) == 0
        assert await store.ledger.spent(replace(cap, scope_id="other"), hour) == 0
        [spent] = await store.usage.spent(UsageFilter("acme", hour + 3600, LATEST))
        assert cap.covers(Payer(spent.account, spent.workspace, spent.key))
        assert spent.charged + spent.running == 2 + half


@with_store
async def test_a_batch_that_broke_costs_nothing_and_its_entries_stand(store: Store) -> None:
    """It has no output file: what was charged before is taken back by entries of their own."""
    one, two, three = await running(store, 3)
    await store.shards.close(told(one, an_entry(one, 10**18 + 1), an_entry(one, 3, "other")))
    await store.shards.close(told(two, an_entry(two, 5)))
    await store.shards.tally([told(three, an_entry(three, 7))])
    before = await rows(store, ledger)
    batch = await get(store, a_batch())
    failed = replace(advance(batch, Event.BROKE, T0 + 7200), list_price=0, price=0)
    assert await store.batches.move(batch, failed)
    entries = await rows(store, ledger)
    assert [row for row in entries if row["position"] >= 0] == before
    taken_back = [row for row in entries if row["position"] < 0]
    assert {row["model"]: row["at"] for row in taken_back} == {
        "qwen-plus": T0 + 7200,
        "other": T0 + 7200,
    }
    assert sum(row["calls"] for row in taken_back) == 0
    assert await store.ledger.of_batch(batch.id) == BatchSpent()
    assert await store.ledger.spent(CAP, T0 - 9 * 3600) == 0
    items = await rows(store, ledger_items)
    assert sum(row["tokens"] for row in items) == 0
    assert [sum(pair) for pair in zip(*map(prices_of, items), strict=True)] == [0, 0]
    assert (await get(store, batch)).price == 0
    assert await rows(store, meters) == []
