"""Multipart uploads: an upload leaves ``pending`` once, for every database."""

import pytest
from store_cases import PLENTY, T0, a_file, an_upload, with_store

from batchmill.domain.file import Upload, UploadPart, UploadStatus
from batchmill.ports import Quota, QuotaReached, Store


def a_part(name: str, upload: Upload) -> UploadPart:
    return UploadPart(f"part_{name}", upload.id, 50, f"uploads/{name}", T0)


@with_store
async def test_an_upload_comes_back_as_it_was_added(store: Store) -> None:
    upload = an_upload(bytes=8 * 2**30, file_expires_after=3600)
    await store.uploads.add(upload, PLENTY)
    assert await store.uploads.get("acme", upload.id) == upload
    assert await store.uploads.get("other", upload.id) is None


@with_store
async def test_parts_come_in_the_order_of_their_storing(store: Store) -> None:
    for upload in (an_upload("1"), an_upload("2")):
        await store.uploads.add(upload, PLENTY)
    parts = [a_part(name, an_upload("1")) for name in ("z", "a", "m")]
    for part in parts:
        assert await store.uploads.add_part(part)
    assert await store.uploads.add_part(a_part("other", an_upload("2")))
    assert list(await store.uploads.parts("upload_1")) == parts


@with_store
async def test_a_part_needs_a_pending_upload(store: Store) -> None:
    assert not await store.uploads.add_part(a_part("a", an_upload()))
    await store.uploads.add(an_upload(), PLENTY)
    assert await store.uploads.close(an_upload(status=UploadStatus.CANCELLED))
    assert not await store.uploads.add_part(a_part("a", an_upload()))
    assert list(await store.uploads.parts("upload_1")) == []


@with_store
async def test_completing_stores_the_file_once(store: Store) -> None:
    await store.uploads.add(an_upload(), PLENTY)
    done = an_upload(status=UploadStatus.COMPLETED, file_id=a_file().id)
    assert await store.uploads.complete(done, a_file(), PLENTY)
    assert await store.uploads.get("acme", done.id) == done
    assert await store.files.get("acme", a_file().id) == a_file()
    assert not await store.uploads.complete(done, a_file("2"), PLENTY)
    assert await store.files.get("acme", a_file("2").id) is None


@with_store
async def test_an_upload_beyond_the_quota_stays_pending(store: Store) -> None:
    await store.uploads.add(an_upload(), PLENTY)
    done = an_upload(status=UploadStatus.COMPLETED, file_id=a_file().id)
    with pytest.raises(QuotaReached):
        await store.uploads.complete(done, a_file(), Quota(files=10, bytes=99))
    assert await store.uploads.get("acme", done.id) == an_upload()
    assert await store.uploads.complete(done, a_file(), Quota(files=1, bytes=100))


@with_store
async def test_the_first_to_close_an_upload_wins(store: Store) -> None:
    await store.uploads.add(an_upload(), PLENTY)
    assert await store.uploads.close(an_upload(status=UploadStatus.CANCELLED))
    assert not await store.uploads.close(an_upload(status=UploadStatus.EXPIRED))
    stored = await store.uploads.get("acme", "upload_1")
    assert stored == an_upload(status=UploadStatus.CANCELLED)


@with_store
async def test_overdue_are_the_pending_ones_whose_hour_is_over(store: Store) -> None:
    for name, end in (("now", T0), ("later", T0 + 1), ("long", T0 - 9), ("closed", T0 - 9)):
        await store.uploads.add(an_upload(name, expires_at=end), PLENTY)
    await store.uploads.close(an_upload("closed", status=UploadStatus.COMPLETED))
    assert [u.id for u in await store.uploads.overdue(T0, 10)] == ["upload_long", "upload_now"]
    assert [u.id for u in await store.uploads.overdue(T0, 1)] == ["upload_long"]
