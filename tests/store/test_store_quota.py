"""Room is reserved before bytes come: files, reservations and pending uploads share one quota."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from store_cases import PLENTY, T0, a_batch, a_file, an_upload, planned, with_store

from batchmill.domain.account import Deed
from batchmill.domain.file import UploadStatus
from batchmill.ports import FileQuery, Kept, Quota, QuotaReached, Reservation, Store
from batchmill.store import open_store

LIFE = 600.0
MANY = Quota(files=100, bytes=1000)


def some_room(name: str = "1", size: int = 100, **changes: Any) -> Reservation:
    room = Reservation(f"file-batch-{name}", "acme", size, T0 + LIFE)
    return replace(room, **changes)


async def refused(doing: Any) -> str | None:
    """Of what there was not enough; None where it was done."""
    try:
        await doing
    except QuotaReached as reached:
        return reached.of
    return None


@with_store
async def test_room_is_taken_up_to_the_last_byte_and_no_further(store: Store) -> None:
    await store.files.add(a_file("stored", bytes=400), MANY)
    await store.uploads.add(an_upload(bytes=300), MANY)
    assert await refused(store.files.reserve(some_room(size=301), MANY, T0)) == "bytes"
    assert await refused(store.files.reserve(some_room(size=300), MANY, T0)) is None
    assert await refused(store.files.reserve(some_room("2", 1), MANY, T0)) == "bytes"
    assert await refused(store.files.reserve(some_room("3", 1, account="b"), MANY, T0)) is None


@with_store
async def test_room_is_taken_up_to_the_last_file_and_no_further(store: Store) -> None:
    quota = Quota(files=3, bytes=10**9)
    await store.files.add(a_file("stored"), quota)
    await store.uploads.add(an_upload(), quota)
    await store.files.reserve(some_room(), quota, T0)
    assert await refused(store.files.reserve(some_room("2"), quota, T0)) == "files"
    assert await refused(store.uploads.add(an_upload("2"), quota)) == "files"
    assert await refused(store.files.add(a_file("2"), quota)) == "files"


@with_store
async def test_room_grows_and_shrinks_in_its_own_place(store: Store) -> None:
    await store.files.reserve(some_room(size=900), MANY, T0)
    assert await refused(store.files.reserve(some_room(size=1001), MANY, T0)) == "bytes"
    await store.files.reserve(some_room(size=1000), MANY, T0)
    await store.files.reserve(some_room(size=10), MANY, T0)
    assert await refused(store.files.reserve(some_room("2", 990), MANY, T0)) is None
    assert await refused(store.files.reserve(some_room(size=11), MANY, T0)) == "bytes"


@with_store
async def test_a_row_takes_the_place_of_its_room(store: Store) -> None:
    await store.files.reserve(some_room(size=1000), MANY, T0)
    assert await refused(store.files.add(a_file("stranger", bytes=1), MANY)) == "bytes"
    await store.files.add(a_file("1", bytes=600), MANY)
    assert await refused(store.files.add(a_file("2", bytes=401), MANY)) == "bytes"
    assert await refused(store.files.add(a_file("2", bytes=400), MANY)) is None


@with_store
async def test_a_row_that_has_its_room_is_not_refused_for_what_came_meanwhile(
    store: Store,
) -> None:
    """Results of batches are stored, quota or not."""
    await store.files.reserve(some_room(size=500), MANY, T0)
    await store.files.add(a_file("results", bytes=10**6), PLENTY)
    assert await refused(store.files.reserve(some_room(size=501), MANY, T0)) == "bytes"
    assert await refused(store.files.reserve(some_room(size=500), MANY, T0)) is None
    assert await refused(store.files.add(a_file("1", bytes=500), MANY)) is None


@with_store
async def test_a_row_that_is_larger_than_its_room_is_judged(store: Store) -> None:
    await store.files.reserve(some_room(size=500), MANY, T0)
    await store.files.reserve(some_room("2", 400), MANY, T0)
    assert await refused(store.files.add(a_file("1", bytes=601), MANY)) == "bytes"
    assert await refused(store.files.add(a_file("1", bytes=600), MANY)) is None


@with_store
async def test_room_that_is_given_back_is_free(store: Store) -> None:
    await store.files.reserve(some_room(size=1000), MANY, T0)
    await store.files.release("file-batch-1")
    await store.files.release("file-batch-1")
    assert await refused(store.files.reserve(some_room("2", 1000), MANY, T0)) is None


@with_store
async def test_room_falls_back_when_its_time_is_over_and_not_before(store: Store) -> None:
    await store.files.reserve(some_room(size=1000), MANY, T0)
    early, due = T0 + LIFE - 0.1, T0 + LIFE
    assert await refused(store.files.reserve(some_room("2"), MANY, early)) == "bytes"
    assert await refused(store.files.reserve(some_room("2"), MANY, due)) is None


@with_store
async def test_whoever_finds_their_room_taken_is_judged_anew(store: Store) -> None:
    """An upload that slept through the end of its room cannot step back into it."""
    await store.files.reserve(some_room(size=600), MANY, T0)
    await store.files.reserve(some_room("2", 600, expires_at=T0 + 9999), MANY, T0 + LIFE)
    assert await refused(store.files.add(a_file("1", bytes=600), MANY)) == "bytes"
    assert await refused(store.files.reserve(some_room(size=600), MANY, T0)) == "bytes"
    assert await refused(store.files.add(a_file("1", bytes=400), MANY)) is None


@with_store
async def test_stale_room_is_swept_and_live_room_is_not(store: Store) -> None:
    await store.files.reserve(some_room("old"), MANY, T0)
    await store.files.reserve(some_room("new", expires_at=T0 + LIFE + 1), MANY, T0)
    await store.files.reserve(some_room("b", account="b"), MANY, T0)
    assert await store.files.drop_stale(T0 + LIFE - 0.1) == 0
    assert await store.files.drop_stale(T0 + LIFE) == 2
    assert await store.files.drop_stale(T0 + LIFE) == 0


@pytest.mark.parametrize("end", [UploadStatus.CANCELLED, UploadStatus.EXPIRED])
def test_an_upload_that_ends_gives_its_room_back(end: UploadStatus, tmp_path: Path) -> None:
    async def main() -> None:
        store = await open_store(tmp_path / "x.db")
        await store.uploads.add(an_upload(bytes=1000), MANY)
        assert await refused(store.files.reserve(some_room(), MANY, T0)) == "bytes"
        assert await store.uploads.close(an_upload(status=end))
        assert await refused(store.files.reserve(some_room(), MANY, T0)) is None
        await store.close()

    asyncio.run(main())


@with_store
async def test_an_upload_whose_hour_is_over_holds_nothing_even_unswept(store: Store) -> None:
    await store.uploads.add(an_upload(bytes=1000), MANY)
    early, due = T0 + 3599.9, T0 + 3600
    assert await refused(store.files.reserve(some_room(), MANY, early)) == "bytes"
    assert await refused(store.files.reserve(some_room(), MANY, due)) is None


@with_store
async def test_a_completed_upload_counts_as_its_file_alone(store: Store) -> None:
    await store.uploads.add(an_upload(bytes=1000), MANY)
    done = an_upload(bytes=1000, status=UploadStatus.COMPLETED, file_id="file-batch-1")
    assert await store.uploads.complete(done, a_file(bytes=1000), MANY)
    assert await refused(store.files.reserve(some_room("2", 1), MANY, T0)) == "bytes"
    await store.files.delete("acme", "file-batch-1")
    assert await refused(store.files.reserve(some_room("2", 1000), MANY, T0)) is None


@with_store
async def test_what_is_kept_is_what_counts(store: Store) -> None:
    """Files, live reservations and pending uploads of this account, each once."""
    assert await store.files.kept("acme", T0) == Kept(0, 0)
    await store.files.add(a_file("stored", bytes=400), MANY)
    await store.files.add(a_file("theirs", bytes=999, account="b"), MANY)
    assert await store.files.kept("acme", T0) == Kept(1, 400)
    await store.files.reserve(some_room(size=50), MANY, T0)
    assert await store.files.kept("acme", T0) == Kept(2, 450)
    await store.uploads.add(an_upload(bytes=300), MANY)
    assert await store.files.kept("acme", T0) == Kept(3, 750)
    await store.files.add(a_file("1", bytes=49), MANY)
    assert await store.files.kept("acme", T0) == Kept(3, 749), "the row took its room's place"
    done = an_upload(bytes=300, status=UploadStatus.COMPLETED, file_id="file-batch-2")
    assert await store.uploads.complete(done, a_file("2", bytes=300), MANY)
    assert await store.files.kept("acme", T0) == Kept(3, 749)
    await store.files.delete("acme", "file-batch-stored")
    assert await store.files.kept("acme", T0) == Kept(2, 349)


@with_store
async def test_what_is_over_is_not_kept_even_unswept(store: Store) -> None:
    await store.files.reserve(some_room(size=50), MANY, T0)
    await store.uploads.add(an_upload(bytes=300), MANY)
    early, due = T0 + LIFE - 0.1, T0 + LIFE
    assert await store.files.kept("acme", early) == Kept(2, 350)
    assert await store.files.kept("acme", due) == Kept(1, 300)
    assert await store.files.kept("acme", T0 + 3599.9) == Kept(1, 300)
    assert await store.files.kept("acme", T0 + 3600) == Kept(0, 0)


def a_deed() -> Deed:
    return Deed("deed_1", "acme", "key_1", "file.deleted", "file-batch-1", T0)


async def deeds(store: Store) -> Sequence[Deed]:
    return (await store.audit.list("acme", limit=10)).items


@with_store
async def test_a_deletion_is_told_of_where_something_was_deleted(store: Store) -> None:
    await store.files.add(a_file(), PLENTY)
    await planned(store, a_batch("user"))
    assert await store.files.delete("acme", a_file().id, a_deed()) == "batch_user"
    assert await store.files.delete("other", a_file().id, a_deed()) is None
    assert await store.files.delete("acme", "file-batch-none", a_deed()) is None
    assert await deeds(store) == ()
    await store.files.add(a_file("free"), PLENTY)
    assert await store.files.delete("acme", "file-batch-free", a_deed()) is None
    assert await deeds(store) == (a_deed(),)


@pytest.mark.parametrize(
    ("quota", "fit"), [(Quota(files=7, bytes=10**9), 7), (Quota(files=10**6, bytes=799), 7)]
)
def test_openings_of_one_database_share_the_quota(tmp_path: Path, quota: Quota, fit: int) -> None:
    """64 uploads at once over two of them: reserve, grow, store; a third of them gives up."""

    async def upload(store: Store, number: int) -> bool:
        name = f"{number:02}"
        try:
            await store.files.reserve(some_room(name, 50), quota, T0)
            await store.files.reserve(some_room(name, 100), quota, T0)
        except QuotaReached:
            await store.files.release(f"file-batch-{name}")
            return False
        if number % 3 == 0:
            await store.files.release(f"file-batch-{name}")
            return False
        await store.files.add(a_file(name), quota)
        return True

    async def main() -> None:
        stores = [await open_store(tmp_path / "x.db") for _ in range(2)]
        for _ in range(3):
            ends = await asyncio.gather(*(upload(stores[n % 2], n) for n in range(64)))
            kept = (await stores[0].files.list("acme", FileQuery(100))).items
            assert sum(ends) == len(kept) <= fit
            for file in kept:
                await stores[1].files.delete("acme", file.id)
        full = [await refused(stores[n % 2].files.add(a_file(str(n)), quota)) for n in range(fit)]
        assert full == [None] * fit
        assert await refused(stores[0].files.add(a_file("more"), quota)) is not None
        for store in stores:
            await store.close()

    asyncio.run(main())
