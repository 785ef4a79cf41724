"""The journal on a local disk: groups, durability before telling, attempts, and backpressure."""

import asyncio
import os
from pathlib import Path

import pytest
from journal_cases import (
    BATCH,
    FIRSTS,
    Heard,
    a_record,
    a_shard,
    open_journal,
    read_attempts,
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
async def test_attempts_come_in_the_order_of_their_numbers_and_not_of_their_time(
    journal: LocalJournal, root: Path
) -> None:
    assert await read_attempts(journal, 2, 1, 10) == FIRSTS


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


@with_journal
async def test_a_segment_that_is_dropped_while_it_is_read_is_as_if_it_was_never_there(
    journal: LocalJournal, root: Path
) -> None:
    await written(journal, a_shard(), [a_record(1)])
    path = segment_path(root, a_shard(attempt=2))
    path.symlink_to(root / "gone")  # it is listed, and cannot be opened
    assert set((await journal.read(BATCH, 0)).records) == {1}


@with_journal
async def test_a_closed_segment_leaves_no_descriptor_open(
    journal: LocalJournal, root: Path
) -> None:
    before = open_descriptors()
    for attempt in range(1, 20):
        await written(journal, a_shard(attempt=attempt), [a_record(attempt)])
    assert open_descriptors() <= before  # the collector may close those of earlier tests
