"""Files: quota, lists, deletion and expiry, for every database."""

import asyncio
from dataclasses import replace

import pytest
from store_cases import PLENTY, T0, a_batch, a_file, finished, planned, with_store

from batchmill.domain.file import Purpose
from batchmill.ports import CursorUnknown, FileQuery, Quota, QuotaReached, Store


async def listed(store: Store, query: FileQuery) -> list[str]:
    page = await store.files.list("acme", query)
    return [file.id.removeprefix("file-batch-") for file in page.items]


@with_store
async def test_a_file_comes_back_as_it_was_added(store: Store) -> None:
    file = a_file(filename="fragen-ä-😀.jsonl", bytes=5 * 10**9, expires_at=T0 + 0.25)
    await store.files.add(file, PLENTY)
    assert await store.files.get("acme", file.id) == file


@with_store
async def test_a_file_is_its_accounts_alone(store: Store) -> None:
    await store.files.add(a_file(), PLENTY)
    assert await store.files.get("other", a_file().id) is None
    assert await store.files.delete("other", a_file().id) is None
    assert await store.files.get("acme", a_file().id) is not None
    assert (await store.files.list("other", FileQuery(10))).items == ()
    with pytest.raises(CursorUnknown):
        await store.files.list("other", FileQuery(10, after=a_file().id))


@with_store
async def test_the_quota_of_files_is_met_from_both_sides(store: Store) -> None:
    quota = Quota(files=2, bytes=10**9)
    await store.files.add(a_file("1"), quota)
    await store.files.add(a_file("other", account="other"), quota)
    await store.files.add(a_file("2"), quota)
    with pytest.raises(QuotaReached) as reached:
        await store.files.add(a_file("3"), quota)
    assert reached.value.of == "files"
    assert await store.files.get("acme", a_file("3").id) is None


@with_store
async def test_the_quota_of_bytes_is_met_from_both_sides(store: Store) -> None:
    quota = Quota(files=100, bytes=300)
    await store.files.add(a_file("1", bytes=200), quota)
    with pytest.raises(QuotaReached) as reached:
        await store.files.add(a_file("2", bytes=101), quota)
    assert reached.value.of == "bytes"
    await store.files.add(a_file("3", bytes=100), quota)


@with_store
async def test_the_quota_holds_when_many_add_at_once(store: Store) -> None:
    adding = [store.files.add(a_file(str(n)), Quota(files=5, bytes=10**9)) for n in range(12)]
    ends = await asyncio.gather(*adding, return_exceptions=True)
    assert [type(end) for end in ends].count(QuotaReached) == 7
    assert len(await listed(store, FileQuery(100))) == 5


@with_store
async def test_a_list_runs_by_creation_either_way(store: Store) -> None:
    for name, age in (("old", 20), ("new", 0), ("mid-1", 10), ("mid-2", 10)):
        await store.files.add(a_file(name, created_at=T0 - age), PLENTY)
    assert await listed(store, FileQuery(9)) == ["new", "mid-2", "mid-1", "old"]
    assert await listed(store, FileQuery(9, descending=False)) == ["old", "mid-1", "mid-2", "new"]


@with_store
async def test_pages_tile_the_list(store: Store) -> None:
    for n in range(7):
        await store.files.add(a_file(str(n), created_at=T0 + n // 4), PLENTY)
    for descending in (True, False):
        whole = await listed(store, FileQuery(10, descending=descending))
        assert len(whole) == 7
        for limit in (1, 2, 3, 6, 7, 8):
            assert await walked(store, FileQuery(limit, descending=descending)) == whole


async def walked(store: Store, query: FileQuery) -> list[str]:
    seen: list[str] = []
    more = True
    while more:
        page = await store.files.list("acme", query)
        seen += [file.id.removeprefix("file-batch-") for file in page.items]
        more = page.has_more
        if more:
            query = replace(query, after=page.items[-1].id)
    return seen


@with_store
async def test_a_cursor_that_is_gone_is_unknown(store: Store) -> None:
    await store.files.add(a_file(), PLENTY)
    await store.files.delete("acme", a_file().id)
    with pytest.raises(CursorUnknown):
        await store.files.list("acme", FileQuery(10, after=a_file().id))


@with_store
async def test_filters_combine_and_their_bounds_are_inclusive(store: Store) -> None:
    for n in range(6):
        purpose = Purpose.BATCH_OUTPUT if n % 2 else Purpose.BATCH
        await store.files.add(a_file(str(n), created_at=T0 + n, purpose=purpose), PLENTY)
    assert await listed(store, FileQuery(9, purpose="batch_output")) == ["5", "3", "1"]
    assert await listed(store, FileQuery(9, purpose="fine-tune")) == []
    between = FileQuery(9, created_after=T0 + 1, created_before=T0 + 4)
    assert await listed(store, between) == ["4", "3", "2", "1"]
    assert await listed(store, replace(between, purpose="batch")) == ["4", "2"]


@with_store
async def test_a_file_that_an_unfinished_batch_uses_stays(store: Store) -> None:
    await store.files.add(a_file(), PLENTY)
    await finished(store, a_batch("done"))
    await planned(store, a_batch("second", created_at=T0 + 5))
    await planned(store, a_batch("first"))
    await planned(store, a_batch("unrelated", input_file_id="file-batch-2"))
    await planned(store, a_batch("stranger", account="other"))
    assert await store.files.delete("acme", a_file().id) == "batch_first"
    assert await store.files.get("acme", a_file().id) == a_file()


@with_store
async def test_a_file_that_only_finished_batches_used_goes(store: Store) -> None:
    await store.files.add(a_file(), PLENTY)
    await finished(store, a_batch())
    await planned(store, a_batch("stranger", account="other"))
    assert await store.files.delete("acme", a_file().id) is None
    assert await store.files.get("acme", a_file().id) is None
    assert await store.files.delete("acme", a_file().id) is None


@with_store
async def test_expired_files_are_those_whose_end_has_come(store: Store) -> None:
    for name, end in (("late", T0 + 2), ("early", T0 - 5), ("now", T0), ("never", None)):
        await store.files.add(a_file(name, expires_at=end), PLENTY)
    over = await store.files.expired(T0, 10)
    assert [file.id for file in over] == ["file-batch-early", "file-batch-now"]
    assert [file.id for file in await store.files.expired(T0, 1)] == ["file-batch-early"]


@with_store
async def test_an_expired_file_in_use_is_left_alone(store: Store) -> None:
    await store.files.add(a_file("1", expires_at=T0), PLENTY)
    await store.files.add(a_file("2", expires_at=T0), PLENTY)
    await planned(store, a_batch(input_file_id="file-batch-1"))
    await finished(store, a_batch("2", input_file_id="file-batch-2"))
    assert [file.id for file in await store.files.expired(T0, 10)] == ["file-batch-2"]


@with_store
async def test_words_that_no_database_takes_are_stored_all_the_same(store: Store) -> None:
    await store.files.add(a_file(filename="a\0b\ud800c\udfff"), PLENTY)
    stored = await store.files.get("acme", a_file().id)
    assert stored is not None
    assert stored.filename == "a\ufffdb\ufffdc\ufffd"
    assert await store.files.get("acme", "file-\ud800") is None
