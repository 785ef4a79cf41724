"""The journal on a local disk: groups, durability before telling, attempts, and backpressure."""

import asyncio
import os
from pathlib import Path

import pytest
from journal_cases import (
    BATCH,
    Heard,
    a_record,
    a_shard,
    open_journal,
    segment_path,
    with_journal,
    written,
)

from batchmill.journal.local import LocalJournal
from batchmill.ports import Settled

EMPTY = Settled({}, frozenset())


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@with_journal
async def test_what_was_appended_is_told_of_and_read_back(
    journal: LocalJournal, root: Path
) -> None:
    records = [a_record(1), a_record(3, ok=False), a_record(2, line=b"")]
    heard = await written(journal, a_shard(), records)
    assert heard.numbers == [1, 3, 2]
    settled = await journal.read(BATCH, 0)
    assert settled == Settled({record.number: record for record in records}, frozenset())


@with_journal
async def test_sent_marks_are_read_back_and_told_of_to_nobody(
    journal: LocalJournal, root: Path
) -> None:
    heard = Heard()
    segment = await journal.open(a_shard(), heard)
    segment.mark_sent(4)
    segment.append(a_record(4))
    segment.mark_sent(5)
    await segment.close()
    settled = await journal.read(BATCH, 0)
    assert (set(settled.records), set(settled.sent)) == ({4}, {4, 5})
    assert heard.numbers == [4]


@with_journal
async def test_the_first_record_of_a_line_counts_whichever_attempt_it_is_from(
    journal: LocalJournal, root: Path
) -> None:
    await written(journal, a_shard(attempt=2), [a_record(1, line=b"late"), a_record(3)])
    await written(journal, a_shard(attempt=1), [a_record(1, line=b"first"), a_record(2)])
    await written(journal, a_shard(attempt=10), [a_record(3, line=b"twin")])
    settled = await journal.read(BATCH, 0)
    assert {number: record.line for number, record in settled.records.items()} == {
        1: b"first",
        2: a_record(2).line,
        3: a_record(3).line,
    }


@with_journal
async def test_shards_and_batches_do_not_mix(journal: LocalJournal, root: Path) -> None:
    await written(journal, a_shard(0), [a_record(1)])
    await written(journal, a_shard(1), [a_record(2)])
    await written(journal, a_shard(0, batch_id="batch_2"), [a_record(3)])
    assert set((await journal.read(BATCH, 0)).records) == {1}
    assert set((await journal.read(BATCH, 1)).records) == {2}
    assert set((await journal.read("batch_2", 0)).records) == {3}
    assert await journal.read("batch_3", 0) == EMPTY


@with_journal
async def test_a_segment_that_nothing_was_added_to_closes_at_once(
    journal: LocalJournal, root: Path
) -> None:
    await written(journal, a_shard(), [])
    assert segment_path(root, a_shard()).read_bytes() == b""


@with_journal
async def test_an_attempt_is_written_by_one_alone(journal: LocalJournal, root: Path) -> None:
    await written(journal, a_shard(), [a_record(1)])
    with pytest.raises(FileExistsError):
        await journal.open(a_shard(), Heard())
    assert set((await journal.read(BATCH, 0)).records) == {1}


def test_a_tail_torn_at_any_byte_leaves_the_whole_records(tmp_path: Path) -> None:
    """And the next attempt goes on behind it: together they hold every line once."""

    async def main() -> None:
        async with open_journal(tmp_path) as journal:
            await written(journal, a_shard(attempt=1), [a_record(n) for n in (1, 2, 3)])
            path = segment_path(tmp_path, a_shard(attempt=1))
            whole = path.read_bytes()
            ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
            await written(journal, a_shard(attempt=2), [a_record(9)])
            for cut in range(len(whole) + 1):
                path.write_bytes(whole[:cut])
                kept = sum(end <= cut for end in ends)
                expected = {*range(1, kept + 1), 9}
                assert set((await journal.read(BATCH, 0)).records) == expected, f"cut at {cut}"

    asyncio.run(main())


def test_many_segments_share_one_sync_each_and_nothing_is_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group of a thousand records over four segments costs four fdatasync."""
    synced: list[int] = []
    real = os.fdatasync

    def fdatasync(fd: int) -> None:
        assert not any(heard.groups for heard in heards), "told before it was durable"
        synced.append(fd)
        real(fd)

    heards = [Heard() for _ in range(4)]

    async def main() -> None:
        async with open_journal(tmp_path, interval=60.0) as journal:
            segments = [await journal.open(a_shard(n), heards[n]) for n in range(4)]
            for number in range(1, 1001):
                segments[number % 4].append(a_record(number))
            monkeypatch.setattr(os, "fdatasync", fdatasync)
            await asyncio.gather(*(segment.close() for segment in segments))
        assert [len(heard.groups) for heard in heards] == [1, 1, 1, 1]

    asyncio.run(main())
    assert len(synced) == 4
    assert sorted(n for heard in heards for n in heard.numbers) == list(range(1, 1001))


def test_the_group_interval_alone_makes_a_group(tmp_path: Path) -> None:
    """Nobody has to close a segment for its records to become durable."""

    async def main() -> None:
        async with open_journal(tmp_path, interval=0.001) as journal:
            heard = Heard()
            segment = await journal.open(a_shard(), heard)
            segment.append(a_record(1))
            await heard.until(1)
            assert set((await journal.read(BATCH, 0)).records) == {1}
            segment.append(a_record(2))
            await heard.until(2)
            await segment.close()

    asyncio.run(main())


def test_roomy_holds_while_too_much_is_pending_and_lets_go_after(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_journal(tmp_path, interval=60.0, max_pending=1000) as journal:
            segment = await journal.open(a_shard(), Heard())
            segment.append(a_record(1, line=b"x" * 500))
            await journal.roomy()
            segment.append(a_record(2, line=b"x" * 500))
            waiting = asyncio.create_task(journal.roomy())
            await asyncio.sleep(0)
            assert not waiting.done()
            await segment.close()
            await waiting
            assert journal.pending_bytes == 0

    asyncio.run(main())


@with_journal
async def test_drop_removes_a_batch_and_held_tells_which_there_are(
    journal: LocalJournal, root: Path
) -> None:
    assert await journal.held() == []
    await written(journal, a_shard(), [a_record(1)])
    await written(journal, a_shard(batch_id="batch_2"), [a_record(1)])
    assert sorted(await journal.held()) == [BATCH, "batch_2"]
    await journal.drop(BATCH)
    assert await journal.held() == ["batch_2"]
    assert await journal.read(BATCH, 0) == EMPTY
    await journal.drop(BATCH)


@with_journal
async def test_a_segment_that_is_dropped_while_it_is_read_is_as_if_it_was_never_there(
    journal: LocalJournal, root: Path
) -> None:
    await written(journal, a_shard(), [a_record(1)])
    path = segment_path(root, a_shard(attempt=2))
    path.symlink_to(root / "gone")  # it is listed, and cannot be opened
    assert set((await journal.read(BATCH, 0)).records) == {1}


def test_a_new_journal_reads_what_an_old_one_left(tmp_path: Path) -> None:
    async def write() -> None:
        async with open_journal(tmp_path) as journal:
            await written(journal, a_shard(), [a_record(1)])

    async def read() -> None:
        async with open_journal(tmp_path) as journal:
            assert set((await journal.read(BATCH, 0)).records) == {1}
            assert await journal.held() == [BATCH]

    asyncio.run(write())
    asyncio.run(read())


@with_journal
async def test_a_closed_segment_leaves_no_descriptor_open(
    journal: LocalJournal, root: Path
) -> None:
    before = open_descriptors()
    for attempt in range(1, 20):
        await written(journal, a_shard(attempt=attempt), [a_record(attempt)])
    assert open_descriptors() == before
