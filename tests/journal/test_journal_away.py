"""A bucket that refuses, is slow, is away, or loses answers: nothing lost, nothing doubled."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from io import StringIO

import obstore
import pytest
import structlog
from bucket_server import new_place
from journal_cases import BATCH, PLENTY, Heard, a_record, a_shard
from obstore.store import ObjectStore
from rough_road import Road, everything, open_road, writes

from batchmill.domain.errors import StorageAway
from batchmill.journal import object_segment, objects
from batchmill.journal.extent import part_key
from batchmill.journal.objects import ObjectJournal
from batchmill.journal.record import RECORD_BYTES
from batchmill.telemetry import engine_metrics
from batchmill.telemetry.guard import describe_exception, keep_harmless


@pytest.fixture
def road() -> Iterator[Road]:
    with open_road() as road:
        yield road


@pytest.fixture
def bucket(road: Road, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setattr(objects, "_RETRY_SECONDS", 0.001)
    return new_place(endpoint=road.url).open()


@pytest.fixture(autouse=True)
def log_text() -> Iterator[StringIO]:
    stream = StringIO()
    structlog.configure(
        processors=[
            keep_harmless,
            describe_exception,
            structlog.processors.JSONRenderer(serializer=json.dumps),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    yield stream
    structlog.reset_defaults()


@asynccontextmanager
async def opened(
    bucket: ObjectStore, interval: float = 0.001, max_pending: int = PLENTY
) -> AsyncIterator[ObjectJournal]:
    journal = ObjectJournal(bucket, interval, max_pending)
    try:
        yield journal
    finally:
        await journal.close()


async def is_held(waiting: Awaitable[None]) -> bool:
    """Whether it still waits after many turns of the loop."""
    task = asyncio.ensure_future(waiting)
    for _ in range(50):
        await asyncio.sleep(0)
    is_done = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return not is_done


def test_nothing_is_told_before_the_bucket_has_answered(road: Road, bucket: ObjectStore) -> None:
    async def main() -> None:
        async with opened(bucket) as journal:
            heard = Heard()
            segment = await journal.open(a_shard(), heard)
            held = road.hold(writes)
            segment.append(a_record(1))
            await asyncio.to_thread(held.met.wait)
            segment.append(a_record(2))
            assert heard.numbers == []
            assert journal.pending_bytes > 0
            road.clear()
            await segment.close()
            assert heard.groups == [[a_record(1)], [a_record(2)]]
            assert journal.pending_bytes == 0

    asyncio.run(main())


def test_a_bucket_that_is_away_is_waited_out_and_work_is_held_back(
    road: Road, bucket: ObjectStore, log_text: StringIO
) -> None:
    async def main() -> None:
        async with opened(bucket) as journal:
            heards = [Heard() for _ in range(3)]
            segments = [await journal.open(a_shard(n), heards[n]) for n in range(3)]
            await journal.roomy()
            rule = road.refuse(everything)
            for n in range(3):
                segments[n].append(a_record(n + 1))
            await asyncio.to_thread(rule.wait_for, 12)  # the library's patience is over by then
            assert await is_held(journal.roomy())
            metrics = engine_metrics()
            journal.observe(metrics.journal)
            assert metrics.registry.get_sample_value("batchmill_storage_full") == 1.0
            for n in range(3):
                segments[n].append(a_record(n + 4))
            assert [heard.numbers for heard in heards] == [[], [], []]
            with pytest.raises(StorageAway):
                await journal.read(BATCH, 0)
            with pytest.raises(StorageAway):
                await journal.open(a_shard(9), Heard())
            road.clear()
            await asyncio.gather(*(segment.close() for segment in segments))
            await journal.roomy()
            assert [heard.numbers for heard in heards] == [[1, 4], [2, 5], [3, 6]]
            assert journal.pending_bytes == 0
            for n in range(3):
                assert list((await journal.read(BATCH, n)).records) == heards[n].numbers

    asyncio.run(main())
    events = [json.loads(line)["event"] for line in log_text.getvalue().splitlines()]
    assert events == ["storage_away", "storage_back"]
    assert "127.0.0.1" not in log_text.getvalue()


def test_memory_is_bounded_while_the_bucket_is_slow(road: Road, bucket: ObjectStore) -> None:
    async def main() -> None:
        async with opened(bucket, max_pending=1000) as journal:
            segment = await journal.open(a_shard(), Heard())
            held = road.hold(writes)
            segment.append(a_record(1, line=b"x" * 900))
            await asyncio.to_thread(held.met.wait)
            await journal.roomy()
            segment.append(a_record(2, line=b"x" * 900))
            assert await is_held(journal.roomy()), "what is on its way counts too"
            road.clear()
            await segment.close()
            await journal.roomy()

    asyncio.run(main())


@pytest.mark.parametrize("times", [1, 3])
def test_a_part_whose_answer_was_lost_counts_once(
    road: Road, bucket: ObjectStore, times: int
) -> None:
    """It is written again, meets itself, and is known by its bytes."""

    async def main() -> None:
        async with opened(bucket) as journal:
            heard = Heard()
            segment = await journal.open(a_shard(), heard)
            rule = road.lose_answers(writes, times=times)
            segment.append(a_record(1))
            await heard.until(1)
            assert rule.count == times
            segment.append(a_record(2))
            await segment.close()
            assert heard.numbers == [1, 2]
            assert list((await journal.read(BATCH, 0)).records) == [1, 2]

    asyncio.run(main())


def test_a_head_whose_answer_was_lost_is_known_to_be_ours(road: Road, bucket: ObjectStore) -> None:
    async def main() -> None:
        async with opened(bucket) as journal:
            road.lose_answers(writes)
            try:
                segment = await journal.open(a_shard(attempt=2), Heard())
            except StorageAway:
                # The library may give a lost answer up at once: then the attempt is lost.
                with pytest.raises(FileExistsError):
                    await journal.open(a_shard(attempt=2), Heard())
            else:
                await segment.close()

    asyncio.run(main())


def test_a_seal_whose_answer_was_lost_says_the_same(road: Road, bucket: ObjectStore) -> None:
    async def main() -> None:
        async with opened(bucket) as journal:
            segment = await journal.open(a_shard(), Heard())
            segment.append(a_record(1))
            await segment.close()
            road.lose_answers(writes)
            for _ in range(2):
                try:
                    sealed = await journal.seal(BATCH)
                except StorageAway:
                    continue
                assert list((await sealed.read(0)).records) == [1]
                return
            raise AssertionError("the second seal meets the first")

    asyncio.run(main())


def test_a_foreign_part_in_its_place_breaks_the_segment_and_no_other(
    bucket: ObjectStore, log_text: StringIO
) -> None:
    async def main() -> None:
        async with opened(bucket) as journal:
            broken, sound = Heard(), Heard()
            bad, good = await journal.open(a_shard(), broken), await journal.open(a_shard(1), sound)
            await obstore.put_async(bucket, part_key(BATCH, 0, 1, 2), b"foreign")
            bad.append(a_record(1))
            await broken.until(1)
            bad.append(a_record(2))
            good.append(a_record(4))
            with pytest.raises(FileExistsError):
                await bad.close()
            await good.close()
            bad.append(a_record(3))
            assert (broken.numbers, sound.numbers) == ([1], [4])
            assert journal.pending_bytes == 0
            assert set((await journal.read(BATCH, 0)).records) == {1}

    asyncio.run(main())
    assert json.loads(log_text.getvalue())["event"] == "journal_broke"


@pytest.mark.parametrize(("size", "parts"), [(99, 0), (100, 1)])
def test_a_full_part_does_not_wait_for_the_interval(
    bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch, size: int, parts: int
) -> None:
    async def main() -> None:
        async with opened(bucket, interval=3600.0) as journal:
            heard = Heard()
            segment = await journal.open(a_shard(), heard)
            record = a_record(1, line=b"x" * (size - RECORD_BYTES))
            monkeypatch.setattr(object_segment, "PART_BYTES", 100)
            segment.append(record)
            if parts:
                await heard.until(1)
            else:
                assert await is_held(heard.until(1))
            await segment.close()
            assert heard.numbers == [1]

    asyncio.run(main())


@pytest.mark.parametrize("last", [26, 27, 28, 29])
def test_what_piled_up_goes_in_parts_of_their_size_and_in_order(
    road: Road, bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    """The rest of it, which fills no part, goes after the interval."""
    monkeypatch.setattr(object_segment, "PART_BYTES", 200)

    async def main() -> None:
        async with opened(bucket) as journal:
            heard = Heard()
            segment = await journal.open(a_shard(), heard)
            held = road.hold(writes)
            segment.append(a_record(1))
            await asyncio.to_thread(held.met.wait)
            for number in range(2, last + 1):
                segment.mark_sent(number)
                segment.append(a_record(number))
            road.clear()
            await heard.until(last)
            assert heard.numbers == list(range(1, last + 1))
            assert len(heard.groups) > 4
            assert list((await journal.read(BATCH, 0)).records) == heard.numbers
            await segment.close()

    asyncio.run(main())


def test_the_lag_and_the_writes_are_shown(road: Road, bucket: ObjectStore) -> None:
    async def main() -> None:
        metrics = engine_metrics()
        read = metrics.registry.get_sample_value
        async with opened(bucket) as journal:
            heard = Heard()
            segment = await journal.open(a_shard(), heard)
            held = road.hold(writes)
            segment.append(a_record(1))
            await asyncio.to_thread(held.met.wait)
            journal.observe(metrics.journal)
            assert (read("batchmill_journal_lag_seconds") or 0.0) > 0.0
            road.clear()
            await heard.until(1)
            journal.observe(metrics.journal)
            assert read("batchmill_journal_sync_seconds_count") == 1.0
            await segment.close()
            journal.observe(metrics.journal)
            journal.observe(metrics.journal)
            assert read("batchmill_journal_lag_seconds") == 0.0
            assert read("batchmill_journal_sync_seconds_count") == 1.0

    asyncio.run(main())
