"""What every journal promises, whatever lies beneath it."""

import asyncio

import pytest
from journal_cases import (
    BATCH,
    FIRSTS,
    Heard,
    Place,
    a_record,
    a_shard,
    read_attempts,
    with_each,
    with_place,
    written,
)

from batchmill.ports import Journal, Settled
from batchmill.telemetry import engine_metrics

EMPTY = Settled({}, frozenset())


@with_each
async def test_what_was_appended_is_told_of_and_read_back(journal: Journal) -> None:
    records = [a_record(1), a_record(3, ok=False), a_record(2, line=b"")]
    heard = await written(journal, a_shard(), records)
    assert heard.numbers == [1, 3, 2]
    settled = await journal.read(BATCH, 0)
    assert settled == Settled({record.number: record for record in records}, frozenset())


@with_each
async def test_sent_marks_are_read_back_and_told_of_to_nobody(journal: Journal) -> None:
    heard = Heard()
    segment = await journal.open(a_shard(), heard)
    segment.mark_sent(4)
    segment.append(a_record(4))
    segment.mark_sent(5)
    await segment.close()
    settled = await journal.read(BATCH, 0)
    assert (set(settled.records), set(settled.sent)) == ({4}, {4, 5})
    assert heard.numbers == [4]


@with_each
async def test_the_first_record_of_a_line_counts_whichever_attempt_it_is_from(
    journal: Journal,
) -> None:
    assert await read_attempts(journal, 1, 2, 10) == FIRSTS


@with_each
async def test_shards_and_batches_do_not_mix(journal: Journal) -> None:
    await written(journal, a_shard(0), [a_record(1)])
    await written(journal, a_shard(1), [a_record(2)])
    await written(journal, a_shard(0, batch_id="batch_2"), [a_record(3)])
    await written(journal, a_shard(0, batch_id="batch_11"), [a_record(4)])
    assert set((await journal.read(BATCH, 0)).records) == {1}
    assert set((await journal.read(BATCH, 1)).records) == {2}
    assert set((await journal.read("batch_2", 0)).records) == {3}
    assert await journal.read("batch_3", 0) == EMPTY


@with_each
async def test_a_segment_that_nothing_was_added_to_closes_at_once(journal: Journal) -> None:
    heard = await written(journal, a_shard(), [])
    assert heard.groups == []
    assert await journal.read(BATCH, 0) == EMPTY


@with_each
async def test_an_attempt_is_written_by_one_alone(journal: Journal) -> None:
    await written(journal, a_shard(), [a_record(1)])
    with pytest.raises(FileExistsError):
        await journal.open(a_shard(), Heard())
    assert set((await journal.read(BATCH, 0)).records) == {1}


@with_each
async def test_the_group_interval_alone_makes_a_group(journal: Journal) -> None:
    """Nobody has to close a segment for its records to become durable."""
    heard = Heard()
    segment = await journal.open(a_shard(), heard)
    for number in (1, 2, 3):
        segment.append(a_record(number))
        await heard.until(number)
        assert len((await journal.read(BATCH, 0)).records) == number
    await segment.close()


@with_place
async def test_close_does_not_wait_for_the_interval(place: Place) -> None:
    async with place.open(interval=3600.0) as journal:
        heards = [Heard() for _ in range(5)]
        segments = [await journal.open(a_shard(n), heards[n]) for n in range(5)]
        for number in range(1, 101):
            segments[number % 5].append(a_record(number))
        await asyncio.gather(*(segment.close() for segment in segments))
        assert sorted(n for heard in heards for n in heard.numbers) == list(range(1, 101))
        for n in range(5):
            assert list((await journal.read(BATCH, n)).records) == heards[n].numbers


@with_place
async def test_roomy_holds_while_too_much_is_pending_and_lets_go_after(place: Place) -> None:
    async with place.open(interval=3600.0, max_pending=1000) as journal:
        metrics = engine_metrics()
        segment = await journal.open(a_shard(), Heard())
        segment.append(a_record(1, line=b"x" * 500))
        await journal.roomy()
        segment.append(a_record(2, line=b"x" * 500))
        waiting = asyncio.create_task(journal.roomy())
        await asyncio.sleep(0)
        assert not waiting.done()
        journal.observe(metrics.journal)
        assert metrics.registry.get_sample_value("batchmill_journal_pending_bytes") > 1000  # type: ignore[operator]
        await segment.close()
        await waiting
        journal.observe(metrics.journal)
        assert metrics.registry.get_sample_value("batchmill_journal_pending_bytes") == 0


@with_each
async def test_drop_removes_a_batch_and_held_tells_which_there_are(journal: Journal) -> None:
    assert list(await journal.held()) == []
    await written(journal, a_shard(), [a_record(1)])
    await written(journal, a_shard(batch_id="batch_2"), [a_record(1)])
    assert sorted(await journal.held()) == [BATCH, "batch_2"]
    await journal.drop(BATCH)
    assert list(await journal.held()) == ["batch_2"]
    assert await journal.read(BATCH, 0) == EMPTY
    await journal.drop(BATCH)


@with_each
async def test_a_sealed_batch_reads_as_it_was(journal: Journal) -> None:
    for index in (0, 1):
        await written(journal, a_shard(index), [a_record(1 + index)])
        await written(journal, a_shard(index, attempt=2), [a_record(3 + index)])
    sealed = await journal.seal(BATCH)
    for index in (0, 1, 2):
        assert await sealed.read(index) == await journal.read(BATCH, index)
    assert await sealed.stands()


@with_place
async def test_a_new_journal_reads_what_an_old_one_left(place: Place) -> None:
    async with place.open() as journal:
        await written(journal, a_shard(), [a_record(1)])
    async with place.open() as journal:
        assert set((await journal.read(BATCH, 0)).records) == {1}
        assert list(await journal.held()) == [BATCH]
        before = await journal.read(BATCH, 0)
        segment = await journal.open(a_shard(attempt=2), Heard(), before)
        segment.append(a_record(2))
        await segment.close()
        assert set((await journal.read(BATCH, 0)).records) == {1, 2}
