"""Sums of one instant: no shard is missed or counted twice while it moves into the ledger."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from store_cases import KINDS, T0, a_batch, a_tally, finished, get, planned, with_store

from batchmill.domain.batch import Event, advance
from batchmill.domain.caps import Cap, Scope
from batchmill.domain.ledger import Charge, Entry, Payer
from batchmill.domain.pricing import Item
from batchmill.domain.shards import Shard
from batchmill.ports import BatchSpent, ShardTally, Standing, Store

HOUR = 3600.0
# A full hour.
START = T0 - T0 % HOUR
CAPS = (
    Cap("acme", Scope.ACCOUNT, "acme", "USD", 1),
    Cap("acme", Scope.KEY, "key_1", "USD", 1),
    Cap("acme", Scope.ACCOUNT, "acme", "CNY", 1),
)


def costing(
    shard: Shard, price: int, *, at: float = START, model: str = "m", key: str | None = None
) -> ShardTally:
    payer = Payer("acme", "ws_default", key)
    charges = (Charge(Item.INPUT, 1, 2 * price, price),)
    entry = Entry(shard.batch_id, shard.index, model, payer, "v1", "USD", 1, charges=charges)
    return replace(a_tally(shard, 1), entries=(entry,), at=at)


async def running(store: Store, name: str, shards: int) -> Sequence[Shard]:
    batch = await planned(store, a_batch(name), shards=shards)
    return await store.shards.claim(await store.shards.of_batch(batch.id))


@with_store
async def test_batches_are_told_with_their_closed_and_their_open_shards(store: Store) -> None:
    one, two, three = await running(store, "1", 3)
    other = (await running(store, "2", 1))[0]
    await store.shards.close(costing(one, 5, at=START - 1))
    await store.shards.close(costing(two, 7, at=START))
    await store.shards.tally([costing(three, 11), costing(other, 13)])
    names = ["batch_1", "batch_2", "batch_none"]
    found = await store.ledger.standing(names)
    first = BatchSpent(12, {2: 11})
    assert found == Standing(
        {names[0]: first, names[1]: BatchSpent(0, {0: 13}), names[2]: BatchSpent()}
    )
    assert first.total == 23
    recent = (await store.ledger.standing(names, since=START)).batches
    assert [one.recent for one in recent.values()] == [7, 0, 0]
    assert await store.ledger.of_batch("batch_1") == first
    assert await store.ledger.standing([]) == Standing({})


@with_store
async def test_caps_are_told_what_batches_at_their_end_cost_in_the_month(store: Store) -> None:
    one, two = await running(store, "1", 2)
    late = (await running(store, "2", 1))[0]
    await store.shards.close(costing(one, 100, at=START - 1, key="key_1"))
    await store.shards.close(costing(two, 5, key="key_1"))
    await store.shards.close(costing(late, 7))
    none = await store.ledger.standing([], CAPS, START)
    assert none.ended == (0, 0, 0), "both still run"
    for name in ("1", "2"):
        stopping = advance(await get(store, a_batch(name)), Event.CANCEL_REQUESTED, T0)
        assert await store.batches.move(await get(store, a_batch(name)), stopping)
        assert await store.batches.deliver(stopping, advance(stopping, Event.DELIVERED, T0), ())
    await finished(store, a_batch("3"))
    assert (await store.ledger.standing([], CAPS, START)).ended == (12, 5, 0)
    assert (await store.ledger.standing(["batch_1"], CAPS, START)).batches["batch_1"].recent == 5


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_sum_is_the_same_before_while_and_after_shards_close(tmp_path: Path, kind: str) -> None:
    async def main() -> None:
        store, other = await KINDS[kind](tmp_path), await KINDS[kind](tmp_path)
        try:
            shards = await running(store, "1", 30)
            await store.shards.tally([costing(shard, 3) for shard in shards])

            async def close() -> None:
                for shard in shards:
                    await other.shards.close(costing(shard, 3))

            closing = asyncio.create_task(close())
            while not closing.done():
                found = (await store.ledger.standing(["batch_1"])).batches["batch_1"]
                assert found.total == 90
                assert (await store.ledger.of_batch("batch_1")).total == 90
            await closing
        finally:
            await store.close()
            await other.close()

    asyncio.run(main())
