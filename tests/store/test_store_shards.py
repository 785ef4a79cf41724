"""Shards: claims, fenced progress, release, for every database."""

import asyncio
from dataclasses import replace

from store_cases import T0, a_batch, a_tally, get, planned, some_shards, with_store

from batchmill.domain.batch import Event, advance
from batchmill.domain.shards import ShardStatus
from batchmill.domain.usage import Usage
from batchmill.ports import Store


@with_store
async def test_shards_come_back_as_they_were_planned(store: Store) -> None:
    batch = await store.batches.create(a_batch(), None, ())
    shards = [replace(s, models=("a", 'b"ü'), end=2**40) for s in some_shards(batch, 12)]
    assert await store.batches.plan(batch, advance(batch, Event.PLANNED, T0), shards[::-1])
    assert list(await store.shards.of_batch(batch.id)) == shards


@with_store
async def test_a_claim_hands_out_the_next_attempt(store: Store) -> None:
    batch = await planned(store, a_batch(), shards=4)
    shards = await store.shards.of_batch(batch.id)
    wanted = [shards[2], shards[0]]
    claimed = await store.shards.claim(wanted)
    assert list(claimed) == [replace(s, status=ShardStatus.RUNNING, attempt=1) for s in wanted]
    assert [s.index for s in await store.shards.claim(shards)] == [1, 3]
    assert list(await store.shards.claim([])) == []


@with_store
async def test_a_claim_of_an_attempt_that_is_past_gets_nothing(store: Store) -> None:
    batch = await planned(store, a_batch(), shards=2)
    waiting = await store.shards.of_batch(batch.id)
    first = await store.shards.claim(waiting)
    assert list(await store.shards.claim(waiting)) == []
    second = await store.shards.claim(first[:1])
    assert list(second) == [replace(first[0], attempt=2)]
    assert list(await store.shards.of_batch(batch.id)) == [second[0], first[1]]


@with_store
async def test_a_shard_that_is_done_is_not_claimed(store: Store) -> None:
    batch = await planned(store, a_batch(), shards=1)
    claimed = await store.shards.claim(await store.shards.of_batch(batch.id))
    await store.shards.close(a_tally(claimed[0], 10))
    assert list(await store.shards.claim(claimed)) == []
    assert (await store.shards.of_batch(batch.id))[0].status is ShardStatus.DONE


@with_store
async def test_a_claim_may_span_batches(store: Store) -> None:
    one, two = await planned(store, a_batch("1")), await planned(store, a_batch("2"))
    firsts = [(await store.shards.of_batch(b.id))[0] for b in (two, one)]
    assert [s.batch_id for s in await store.shards.claim(firsts)] == ["batch_2", "batch_1"]
    statuses = [s.status for s in await store.shards.of_batch(one.id)]
    assert statuses == [ShardStatus.RUNNING, ShardStatus.WAITING]


@with_store
async def test_a_claim_may_be_of_very_many(store: Store) -> None:
    batch = await planned(store, a_batch(), shards=2_500)
    shards = await store.shards.of_batch(batch.id)
    assert len(await store.shards.claim(shards)) == 2_500


@with_store
async def test_no_shard_is_claimed_by_two(store: Store) -> None:
    batch = await planned(store, a_batch(), shards=6)
    shards = await store.shards.of_batch(batch.id)
    claims = await asyncio.gather(*(store.shards.claim(shards[n:]) for n in range(6)))
    taken = [shard.index for claim in claims for shard in claim]
    assert sorted(taken) == [0, 1, 2, 3, 4, 5]


@with_store
async def test_a_tally_replaces_the_one_before(store: Store) -> None:
    batch = await planned(store, a_batch(), shards=1)
    (shard,) = await store.shards.claim(await store.shards.of_batch(batch.id))
    await store.shards.tally([a_tally(shard, 3, 1)])
    await store.shards.tally([a_tally(shard, 5, 2)])
    await store.shards.tally([])
    (stored,) = await store.shards.of_batch(batch.id)
    assert (stored.completed, stored.failed) == (5, 2)


@with_store
async def test_a_late_twin_changes_nothing(store: Store) -> None:
    batch = await planned(store, a_batch(), shards=1)
    (first,) = await store.shards.claim(await store.shards.of_batch(batch.id))
    await store.shards.tally([a_tally(first, 3)])
    await store.shards.release()
    await store.shards.tally([a_tally(first, 4)])
    (second,) = await store.shards.claim([first])
    assert (second.attempt, second.completed) == (2, 3)
    await store.shards.tally([a_tally(first, 9)])
    assert not await store.shards.close(a_tally(first, 10))
    assert list(await store.shards.of_batch(batch.id)) == [second]
    assert await store.shards.close(a_tally(second, 10))
    assert not await store.shards.close(a_tally(first, 1))
    assert (await get(store, batch)).usage == Usage(100, 200, 10, 1)


@with_store
async def test_closing_may_be_repeated_and_ends_the_tallies(store: Store) -> None:
    batch = await planned(store, a_batch(), shards=1)
    (shard,) = await store.shards.claim(await store.shards.of_batch(batch.id))
    for _ in range(2):
        assert await store.shards.close(a_tally(shard, 9, 1))
    await store.shards.tally([a_tally(shard, 1)])
    (stored,) = await store.shards.of_batch(batch.id)
    assert stored == replace(shard, status=ShardStatus.DONE, completed=9, failed=1)


@with_store
async def test_a_shard_that_waits_cannot_be_closed(store: Store) -> None:
    batch = await planned(store, a_batch(), shards=1)
    (shard,) = await store.shards.of_batch(batch.id)
    assert not await store.shards.close(a_tally(shard, 10))
    assert list(await store.shards.of_batch(batch.id)) == [shard]


@with_store
async def test_release_is_of_every_running_shard(store: Store) -> None:
    one, two = await planned(store, a_batch("1"), 3), await planned(store, a_batch("2"), 2)
    for batch in (one, two):
        await store.shards.claim(await store.shards.of_batch(batch.id))
    done = (await store.shards.of_batch(one.id))[0]
    await store.shards.close(a_tally(done, 10))
    assert await store.shards.release() == 4
    assert await store.shards.release() == 0
    stored = await store.shards.of_batch(one.id)
    statuses = [ShardStatus.DONE, ShardStatus.WAITING, ShardStatus.WAITING]
    assert [s.status for s in stored] == statuses
    assert [s.attempt for s in stored] == [1, 1, 1]


@with_store
async def test_a_fence_shuts_out_whoever_still_runs_a_shard_of_the_batch(store: Store) -> None:
    one, two = await planned(store, a_batch("1"), 2), await planned(store, a_batch("2"), 1)
    done, late = await store.shards.claim(await store.shards.of_batch(one.id))
    (other,) = await store.shards.claim(await store.shards.of_batch(two.id))
    await store.shards.close(a_tally(done, 10))
    for _ in range(2):
        await store.shards.fence(one.id)
    statuses = [shard.status for shard in await store.shards.of_batch(one.id)]
    assert statuses == [ShardStatus.DONE, ShardStatus.WAITING]
    assert not await store.shards.close(a_tally(late, 10))
    assert await store.shards.close(a_tally(other, 10))


@with_store
async def test_what_is_held_is_not_released(store: Store) -> None:
    """A held shard stays with its attempt; one that was claimed since is not the one held."""
    batch = await planned(store, a_batch(), 4)
    shards = await store.shards.claim(await store.shards.of_batch(batch.id))
    await store.shards.close(a_tally(shards[3], 10))
    of_another_attempt = replace(shards[1], attempt=shards[1].attempt + 1)
    assert await store.shards.release([shards[0], of_another_attempt]) == 2
    statuses = [shard.status for shard in await store.shards.of_batch(batch.id)]
    waiting = ShardStatus.WAITING
    assert statuses == [ShardStatus.RUNNING, waiting, waiting, ShardStatus.DONE]
    assert await store.shards.release([shards[0]]) == 0
    assert await store.shards.close(a_tally(shards[0], 10))
    assert not await store.shards.close(a_tally(shards[1], 10))


@with_store
async def test_shards_that_are_closed_at_once_are_each_judged_by_their_own_attempt(
    store: Store,
) -> None:
    one, two = await planned(store, a_batch("1"), shards=4), await planned(store, a_batch("2"))
    mine = await store.shards.claim(await store.shards.of_batch(one.id))
    others = await store.shards.claim(await store.shards.of_batch(two.id))
    await store.shards.close(a_tally(mine[1], 10))
    newer = (await store.shards.claim([mine[2]]))[0]
    tallies = [
        a_tally(others[1], 5),
        a_tally(mine[3], 7),
        a_tally(mine[1], 10),  # closed before, by the same attempt
        a_tally(mine[2], 3),  # late
        a_tally(newer, 4),
        a_tally(mine[3], 7),  # twice
        a_tally(replace(mine[0], batch_id="batch_3"), 1),  # of no batch
        a_tally(replace(others[0], attempt=9), 1),
    ]
    ends = await asyncio.gather(*map(store.shards.close, tallies))
    assert ends == [True, True, True, False, True, True, False, False]
    done = {
        (shard.batch_id, shard.index): shard.completed
        for batch in (one, two)
        for shard in await store.shards.of_batch(batch.id)
        if shard.status is ShardStatus.DONE
    }
    assert done == {(two.id, 1): 5, (one.id, 1): 10, (one.id, 2): 4, (one.id, 3): 7}


@with_store
async def test_very_many_shards_may_be_closed_at_once(store: Store) -> None:
    batch = await planned(store, a_batch(), shards=450)
    claimed = await store.shards.claim(await store.shards.of_batch(batch.id))
    ends = await asyncio.gather(*(store.shards.close(a_tally(shard, 10)) for shard in claimed))
    assert ends == [True] * 450
    [summed] = await store.shards.sums(batch.id)
    assert (summed.status, summed.shards) == (ShardStatus.DONE, 450)


@with_store
async def test_what_is_cancelled_while_it_is_written_is_done_or_not_and_holds_up_nobody(
    store: Store,
) -> None:
    batch = await planned(store, a_batch(), shards=20)
    planned_shards = await store.shards.of_batch(batch.id)
    for turns, shard in enumerate(planned_shards):
        claiming = asyncio.create_task(store.shards.claim([shard]))
        for _ in range(turns):
            await asyncio.sleep(0)
        claiming.cancel()
        await asyncio.wait({claiming})
    left = await store.shards.of_batch(batch.id)
    assert {shard.attempt for shard in left} <= {0, 1}
    claimed = await store.shards.claim(left)
    assert [shard.attempt for shard in claimed] == [shard.attempt + 1 for shard in left]
    assert all([await store.shards.close(a_tally(shard, 10)) for shard in claimed])
