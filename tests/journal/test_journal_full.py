"""A disk that takes no more, and one that breaks: nothing lost, nothing doubled, nothing hidden."""

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_cases import BATCH, Heard, a_record, a_shard, open_journal, segment_path

from batchmill.journal import local
from batchmill.journal.record import Group, decode

NUMBERS = list(range(1, 41))


class Disk:
    """Stands before ``os.write`` and ``os.fdatasync``; ``error`` is what they raise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: int | None = None
        self.takes_part = False
        self.refused = 0
        self.refusing = asyncio.Event()
        self.fails_sync = False
        self._write, self._sync = os.write, os.fdatasync
        self._loop: asyncio.AbstractEventLoop | None = None
        monkeypatch.setattr(os, "write", self.write)
        monkeypatch.setattr(os, "fdatasync", self.fdatasync)
        monkeypatch.setattr(local, "_RETRY_SECONDS", 0.001)

    def break_down(self, error: int) -> None:
        self.error = error
        self._loop = asyncio.get_running_loop()

    async def until_refused(self, times: int) -> None:
        """Return when so many writes were refused in all."""
        while self.refused < times:
            self.refusing.clear()
            await self.refusing.wait()

    # Called in the journal's thread, while the test sets ``error`` in the loop's.

    def write(self, fd: int, data: bytes) -> int:
        error = self.error
        if error is None or self.fails_sync:
            return self._write(fd, data)
        if self.takes_part and len(data) > 1:
            # As a disk does that has a little room left: a part now, the error for the rest.
            self.takes_part = False
            return self._write(fd, data[: len(data) // 2])
        raise self._refusal(error)

    def fdatasync(self, fd: int) -> None:
        error = self.error
        if error is not None and self.fails_sync:
            raise self._refusal(error)
        self._sync(fd)

    def _refusal(self, error: int) -> OSError:
        self.refused += 1
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.refusing.set)
        return OSError(error, os.strerror(error))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    yield Disk(monkeypatch)
    monkeypatch.undo()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("way", ["at once", "after a part", "at the sync"])
def test_a_full_disk_is_waited_out_and_nothing_is_lost_or_doubled(
    tmp_path: Path, disk: Disk, error: int, way: str
) -> None:
    async def main() -> None:
        async with open_journal(tmp_path) as journal:
            heards = [Heard(), Heard()]
            segments = [await journal.open(a_shard(n), heards[n]) for n in (0, 1)]
            segments[0].append(a_record(100))
            await heards[0].until(1)
            disk.takes_part, disk.fails_sync = way == "after a part", way == "at the sync"
            disk.break_down(error)
            for number in NUMBERS[:20]:
                segments[number % 2].append(a_record(number))
            await disk.until_refused(1)
            for number in NUMBERS[20:]:
                segments[number % 2].append(a_record(number))
            await disk.until_refused(disk.refused + 4)
            assert heards[0].numbers == [100]
            assert heards[1].numbers == []
            disk.error = None
            await asyncio.gather(*(segment.close() for segment in segments))
            assert heards[0].numbers == [100, *range(2, 41, 2)]
            assert heards[1].numbers == list(range(1, 41, 2))
            assert journal.pending_bytes == 0
            for n in (0, 1):
                settled = await journal.read(BATCH, n)
                assert list(settled.records) == heards[n].numbers
                with segment_path(tmp_path, a_shard(n)).open("rb") as file:
                    assert len(decode(file)[0]) == len(heards[n].numbers)

    asyncio.run(main())


def test_roomy_waits_while_the_disk_is_full_and_not_before(tmp_path: Path, disk: Disk) -> None:
    async def main() -> None:
        async with open_journal(tmp_path) as journal:
            heard = Heard()
            segment = await journal.open(a_shard(), heard)
            await journal.roomy()
            disk.break_down(errno.ENOSPC)
            segment.append(a_record(1))
            # At the second refusal the flusher has surely heard of the first.
            await disk.until_refused(2)
            waiting = asyncio.create_task(journal.roomy())
            await asyncio.sleep(0)
            assert not waiting.done()
            disk.error = None
            await waiting
            await segment.close()
            assert heard.numbers == [1]

    asyncio.run(main())


def test_a_disk_that_breaks_loses_that_group_and_close_says_so(tmp_path: Path, disk: Disk) -> None:
    async def main() -> None:
        async with open_journal(tmp_path) as journal:
            heard = Heard()
            segment = await journal.open(a_shard(), heard)
            segment.append(a_record(1))
            await heard.until(1)
            disk.takes_part = True
            disk.break_down(errno.EIO)
            segment.append(a_record(2))
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                await segment.close()
            assert heard.numbers == [1]
            assert journal.pending_bytes == 0
            disk.error = None
            assert set((await journal.read(BATCH, 0)).records) == {1}
            await journal.roomy()

    asyncio.run(main())


def test_close_waits_for_what_came_while_the_disk_broke(tmp_path: Path, disk: Disk) -> None:
    """Else its descriptor could be another file's when the late group is written."""

    async def main() -> None:
        async with open_journal(tmp_path, interval=0.0) as journal:
            heard = Heard()
            segment = await journal.open(a_shard(), heard)
            real_give_up = segment.give_up

            def give_up_late(group: Group, error: Exception) -> None:
                # Between the thread that failed and the loop that hears of it.
                disk.error = None
                segment.append(a_record(2))
                real_give_up(group, error)

            segment.give_up = give_up_late  # type: ignore[method-assign]
            disk.break_down(errno.EIO)
            segment.append(a_record(1))
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                await segment.close()
            assert heard.numbers == [2], "the file was closed before the last group"
            assert set((await journal.read(BATCH, 0)).records) == {2}

    asyncio.run(main())


def test_one_broken_segment_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with open_journal(tmp_path) as journal:
            broken, sound = Heard(), Heard()
            bad = await journal.open(a_shard(0), broken)
            good = await journal.open(a_shard(1), sound)
            real = os.fdatasync

            def fdatasync(fd: int) -> None:
                if Path(f"/proc/self/fd/{fd}").readlink().name == "000000.000001.log":
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                real(fd)

            monkeypatch.setattr(os, "fdatasync", fdatasync)
            bad.append(a_record(1))
            good.append(a_record(2))
            await good.close()
            assert sound.numbers == [2]
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                await bad.close()
            assert broken.numbers == []

    asyncio.run(main())


def test_an_error_of_any_kind_is_told_to_the_owner_and_the_journal_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with open_journal(tmp_path) as journal:
            broken, sound = Heard(), Heard()
            bad = await journal.open(a_shard(0), broken)
            with monkeypatch.context() as patched:
                patched.setattr(os, "fdatasync", lambda fd: int("no number"))
                bad.append(a_record(1))
                with pytest.raises(ValueError, match="no number"):
                    await bad.close()
            good = await journal.open(a_shard(1), sound)
            good.append(a_record(2))
            await good.close()
            assert (broken.numbers, sound.numbers) == ([], [2])
            assert (await journal.read(BATCH, 0)).records == {}

    asyncio.run(main())
