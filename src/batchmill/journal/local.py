"""The journal on a local disk: an appended file per attempt, synced in groups.

Records of all open segments are written and synced together, once per group
interval, in a thread. A record is told of as durable only after its sync; with
the first of a segment its name in the folder is synced as well.
While the disk is full what is pending stays in memory, ``roomy`` holds new
work back, and writing is tried again until there is room.
"""

import asyncio
import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from batchmill import faultpoint
from batchmill.domain.shards import Shard
from batchmill.journal.batch_folder import BatchFolder, files_of_shard
from batchmill.journal.record import RECORD_BYTES, Group, decode, encode
from batchmill.journal.watch import SyncWatch
from batchmill.ports import Record, Settled
from batchmill.telemetry import Fact, JournalMetrics, get_logger

log = get_logger()

# EFBIG is what a file-size limit answers, which may be raised as room may be made.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_RETRY_SECONDS = 1.0

# Most segments are read in one go: after each read the thread waits for the interpreter.
_READ_BYTES = 1024 * 1024


class LocalSegment:
    """One attempt's file. What is pending waits for the journal's next group."""

    def __init__(
        self,
        journal: "LocalJournal",
        folder: BatchFolder,
        fd: int,
        on_durable: Callable[[Sequence[Record]], None],
    ) -> None:
        self._journal = journal
        self.folder = folder
        self.is_named = False  # durably, by its folder
        self._fd = fd
        self._size = 0
        self._written = 0
        self._pending = Group()
        self._is_enlisted = False  # for the journal's next group
        self._on_durable = on_durable
        self._idle = asyncio.Event()
        self._idle.set()
        self.broken: Exception | None = None

    def mark_sent(self, *numbers: int) -> None:
        """Note that lines are about to be sent; durable with the next group."""
        if not self._is_enlisted:
            self._enlist()
        self._pending.sent += numbers

    def append(self, *records: Record) -> None:
        """Add records to the next group."""
        if not self._is_enlisted:
            self._enlist()
        group, size = self._pending, sum([RECORD_BYTES + len(record.line) for record in records])
        group.records += records
        group.bytes += size
        self._journal.pending_bytes += size

    async def close(self) -> None:
        """Wait for the last group and close the file; raises OSError if the disk broke."""
        self._journal.leave()
        try:
            await self._idle.wait()
        finally:
            self._journal.left()
        # What is synced costs no time to close.
        os.close(self._fd)
        if self.broken is not None:
            raise self.broken

    def _enlist(self) -> None:
        self._is_enlisted = True
        self._idle.clear()
        self._journal.enlist(self)

    def take(self) -> Group:
        """What is written next; it is no longer pending."""
        group, self._pending = self._pending, Group()
        self._is_enlisted = False
        return group

    def write(self, group: Group) -> None:
        """Append and sync, in a thread; on an error the file is as it was before."""
        data = encode(group)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
            faultpoint.passed("segment.before_durable")
            os.fdatasync(self._fd)
            faultpoint.passed("segment.after_durable")
        except Exception:
            os.ftruncate(self._fd, self._size)
            raise
        self._size, self._written = self._size + len(data), len(data)

    def take_back(self) -> None:
        """Cut off what was written last, in a thread."""
        self._size, self._written = self._size - self._written, 0
        os.ftruncate(self._fd, self._size)

    def settle(self, group: Group) -> None:
        """The group is durable: tell of it."""
        self._journal.pending_bytes -= group.bytes
        if group.records:
            self._on_durable(group.records)
        if not self._is_enlisted:
            self._idle.set()

    def put_back(self, group: Group) -> None:
        """The group could not be written for want of room: it is pending again, and first."""
        later = self._pending
        if not self._is_enlisted:
            self._enlist()
        self._pending = Group(
            group.sent + later.sent, group.records + later.records, group.bytes + later.bytes
        )

    def give_up(self, group: Group, error: Exception) -> None:
        """The disk broke: whoever closes this segment hears of it."""
        self._journal.pending_bytes -= group.bytes
        self.broken = error
        if not self._is_enlisted:
            self._idle.set()


class LocalJournal:
    """Segments below ``root``, a folder a batch; ``interval`` seconds make a group."""

    def __init__(self, root: Path, interval: float, max_pending_bytes: int) -> None:
        self._root = root
        self._interval = interval
        self._max_pending = max_pending_bytes
        self.pending_bytes = 0
        self._dirty: list[LocalSegment] = []
        self._flush = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._roomy = asyncio.Event()
        self._roomy.set()
        self._is_full = False
        self._watch = SyncWatch()
        self._flusher: asyncio.Task[None] | None = None
        self._open = 0
        self._leaving = 0
        # Of the batches that this process has written for.
        self._folders: dict[str, BatchFolder] = {}

    async def open(
        self,
        shard: Shard,
        on_durable: Callable[[Sequence[Record]], None],
        before: Settled | None = None,  # noqa: ARG002 - one machine has no late twins
    ) -> LocalSegment:
        """Begin the segment of ``shard.attempt``; raises OSError."""
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush_forever(), name="journal flusher")
        folder = self._folder_of(shard.batch_id)
        fd = await asyncio.to_thread(folder.create, shard.index, shard.attempt)
        self._open += 1
        return LocalSegment(self, folder, fd, on_durable)

    def _folder_of(self, batch_id: str) -> BatchFolder:
        if batch_id not in self._folders:
            self._folders[batch_id] = BatchFolder(self._root / batch_id)
        return self._folders[batch_id]

    @property
    def is_roomy(self) -> bool:
        """Whether the disk has room, and not too much waits to be written."""
        return self.pending_bytes <= self._max_pending and not self._is_full

    async def roomy(self) -> None:
        """Wait while the disk is full, or while too much waits to be written."""
        if self.pending_bytes > self._max_pending:
            self._roomy.clear()
        if not self._roomy.is_set():
            await self._roomy.wait()

    async def read(self, batch_id: str, index: int) -> Settled:
        """What is whole of all attempts at a shard, first come first."""
        return await asyncio.to_thread(self._read, batch_id, index)

    def _read(self, batch_id: str, index: int) -> Settled:
        return _read_segments(files_of_shard(self._root / batch_id, index))

    async def seal(self, batch_id: str) -> "LocalSealed":
        """What there is: the one machine that writes it has ended all that wrote."""
        return LocalSealed(self._folder_of(batch_id))

    async def drop(self, batch_id: str) -> None:
        """Remove the batch's folder."""
        folder = self._folder_of(batch_id)
        del self._folders[batch_id]
        await asyncio.to_thread(folder.remove)

    async def held(self) -> Sequence[str]:
        """The ids of the batches that there are segments of."""
        return await asyncio.to_thread(self._held)

    def _held(self) -> list[str]:
        return [path.name for path in self._root.iterdir()] if self._root.exists() else []

    async def close(self) -> None:
        """Stop the flusher; open segments are closed by their owners before."""
        if self._flusher is not None:
            self._flusher.cancel()
            await asyncio.gather(self._flusher, return_exceptions=True)

    def observe(self, metrics: JournalMetrics) -> None:
        """Show what waits to be durable, and how long the last groups took."""
        self._watch.observe(metrics, asyncio.get_running_loop().time())
        metrics.pending_bytes.set(self.pending_bytes)
        metrics.storage_full.set(self._is_full)

    def enlist(self, segment: LocalSegment) -> None:
        """The segment has something for the next group, which begins now if none is pending."""
        if not self._dirty:
            self._watch.begin(asyncio.get_running_loop().time())
        self._dirty.append(segment)
        if self._timer is None:
            wait = _RETRY_SECONDS if self._is_full else self._interval
            self._timer = asyncio.get_running_loop().call_later(wait, self._flush.set)

    def leave(self) -> None:
        """A segment adds nothing more; when none will, the group does not wait to fill."""
        self._leaving += 1
        if self._leaving == self._open and self._dirty and not self._is_full:
            self._flush.set()

    def left(self) -> None:
        """A segment that added nothing more has ended."""
        self._leaving -= 1
        self._open -= 1

    async def _flush_forever(self) -> None:
        while True:
            await self._flush.wait()
            self._flush.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            await self._flush_group()

    async def _flush_group(self) -> None:
        segments, self._dirty = self._dirty, []
        groups = [(segment, segment.take()) for segment in segments]
        loop = asyncio.get_running_loop()
        self._watch.take(loop.time())
        errors = await asyncio.to_thread(_write_all, groups)
        self._watch.end(loop.time(), is_durable=not any(map(_is_full, filter(None, errors))))
        was_full, self._is_full = self._is_full, False
        for (segment, group), error in zip(groups, errors, strict=True):
            if error is None:
                segment.settle(group)
            elif _is_full(error):
                self._is_full = True
                segment.put_back(group)
            else:
                log.error(Fact.JOURNAL_BROKE, exc_info=error)
                segment.give_up(group, error)
        self._note_room(was_full=was_full)

    def _note_room(self, *, was_full: bool) -> None:
        if self._is_full:
            self._roomy.clear()
            if not was_full:
                log.error(Fact.STORAGE_FULL, fault="journal")
            return
        if was_full:
            log.info(Fact.STORAGE_FREED, fault="journal")
        if self.pending_bytes <= self._max_pending:
            self._roomy.set()


class LocalSealed:
    """See the port Sealed."""

    shards_ahead = 0

    def __init__(self, folder: BatchFolder) -> None:
        self._folder = folder
        self._files: Mapping[int, Sequence[Path]] | None = None

    async def read(self, index: int) -> Settled:
        """What is whole of all attempts at a shard, first come first."""
        return await asyncio.to_thread(self._read, index)

    def _read(self, index: int) -> Settled:
        # The folder is asked once for all shards: nothing comes to it any more.
        if self._files is None:
            self._files = self._folder.files()
        return _read_segments(self._files.get(index, ()))

    async def stands(self) -> bool:
        """Yes: only the one engine of this machine drops it."""
        return True


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _FULL


def _write_all(groups: Sequence[tuple[LocalSegment, Group]]) -> list[Exception | None]:
    """Write each group; what went wrong with it, whatever it is: the flusher must go on."""
    errors = [_error_of(partial(segment.write, group)) for segment, group in groups]
    written = [one for one, error in zip(groups, errors, strict=True) if error is None]
    unnamed = {segment.folder for segment, _ in written if not segment.is_named}
    lost = {folder: _error_of(folder.sync) for folder in unnamed}
    return [
        error or _name(segment, lost.get(segment.folder))
        for (segment, _), error in zip(groups, errors, strict=True)
    ]


def _name(segment: LocalSegment, error: Exception | None) -> Exception | None:
    """A segment is written and its folder synced; what is in a file without a name is not kept."""
    if error is None or segment.is_named:
        segment.is_named = True
        return None
    return _error_of(segment.take_back) or error


def _error_of(work: Callable[[], None]) -> Exception | None:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - the segment's owner hears of it
        return error
    return None


def _read_segments(paths: Iterable[Path]) -> Settled:
    found: dict[int, Record] = {}
    sent: set[int] = set()
    for path in paths:
        records, numbers = _read_segment(path)
        sent.update(numbers)
        for record in records:
            found.setdefault(record.number, record)
    return Settled(found, frozenset(sent))


def _read_segment(path: Path) -> tuple[list[Record], list[int]]:
    """What is whole of a segment; nothing of one that is dropped while it is looked for."""
    try:
        with path.open("rb", _READ_BYTES) as file:
            return decode(file)
    except FileNotFoundError:
        return [], []
