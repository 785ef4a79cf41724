"""The course of a batch: a milestone a shard, open ones too, and nothing of credits."""

from dataclasses import replace

from store_cases import T0, a_batch, a_tally, get, planned, with_store

from batchmill.domain.batch import Event, advance
from batchmill.domain.ledger import Entry, Payer
from batchmill.domain.shards import Shard
from batchmill.domain.usage import Usage
from batchmill.ports import Milestone, ShardTally, Store

PAYER = Payer("acme", "ws_default", "key_1")


def an_entry(shard: Shard, calls: int, model: str = "qwen-plus") -> Entry:
    usage = Usage(10 * calls, 20 * calls, calls, 1)
    blank = Entry(shard.batch_id, shard.index, model, PAYER, "v1")
    return replace(
        blank, usage=usage, calls=calls, failures=1, rejections=2, retries=3, millis=100 * calls
    )


def told(shard: Shard, *entries: Entry, at: float) -> ShardTally:
    return replace(a_tally(shard, 9, 1), entries=entries, at=at)


def milestone(at: float, *, calls: int, models: int = 1) -> Milestone:
    return Milestone(at, calls, models, 100 * calls, 2 * models, 10 * calls, 20 * calls, 3 * models)


@with_store
async def test_a_milestone_sums_the_models_of_a_shard_by_time(store: Store) -> None:
    batch = await planned(store, a_batch(), shards=4)
    one, two, three, _ = await store.shards.claim(await store.shards.of_batch(batch.id))
    await store.shards.close(told(one, an_entry(one, 10), an_entry(one, 3, "other"), at=T0 + 9))
    await store.shards.close(told(two, an_entry(two, 5), at=T0 + 4))
    await store.shards.tally([told(three, an_entry(three, 1), at=T0 + 5)])
    await store.shards.tally([told(three, an_entry(three, 2), at=T0 + 6)])
    course = await store.ledger.course(batch.id)
    assert list(course) == [
        milestone(T0 + 4, calls=5),
        milestone(T0 + 6, calls=2),
        milestone(T0 + 9, calls=13, models=2),
    ]


@with_store
async def test_what_is_taken_back_of_a_bill_was_still_the_course(store: Store) -> None:
    batch = await planned(store, a_batch(), shards=1)
    [shard] = await store.shards.claim(await store.shards.of_batch(batch.id))
    await store.shards.close(told(shard, an_entry(shard, 5), at=T0 + 4))
    running = await get(store, batch)
    failed = replace(advance(running, Event.BROKE, T0 + 8), list_price=0, price=0)
    assert await store.batches.move(running, failed)
    assert list(await store.ledger.course(batch.id)) == [milestone(T0 + 4, calls=5)]


@with_store
async def test_the_course_of_another_batch_is_not_seen(store: Store) -> None:
    batch = await planned(store, a_batch(), shards=1)
    [shard] = await store.shards.claim(await store.shards.of_batch(batch.id))
    await store.shards.close(told(shard, an_entry(shard, 5), at=T0 + 4))
    other = await planned(store, a_batch("2"), shards=1)
    assert list(await store.ledger.course(other.id)) == []
