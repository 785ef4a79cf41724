"""Sweeping: what nobody needs goes, row before bytes; everything else stays."""

import asyncio
from pathlib import Path

import pytest
from engine_fakes import DAY, T0
from engine_house import FULL, House, open_house, some_lines
from stored_batch import PLENTY

from batchmill.domain.batch import Event, advance
from batchmill.domain.file import Purpose, Upload, UploadPart, UploadStatus
from batchmill.domain.rates import LONGEST_SECONDS, Rate, RateRule
from batchmill.domain.shards import Shard
from batchmill.engine.sweep import Sweeper
from batchmill.ports import BlobMissing, Quota, Reservation

URL = "http://127.0.0.1:9/v1"


def sweeper(house: House) -> Sweeper:
    parts = house.parts
    return Sweeper(store=parts.store, blobs=parts.blobs, journal=parts.journal, clock=house.clock)


async def exists(house: House, key: str) -> bool:
    try:
        return bool([chunk async for chunk in house.blobs.read(key)])
    except BlobMissing:
        return False


def test_expired_files_go_with_their_bytes_and_others_stay(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            gone = await house.upload(some_lines(1), expires_at=T0 + 10)
            later = await house.upload(some_lines(1), expires_at=T0 + 10.5)
            forever = await house.upload(some_lines(1))
            house.clock.advance(10.0)
            await sweeper(house).sweep()
            assert await house.rows.files.get("acme", gone.id) is None
            assert not await exists(house, gone.blob)
            for file in (later, forever):
                assert await house.rows.files.get("acme", file.id) == file
                assert await exists(house, file.blob)
            await sweeper(house).sweep()

    asyncio.run(main())


def test_an_expired_input_stays_for_as_long_as_a_batch_needs_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            file = await house.upload(some_lines(1), expires_at=T0 + 10)
            batch = await house.create(file.id)
            house.clock.advance(20.0)
            await sweeper(house).sweep()
            assert await exists(house, file.blob)
            failed = advance(batch, Event.REJECTED, house.clock.now())
            assert await house.rows.batches.move(batch, failed)
            await sweeper(house).sweep()
            assert not await exists(house, file.blob)

    asyncio.run(main())


def test_overdue_uploads_expire_with_their_parts_and_pending_ones_stay(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            for name, life in (("old", 3600.0), ("new", 3601.0)):
                upload = Upload(
                    id=f"upload_{name}",
                    account="acme",
                    purpose=Purpose.BATCH,
                    filename="in.jsonl",
                    bytes=10,
                    mime_type="application/jsonl",
                    status=UploadStatus.PENDING,
                    created_at=T0,
                    expires_at=T0 + life,
                )
                await house.rows.uploads.add(upload, PLENTY)
                writer = await house.blobs.create(f"parts/{name}")
                await writer.write(b"12345")
                await writer.commit()
                part = UploadPart(f"part_{name}", upload.id, 5, f"parts/{name}", T0)
                assert await house.rows.uploads.add_part(part)
            house.clock.advance(3600.0)
            await sweeper(house).sweep()
            old = await house.rows.uploads.get("acme", "upload_old")
            new = await house.rows.uploads.get("acme", "upload_new")
            assert old is not None
            assert new is not None
            assert (old.status, new.status) == (UploadStatus.EXPIRED, UploadStatus.PENDING)
            assert not await exists(house, "parts/old")
            assert await exists(house, "parts/new")

    asyncio.run(main())


def test_room_of_killed_uploads_goes_and_that_of_living_ones_stays(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            one = Quota(files=1, bytes=1000)
            for account, life in (("acme", 600.0), ("other", 600.5)):
                room = Reservation(f"file-{account}", account, 1000, T0 + life)
                await house.rows.files.reserve(room, one, T0)
            house.clock.advance(600.0)
            await sweeper(house).sweep()
            assert await house.rows.files.drop_stale(T0 + 600.0) == 0
            assert await house.rows.files.drop_stale(T0 + 600.5) == 1

    asyncio.run(main())


def test_what_was_counted_for_rates_goes_once_no_rate_looks_back_as_far(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            rates = house.rows.rates
            for at in (T0, T0 + 1.0):
                await rates.admit("gone", RateRule.SIGN_IN, Rate(9, 1.0), at)
            house.clock.advance(LONGEST_SECONDS + 1.0)
            await sweeper(house).sweep()
            assert await rates.forget(T0 + 1.0) == 0
            assert await rates.forget(T0 + 1.1) == 1

    asyncio.run(main())


def test_journals_of_ended_batches_go_and_those_of_running_ones_stay(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            running = await house.submit(some_lines(1))
            for batch_id in (running.id, "batch_ended"):
                shard = Shard(batch_id, 0, 0, 1, 1, 1, ("m",), attempt=1)
                await (await house.parts.journal.open(shard, lambda _: None)).close()
            await sweeper(house).sweep()
            assert await house.parts.journal.held() == [running.id]

    asyncio.run(main())


def test_the_engine_sweeps_every_minute_and_a_full_disk_is_no_end_of_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL) as house:
            house.script.fail("files.expired", FULL, 2)
            file = await house.upload(some_lines(1), expires_at=T0 + DAY / 100)
            house.clock.advance(DAY / 100)
            async with house.hurry():
                await house.script.until(lambda: house.script.calls["blobs.delete"] > 0)
            assert house.script.failed["files.expired"] == 2
            assert await house.rows.files.get("acme", file.id) is None

    asyncio.run(main())


def test_a_row_goes_before_its_bytes(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, start=False) as house:
            file = await house.upload(some_lines(1), expires_at=T0)
            house.script.fail("blobs.delete", FULL)
            with pytest.raises(type(FULL)):
                await sweeper(house).sweep()
            assert await house.rows.files.get("acme", file.id) is None

    asyncio.run(main())
