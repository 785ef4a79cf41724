"""Batches: creation, compare-and-swap, and the sums that count, for every database."""

import asyncio
from dataclasses import replace

import pytest
from store_cases import (
    T0,
    a_batch,
    a_file,
    a_tally,
    finished,
    get,
    planned,
    some_shards,
    with_store,
)

from batchmill.domain.batch import Counts, Event, LineError, Status, advance
from batchmill.domain.file import Purpose
from batchmill.domain.usage import Usage
from batchmill.ports import (
    Idempotency,
    IdempotencyMismatch,
    Store,
    TooManyUnfinished,
    UnfinishedCap,
)

TEST_ENDPOINT = "/v1/chat/ds-test"


@with_store
async def test_a_batch_comes_back_as_it_was_created(store: Store) -> None:
    batch = a_batch(
        metadata={"z": "last first", "ds_name": "Näme", "a": "\0 \ud800 😀"},
        output_expires_after=3600,
        created_at=T0 + 0.123456,
    )
    assert await store.batches.create(batch, None, ()) == batch
    stored = await get(store, batch)
    assert stored == batch
    assert list(stored.metadata or ()) == ["z", "ds_name", "a"]


@with_store
async def test_no_metadata_and_empty_metadata_differ(store: Store) -> None:
    for name, metadata in (("none", None), ("empty", {})):
        await store.batches.create(a_batch(name, metadata=metadata), None, ())
        assert (await get(store, a_batch(name))).metadata == metadata


@with_store
async def test_a_batch_is_its_accounts_alone(store: Store) -> None:
    await store.batches.create(a_batch(), None, ())
    assert await store.batches.get("other", "batch_1") is None
    assert await store.batches.get("acme", "batch_2") is None


@with_store
async def test_a_key_makes_one_batch(store: Store) -> None:
    first = await store.batches.create(a_batch("1"), Idempotency("key", "print"), ())
    again = await store.batches.create(a_batch("2"), Idempotency("key", "print"), ())
    assert again == first == a_batch("1")
    assert await store.batches.get("acme", "batch_2") is None
    with pytest.raises(IdempotencyMismatch):
        await store.batches.create(a_batch("3"), Idempotency("key", "other"), ())
    elsewhere = a_batch("4", account="other")
    assert await store.batches.create(elsewhere, Idempotency("key", "other"), ()) == elsewhere


@with_store
async def test_a_key_answers_with_the_batch_as_it_is_now(store: Store) -> None:
    key = Idempotency("key", "print")
    created = await store.batches.create(a_batch(), key, [UnfinishedCap(1)])
    running = advance(created, Event.PLANNED, T0 + 1)
    assert await store.batches.plan(created, running, some_shards(created, 3))
    again = await store.batches.create(a_batch("2"), key, [UnfinishedCap(1)])
    assert (again.id, again.status, again.counts.total) == ("batch_1", Status.IN_PROGRESS, 30)


@with_store
async def test_a_key_makes_one_batch_when_many_create_at_once(store: Store) -> None:
    key = Idempotency("key", "print")
    creating = (store.batches.create(a_batch(str(n)), key, ()) for n in range(10))
    made = await asyncio.gather(*creating)
    assert len({batch.id for batch in made}) == 1
    assert len(await store.batches.unfinished()) == 1


@with_store
async def test_the_cap_on_unfinished_batches_is_met_from_both_sides(store: Store) -> None:
    caps = [UnfinishedCap(2)]
    await finished(store, a_batch("done"))
    await store.batches.create(a_batch("stranger", account="other"), None, caps)
    await store.batches.create(a_batch("1"), None, caps)
    second = await store.batches.create(a_batch("2"), None, caps)
    with pytest.raises(TooManyUnfinished):
        await store.batches.create(a_batch("3"), None, caps)
    assert await store.batches.move(second, advance(second, Event.REJECTED, T0))
    await store.batches.create(a_batch("3"), None, caps)


@with_store
async def test_a_cap_for_an_endpoint_counts_that_endpoint(store: Store) -> None:
    caps = [UnfinishedCap(100), UnfinishedCap(1, endpoint=TEST_ENDPOINT)]
    await store.batches.create(a_batch("1"), None, caps)
    await store.batches.create(a_batch("2", endpoint=TEST_ENDPOINT), None, caps)
    with pytest.raises(TooManyUnfinished):
        await store.batches.create(a_batch("3", endpoint=TEST_ENDPOINT), None, caps)
    await store.batches.create(a_batch("4"), None, caps)


@with_store
async def test_the_cap_holds_when_many_create_at_once(store: Store) -> None:
    cap = [UnfinishedCap(3)]
    creating = [store.batches.create(a_batch(str(n)), None, cap) for n in range(10)]
    ends = await asyncio.gather(*creating, return_exceptions=True)
    assert [type(end) for end in ends].count(TooManyUnfinished) == 7
    assert len(await store.batches.unfinished()) == 3


@with_store
async def test_a_move_stores_all_that_changed(store: Store) -> None:
    before = await store.batches.create(a_batch(), None, ())
    errors = (LineError("invalid_url", "No 'ä'.", "url", 3), LineError("empty_file", "Empty."))
    after = replace(advance(before, Event.REJECTED, T0 + 7), errors=errors, model="m")
    assert await store.batches.move(before, after)
    assert await get(store, before) == after


@with_store
async def test_every_time_and_the_verdict_are_kept(store: Store) -> None:
    before = await store.batches.create(a_batch(), None, ())
    after = replace(
        before,
        verdict=Status.CANCELLED,
        status=Status.CANCELLING,
        in_progress_at=T0 + 1,
        finalizing_at=T0 + 2,
        completed_at=T0 + 3,
        failed_at=T0 + 4,
        expired_at=T0 + 5,
        cancelling_at=T0 + 6,
        cancelled_at=T0 + 7,
    )
    assert await store.batches.move(before, after)
    assert await get(store, before) == after


@with_store
async def test_a_move_from_another_status_changes_nothing(store: Store) -> None:
    before = await store.batches.create(a_batch(), None, ())
    cancelling = advance(before, Event.CANCEL_REQUESTED, T0 + 1)
    assert await store.batches.move(before, cancelling)
    running = advance(before, Event.PLANNED, T0 + 2)
    assert not await store.batches.move(before, running)
    assert not await store.batches.plan(before, running, some_shards(before, 2))
    assert await get(store, before) == cancelling
    assert list(await store.shards.of_batch(before.id)) == []


@with_store
async def test_a_move_of_a_batch_that_is_not_there_is_none(store: Store) -> None:
    assert not await store.batches.move(a_batch(), advance(a_batch(), Event.REJECTED, T0))


@with_store
async def test_one_of_two_planners_wins(store: Store) -> None:
    before = await store.batches.create(a_batch(), None, ())
    after = advance(before, Event.PLANNED, T0 + 1)
    planning = [store.batches.plan(before, after, some_shards(before, n)) for n in (2, 3)]
    assert sorted(await asyncio.gather(*planning)) == [False, True]
    assert len(await store.shards.of_batch(before.id)) in (2, 3)


@with_store
async def test_a_batch_settles_only_when_every_shard_is_done(store: Store) -> None:
    running = await planned(store, a_batch(), shards=3)
    await planned(store, a_batch("other"), shards=1)
    settled = advance(running, Event.SETTLED, T0 + 2)
    assert not await store.batches.settle(running, settled)
    for shard in await store.shards.claim(await store.shards.of_batch(running.id)):
        assert not await store.batches.settle(running, settled)
        await store.shards.close(a_tally(shard, 10))
    assert (await get(store, running)).status is Status.IN_PROGRESS
    assert await store.batches.settle(running, settled)
    assert (await get(store, running)).verdict is Status.COMPLETED
    assert not await store.batches.settle(running, settled)


@with_store
async def test_a_batch_that_is_being_cancelled_does_not_settle(store: Store) -> None:
    running = await planned(store, a_batch(), shards=1)
    [shard] = await store.shards.claim(await store.shards.of_batch(running.id))
    await store.shards.close(a_tally(shard, 10))
    cancelling = advance(running, Event.CANCEL_REQUESTED, T0 + 2)
    assert await store.batches.move(running, cancelling)
    assert not await store.batches.settle(running, advance(running, Event.SETTLED, T0 + 3))
    assert (await get(store, running)).status is Status.CANCELLING


@with_store
async def test_until_it_is_terminal_a_batch_counts_what_its_shards_do(store: Store) -> None:
    running = await planned(store, a_batch(), shards=3)
    await planned(store, a_batch("other"), shards=1)
    one, two, three = await store.shards.claim(await store.shards.of_batch(running.id))
    await store.shards.tally([a_tally(one, 4, 1, resent=2), a_tally(two, 0)])
    await store.shards.close(a_tally(three, 10, resent=1))
    expected = replace(
        running,
        counts=Counts(total=30, completed=14, failed=1),
        usage=Usage(input=140, output=280, cached=14, reasoning=3),
        resent=3,
    )
    assert await get(store, running) == expected
    listed = {batch.id: batch for batch in await store.batches.unfinished()}
    assert listed[running.id] == expected
    assert listed["batch_other"].counts == Counts(total=10)


@with_store
async def test_delivery_freezes_the_sums_and_adds_the_files(store: Store) -> None:
    running = await planned(store, a_batch())
    finalizing = advance(running, Event.SETTLED, T0 + 2)
    assert await store.batches.move(running, finalizing)
    files = [a_file(name, purpose=Purpose.BATCH_OUTPUT) for name in ("out", "err")]
    final = replace(
        advance(finalizing, Event.DELIVERED, T0 + 3),
        counts=Counts(total=20, completed=17, failed=3),
        usage=Usage(1, 2, 3, 4),
        resent=5,
        output_file_id=files[0].id,
        error_file_id=files[1].id,
    )
    assert await store.batches.deliver(finalizing, final, files)
    late = await store.shards.claim(await store.shards.of_batch(running.id))
    await store.shards.tally([a_tally(shard, 10) for shard in late])
    assert await get(store, running) == final
    assert [await store.files.get("acme", file.id) for file in files] == files
    assert len(await store.shards.of_batch(running.id)) == 2


@with_store
async def test_a_delivery_that_comes_second_adds_no_files(store: Store) -> None:
    running = await planned(store, a_batch())
    finalizing = advance(running, Event.DEADLINE_PASSED, T0 + 2)
    assert await store.batches.move(running, finalizing)
    expired = advance(finalizing, Event.DELIVERED, T0 + 3)
    assert expired.status is Status.EXPIRED
    assert await store.batches.deliver(finalizing, expired, [a_file("1")])
    assert not await store.batches.deliver(finalizing, expired, [a_file("2")])
    assert await store.files.get("acme", a_file("2").id) is None


@with_store
async def test_a_delivery_whose_files_cannot_be_added_does_not_happen(store: Store) -> None:
    running = await planned(store, a_batch())
    finalizing = advance(running, Event.SETTLED, T0 + 2)
    assert await store.batches.move(running, finalizing)
    final = advance(finalizing, Event.DELIVERED, T0 + 3)
    twice_the_same = [a_file("out"), a_file("out")]
    with pytest.raises(Exception, match=r"(?i)unique"):
        await store.batches.deliver(finalizing, final, twice_the_same)
    assert (await get(store, running)).status is Status.FINALIZING
    assert await store.batches.deliver(finalizing, final, twice_the_same[:1])


@with_store
async def test_unfinished_are_all_accounts_batches_oldest_first(store: Store) -> None:
    await finished(store, a_batch("done"))
    for name, account, at in (("b", "x", T0 + 2), ("a", "y", T0 + 1), ("c", "x", T0 + 2)):
        await store.batches.create(a_batch(name, account=account, created_at=at), None, ())
    assert [batch.id for batch in await store.batches.unfinished()] == [
        "batch_a",
        "batch_b",
        "batch_c",
    ]
