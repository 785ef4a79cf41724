"""The journal on a local disk: an appended file per attempt, synced in groups.

Records of all open segments are written and synced together, once per group
interval, in a thread. A record is told of as durable only after its sync.
While the disk is full what is pending stays in memory, ``roomy`` holds new
work back, and writing is tried again until there is room.
"""

import asyncio
import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from batchmill import faultpoint
from batchmill.domain.shards import Shard
from batchmill.journal.record import decode_lines, encode_record, encode_sent
from batchmill.journal.watch import SyncWatch
from batchmill.ports import Record, Settled
from batchmill.telemetry import Fact, JournalMetrics, get_logger

log = get_logger()

# EFBIG is what a file-size limit answers, which may be raised as room may be made.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_RETRY_SECONDS = 1.0


class LocalSegment:
    """One attempt's file. What is pending waits for the journal's next group."""

    def __init__(
        self, journal: "LocalJournal", fd: int, on_durable: Callable[[Sequence[Record]], None]
    ) -> None:
        self._journal = journal
        self._fd = fd
        self._size = 0
        self._pending: list[bytes] = []
        self._records: list[Record] = []
        self._on_durable = on_durable
        self._idle = asyncio.Event()
        self._idle.set()
        self.broken: Exception | None = None

    def mark_sent(self, number: int) -> None:
        """Note that a line is about to be sent; durable with the next group."""
        self._add(encode_sent(number))

    def append(self, record: Record) -> None:
        """Add a record to the next group."""
        self._records.append(record)
        self._add(encode_record(record))

    async def close(self) -> None:
        """Wait for the last group and close the file; raises OSError if the disk broke."""
        self._journal.hurry()
        await self._idle.wait()
        await asyncio.to_thread(os.close, self._fd)
        if self.broken is not None:
            raise self.broken

    def _add(self, data: bytes) -> None:
        if not self._pending:
            self._idle.clear()
            self._journal.enlist(self)
        self._pending.append(data)
        self._journal.pending_bytes += len(data)

    def take(self) -> tuple[bytes, list[Record]]:
        """What the next group writes; it is no longer pending."""
        data, records = b"".join(self._pending), self._records
        self._pending, self._records = [], []
        return data, records

    def write(self, data: bytes) -> None:
        """Append and sync, in a thread; on an error the file is as it was before."""
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
        self._size += len(data)

    def settle(self, size: int, records: list[Record]) -> None:
        """The group is durable: tell of it."""
        self._journal.pending_bytes -= size
        if records:
            self._on_durable(records)
        if not self._pending:
            self._idle.set()

    def put_back(self, data: bytes, records: list[Record]) -> None:
        """The group could not be written for want of room: it is pending again."""
        if not self._pending:
            self._journal.enlist(self)
        self._pending.insert(0, data)
        self._records[:0] = records

    def give_up(self, size: int, error: Exception) -> None:
        """The disk broke: whoever closes this segment hears of it."""
        self._journal.pending_bytes -= size
        self.broken = error
        if not self._pending:
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

    async def open(
        self,
        shard: Shard,
        on_durable: Callable[[Sequence[Record]], None],
        before: Settled | None = None,  # noqa: ARG002 - one machine has no late twins
    ) -> LocalSegment:
        """Begin the segment of ``shard.attempt``; raises OSError."""
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush_forever(), name="journal flusher")
        path = self._root / shard.batch_id / f"{shard.index:06d}.{shard.attempt:06d}.log"
        fd = await asyncio.to_thread(_create, path)
        return LocalSegment(self, fd, on_durable)

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
        found: dict[int, Record] = {}
        sent: set[int] = set()
        for path in sorted((self._root / batch_id).glob(f"{index:06d}.*.log")):
            records, numbers = _read_segment(path)
            sent.update(numbers)
            for record in records:
                found.setdefault(record.number, record)
        return Settled(found, frozenset(sent))

    async def seal(self, batch_id: str) -> "LocalSealed":
        """What there is: the one machine that writes it has ended all that wrote."""
        return LocalSealed(self, batch_id)

    async def drop(self, batch_id: str) -> None:
        """Remove the batch's folder."""
        await asyncio.to_thread(shutil.rmtree, self._root / batch_id, ignore_errors=True)

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

    def hurry(self) -> None:
        """Do not wait for the group to fill."""
        if self._dirty and not self._is_full:
            self._flush.set()

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
        groups = [(segment, *segment.take()) for segment in segments]
        loop = asyncio.get_running_loop()
        self._watch.take(loop.time())
        errors = await asyncio.to_thread(_write_all, [(one, data) for one, data, _ in groups])
        self._watch.end(loop.time(), is_durable=not any(map(_is_full, filter(None, errors))))
        was_full, self._is_full = self._is_full, False
        for (segment, data, records), error in zip(groups, errors, strict=True):
            if error is None:
                segment.settle(len(data), records)
            elif _is_full(error):
                self._is_full = True
                segment.put_back(data, records)
            else:
                log.error(Fact.JOURNAL_BROKE, exc_info=error)
                segment.give_up(len(data), error)
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

    def __init__(self, journal: LocalJournal, batch_id: str) -> None:
        self._journal = journal
        self._batch_id = batch_id

    async def read(self, index: int) -> Settled:
        """What is whole of all attempts at a shard, first come first."""
        return await self._journal.read(self._batch_id, index)

    async def stands(self) -> bool:
        """Yes: only the one engine of this machine drops it."""
        return True


def _create(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    for folder in (path.parent, path.parent.parent):
        _sync_folder(folder)
    return fd


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _FULL


def _write_all(groups: Sequence[tuple[LocalSegment, bytes]]) -> list[Exception | None]:
    """Write each group; what went wrong with it, whatever it is: the flusher must go on."""
    errors: list[Exception | None] = []
    for segment, data in groups:
        try:
            segment.write(data)
        except Exception as error:  # noqa: BLE001 - the segment's owner hears of it
            errors.append(error)
        else:
            errors.append(None)
    return errors


def _read_segment(path: Path) -> tuple[list[Record], list[int]]:
    """What is whole of a segment; nothing of one that is dropped while it is looked for."""
    try:
        with path.open("rb") as file:
            return decode_lines(file)
    except FileNotFoundError:
        return [], []
