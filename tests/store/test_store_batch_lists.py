"""Lists of batches: order, pages and the vendor's filters, for every database."""

from dataclasses import replace

import pytest
from store_cases import T0, a_batch, a_tally, finished, planned, with_store

from batchmill.domain.batch import Counts, Event, Status, advance
from batchmill.ports import BatchQuery, CursorUnknown, Store


async def listed(store: Store, query: BatchQuery) -> list[str]:
    page = await store.batches.list("acme", query)
    return [batch.id.removeprefix("batch_") for batch in page.items]


async def create_named(store: Store, *names: str) -> None:
    for n, name in enumerate(names):
        batch = a_batch(str(n), metadata={"ds_name": name}, created_at=T0 + n)
        await store.batches.create(batch, None, ())


@with_store
async def test_the_newest_come_first_and_pages_tile_the_list(store: Store) -> None:
    for n in range(7):
        await store.batches.create(a_batch(str(n), created_at=T0 + n // 4), None, ())
    await store.batches.create(a_batch("stranger", account="other"), None, ())
    whole = ["6", "5", "4", "3", "2", "1", "0"]
    for limit in (1, 2, 3, 6, 7, 8):
        seen: list[str] = []
        page = await store.batches.list("acme", BatchQuery(limit))
        seen += [batch.id for batch in page.items]
        while page.has_more:
            page = await store.batches.list("acme", BatchQuery(limit, after=seen[-1]))
            seen += [batch.id for batch in page.items]
        assert [name.removeprefix("batch_") for name in seen] == whole


@with_store
async def test_a_page_that_is_exactly_full_has_no_more(store: Store) -> None:
    await create_named(store, "a", "b")
    assert (await store.batches.list("acme", BatchQuery(1))).has_more
    assert not (await store.batches.list("acme", BatchQuery(2))).has_more


@with_store
async def test_the_same_list_from_another_time_on_is_another(store: Store) -> None:
    await create_named(store, "a", "b", "c")
    for since, names in ((T0, ["2", "1", "0"]), (T0 + 1, ["2", "1"]), (T0 + 3, []), (None, None)):
        query = BatchQuery(9, created_after=since)
        assert await listed(store, query) == (["2", "1", "0"] if names is None else names)
    assert await listed(store, BatchQuery(9, created_after=T0 + 1, after="batch_2")) == ["1"]


@with_store
async def test_an_unknown_cursor_is_told_of(store: Store) -> None:
    await store.batches.create(a_batch("theirs", account="other"), None, ())
    for after in ("batch_none", "batch_theirs"):
        with pytest.raises(CursorUnknown):
            await store.batches.list("acme", BatchQuery(10, after=after))


@with_store
async def test_a_name_is_found_by_any_part_in_any_case(store: Store) -> None:
    await create_named(store, "Nightly STRASSE run", "daily Ünter", "100%_a/b", "100xya\\b")
    await store.batches.create(a_batch("unnamed"), None, ())
    assert await listed(store, BatchQuery(9, name_contains="straße")) == ["0"]
    assert await listed(store, BatchQuery(9, name_contains="LY")) == ["1", "0"]
    assert await listed(store, BatchQuery(9, name_contains="üNTER")) == ["1"]
    assert await listed(store, BatchQuery(9, name_contains="ly  ")) == []


@with_store
async def test_wildcards_in_a_name_stand_for_themselves(store: Store) -> None:
    await create_named(store, "100%_a/b", "100xya\\b")
    assert await listed(store, BatchQuery(9, name_contains="0%")) == ["0"]
    assert await listed(store, BatchQuery(9, name_contains="_a")) == ["0"]
    assert await listed(store, BatchQuery(9, name_contains="a/b")) == ["0"]
    assert await listed(store, BatchQuery(9, name_contains="a\\b")) == ["1"]


@with_store
async def test_a_huge_name_is_looked_for_and_not_found(store: Store) -> None:
    await create_named(store, "short")
    assert await listed(store, BatchQuery(9, name_contains="%😀" * 100_000)) == []


@with_store
async def test_statuses_and_inputs_filter(store: Store) -> None:
    await finished(store, a_batch("done", input_file_id="f1"))
    await planned(store, a_batch("running", input_file_id="f2"))
    await store.batches.create(a_batch("new", input_file_id="f3"), None, ())
    both = (Status.COMPLETED, Status.VALIDATING)
    assert await listed(store, BatchQuery(9, statuses=both)) == ["new", "done"]
    assert await listed(store, BatchQuery(9, statuses=(Status.FAILED,))) == []
    assert await listed(store, BatchQuery(9, input_file_ids=("f1", "f2"))) == ["running", "done"]
    one = BatchQuery(9, statuses=both, input_file_ids=("f2", "f3"))
    assert await listed(store, one) == ["new"]


@with_store
async def test_times_are_inclusive_and_combine_with_the_rest(store: Store) -> None:
    await create_named(store, *"abcabc")
    between = BatchQuery(9, created_after=T0 + 1, created_before=T0 + 4)
    assert await listed(store, between) == ["4", "3", "2", "1"]
    assert await listed(store, replace(between, name_contains="b")) == ["4", "1"]
    assert await listed(store, replace(between, after="batch_3")) == ["2", "1"]


@with_store
async def test_a_list_shows_running_sums_beside_final_ones(store: Store) -> None:
    running = await planned(store, a_batch("running", created_at=T0 + 1), shards=2)
    shards = await store.shards.claim(await store.shards.of_batch(running.id))
    await store.shards.tally([a_tally(shard, 3, 1) for shard in shards])
    finalizing = advance(await planned(store, a_batch("done")), Event.SETTLED, T0)
    await store.batches.move(replace(finalizing, status=Status.IN_PROGRESS), finalizing)
    final = replace(advance(finalizing, Event.DELIVERED, T0), counts=Counts(20, 19, 1))
    await store.batches.deliver(finalizing, final, ())
    page = await store.batches.list("acme", BatchQuery(9))
    assert [batch.counts for batch in page.items] == [Counts(20, 6, 2), Counts(20, 19, 1)]
