"""What the dispatcher asks all the time: standing, sums, windows of shards; for every database."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import ClauseElement
from store_cases import T0, a_batch, a_tally, planned, some_shards, with_store

from batchmill.domain.batch import Event, Status, advance
from batchmill.domain.shards import ShardStatus
from batchmill.ports import ShardSum, Store
from batchmill.store import open_store
from batchmill.store.batches import _STANDING
from batchmill.store.shards import _SETTLED, _SUMS, _UNDONE


@with_store
async def test_standing_tells_of_every_batch_that_is_not_at_its_end_oldest_first(
    store: Store,
) -> None:
    young = await planned(store, a_batch("young", created_at=T0 + 5))
    await store.batches.create(a_batch("old", account="other"), None, ())
    ended = await planned(store, a_batch("ended"))
    assert await store.batches.move(ended, advance(ended, Event.BROKE, T0))
    assert await store.batches.move(young, advance(young, Event.SETTLED, T0))
    standing = await store.batches.standing()
    assert list(standing.items()) == [
        ("batch_old", Status.VALIDATING),
        ("batch_young", Status.FINALIZING),
    ]


@with_store
async def test_unfinished_tells_of_some_alone_where_they_are_named(store: Store) -> None:
    one, two = await planned(store, a_batch("1")), await planned(store, a_batch("2"))
    ended = await planned(store, a_batch("3"))
    assert await store.batches.move(ended, advance(ended, Event.BROKE, T0))
    everyone = await store.batches.unfinished()
    named = await store.batches.unfinished([two.id, ended.id, "batch_nobody"])
    assert [batch.id for batch in everyone] == [one.id, two.id]
    assert list(named) == [everyone[1]]
    assert named[0].counts.total == 20
    assert list(await store.batches.unfinished([])) == []


@with_store
async def test_undone_shards_are_read_from_an_index_on(store: Store) -> None:
    batch = await planned(store, a_batch("1"), shards=6)
    await planned(store, a_batch("2"), shards=6)
    shards = await store.shards.of_batch(batch.id)
    claimed = await store.shards.claim([shards[1], shards[3]])
    assert await store.shards.close(a_tally(claimed[1], 10))
    undone = await store.shards.undone(batch.id, 1, 3)
    assert list(undone) == [claimed[0], shards[2], shards[4]]
    assert [one.index for one in await store.shards.undone(batch.id, 5, 3)] == [5]
    assert list(await store.shards.undone(batch.id, 6, 3)) == []
    assert list(await store.shards.undone("batch_nobody", 0, 3)) == []


@with_store
async def test_sums_tell_models_and_statuses_apart(store: Store) -> None:
    created = await store.batches.create(a_batch(), None, ())
    rows = some_shards(created, 5)
    rows[4] = replace(rows[4], models=("a", "b"), lines=3, end=rows[4].start + 7)
    assert await store.batches.plan(created, advance(created, Event.PLANNED, T0), rows)
    again = await store.shards.claim(await store.shards.claim(rows[:1]))
    assert await store.shards.close(a_tally((await store.shards.claim(rows[1:2]))[0], 10))
    assert again[0].attempt == 2
    qwen = ("qwen-plus",)
    assert sorted(
        await store.shards.sums(created.id), key=lambda one: (one.models, one.status)
    ) == [
        ShardSum(("a", "b"), ShardStatus.WAITING, 1, 3, 7, 0),
        ShardSum(qwen, ShardStatus.DONE, 1, 10, 1000, 1),
        ShardSum(qwen, ShardStatus.RUNNING, 1, 10, 1000, 2),
        ShardSum(qwen, ShardStatus.WAITING, 2, 20, 2000, 0),
    ]
    assert list(await store.shards.sums("batch_nobody")) == []


@with_store
async def test_what_running_shards_have_settled_is_told_by_batch(store: Store) -> None:
    one, two = await planned(store, a_batch("1"), 3), await planned(store, a_batch("2"), 3)
    assert await store.shards.settled() == {}
    mine = await store.shards.claim(await store.shards.of_batch(one.id))
    await store.shards.claim(await store.shards.of_batch(two.id))
    await store.shards.tally([a_tally(mine[0], 3, 1), a_tally(mine[1], 2)])
    assert await store.shards.close(a_tally(mine[2], 10))
    assert await store.shards.settled() == {one.id: 6, two.id: 0}


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (_STANDING, "ix_batches_status"),
        (_SETTLED, "ix_shards_running"),
        (_UNDONE, "PRIMARY KEY"),
        (_SUMS, "PRIMARY KEY"),
    ],
    ids=["standing", "settled", "undone", "sums"],
)
def test_none_of_it_reads_what_is_finished_or_of_others(
    tmp_path: Path, statement: ClauseElement, index: str
) -> None:
    async def main() -> None:
        store = await open_store(tmp_path / "x.db")
        values = {"of_batch": "b", "from_position": 0, "most": 1}
        text = str(
            statement.params(values).compile(
                store._database._engine,
                compile_kwargs={"literal_binds": True, "render_postcompile": True},
            )
        )
        async with store._database.read() as connection:
            rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")
            plan = [row[-1] for row in rows]
        await store.close()
        assert any(step.startswith("SEARCH") and index in step for step in plan), plan
        assert not [step for step in plan if step.startswith("SCAN")], plan

    asyncio.run(main())
