"""The journal on a local disk: groups, durability before telling, attempts, and backpressure."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Sequence
from itertools import chain
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

from batchmill.journal import local
from batchmill.journal.local import LocalJournal
from batchmill.ports import Record, Settled

EMPTY = Settled({}, frozenset())


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@with_journal
async def test_attempts_come_in_the_order_of_their_numbers_and_not_of_their_time(
    journal: LocalJournal, root: Path
) -> None:
    assert await read_attempts(journal, 2, 1, 10) == FIRSTS


def test_a_tail_torn_at_any_byte_leaves_the_whole_groups(tmp_path: Path) -> None:
    """And the next attempt goes on behind it: together they hold every line once."""
    groups = [[1], [2, 3], [4]]

    async def main() -> None:
        async with open_journal(tmp_path) as journal:
            path, heard, ends = segment_path(tmp_path, a_shard(attempt=1)), Heard(), list[int]()
            segment = await journal.open(a_shard(attempt=1), heard)
            for group in groups:
                for number in group:
                    segment.append(a_record(number))
                await heard.until(group[-1])
                ends.append(path.stat().st_size)
            await segment.close()
            assert [[one.number for one in told] for told in heard.groups] == groups
            whole = path.read_bytes()
            await written(journal, a_shard(attempt=2), [a_record(9)])
            for cut in range(len(whole) + 1):
                path.write_bytes(whole[:cut])
                kept = sum(end <= cut for end in ends)
                expected = {*chain(*groups[:kept]), 9}
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


class Syncs:
    """What is synced, by the names of files and folders, while a fault may be put in the way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.fault: OSError | None = None
        self._refusals = threading.Semaphore(0)
        monkeypatch.setattr(local, "_RETRY_SECONDS", 0.001)
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._watching(getattr(os, name)))

    def _watching(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def sync(fd: int) -> None:
            path = Path(f"/proc/self/fd/{fd}").readlink()
            if path.is_dir() and self.fault is not None:
                self._refusals.release()
                raise self.fault
            self.names.append(path.name)
            real(fd)

        return sync

    async def until_refused(self, times: int) -> None:
        for _ in range(times):
            await asyncio.to_thread(self._refusals.acquire)


def test_a_segment_is_durable_by_its_name_before_any_record_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is synced with its first group, once for all that are new, and never again.

    So is the name of the folder itself, which is new as well.
    """
    syncs = Syncs(monkeypatch)

    async def main() -> None:
        async with open_journal(tmp_path / "journal") as journal:

            class Told(Heard):
                def __call__(self, records: Sequence[Record]) -> None:
                    assert {BATCH, "journal"} <= set(syncs.names), "told of before it was named"
                    super().__call__(records)

            heards = [Told() for _ in range(3)]
            segments = [await journal.open(a_shard(n), heards[n]) for n in range(3)]
            assert syncs.names == [], "there is nothing yet to keep"
            for number in (1, 2):
                for segment, heard in zip(segments, heards, strict=True):
                    segment.append(a_record(number))
                    await heard.until(number)
            await asyncio.gather(*(segment.close() for segment in segments))

    asyncio.run(main())
    assert 1 <= syncs.names.count(BATCH) <= 3
    assert syncs.names[-1] != BATCH
    assert syncs.names.count("journal") == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_without_its_name_no_record_of_a_segment_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A disk that breaks is told of; one that is full is tried again until there is room."""
    syncs = Syncs(monkeypatch)

    async def main() -> None:
        async with open_journal(tmp_path / "journal") as journal:
            heard = Heard()
            segment = await journal.open(a_shard(), heard)
            syncs.fault = OSError(number, os.strerror(number))
            segment.append(a_record(1))
            closing = asyncio.create_task(segment.close())
            if number == errno.EIO:
                with pytest.raises(OSError, match="Input/output"):
                    await closing
            else:
                # At the second refusal the flusher has surely heard of the first.
                await syncs.until_refused(2)
            assert heard.numbers == []
            if number == errno.EIO:
                assert not segment_path(tmp_path / "journal", a_shard()).read_bytes()
            if number == errno.ENOSPC:
                syncs.fault = None
                await closing
                assert heard.numbers == [1]
                assert list((await journal.read(BATCH, 0)).records) == [1]

    asyncio.run(main())


def test_only_where_nothing_else_is_open_a_segment_that_closes_makes_a_group(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with open_journal(tmp_path, interval=3600.0) as journal:
            heards = [Heard(), Heard()]
            one, other = [await journal.open(a_shard(n), heards[n]) for n in (0, 1)]
            one.append(a_record(1))
            other.append(a_record(2))
            closing = asyncio.create_task(one.close())
            await journal.read(BATCH, 0)
            assert not closing.done()
            await other.close()
            await closing
            assert [heard.numbers for heard in heards] == [[1], [2]]

    asyncio.run(main())


def test_what_an_earlier_process_left_is_read_by_the_one_that_writes_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_journal(tmp_path) as journal:
            await written(journal, a_shard(3), [a_record(31)])
        async with open_journal(tmp_path) as journal:
            await written(journal, a_shard(2), [a_record(21)])
            found = [list((await journal.read(BATCH, n)).records) for n in range(5)]
            assert found == [[], [], [21], [31], []]
            await journal.drop(BATCH)
            assert await journal.read(BATCH, 3) == EMPTY
            await written(journal, a_shard(3, attempt=2), [a_record(32)])
            assert list((await journal.read(BATCH, 3)).records) == [32]

    asyncio.run(main())
