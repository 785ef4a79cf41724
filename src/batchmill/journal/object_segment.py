"""An attempt's log as part objects, each a group of records by time or size."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from batchmill import faultpoint
from batchmill.domain.shards import Shard
from batchmill.journal.extent import part_key
from batchmill.journal.record import MARK_BYTES, RECORD_BYTES, Group, encode
from batchmill.journal.watch import SyncWatch
from batchmill.ports import Record
from batchmill.telemetry import Fact, get_logger

log = get_logger()

PART_BYTES = 8 * 1024 * 1024


class Keeper(Protocol):
    """What a segment asks of its journal."""

    interval: float
    pending_bytes: int

    async def keep(self, key: str, data: bytes) -> None:
        """Write a part, however long the bucket is away; raises FileExistsError."""
        ...

    def note_room(self) -> None:
        """Less is pending."""
        ...


class ObjectSegment:
    """One attempt's parts. One is written at a time, the next is gathered meanwhile."""

    def __init__(
        self, keeper: Keeper, shard: Shard, on_durable: Callable[[Sequence[Record]], None]
    ) -> None:
        self._keeper = keeper
        self._shard = shard
        self._on_durable = on_durable
        self._part = 0
        # Each with about its size.
        self._pending: deque[tuple[Record | int, int]] = deque()
        self._pending_bytes = 0
        self._is_closing = False
        self._is_due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._broken: Exception | None = None
        self.watch = SyncWatch()
        self._writer = asyncio.create_task(self._write_forever(), name="journal segment")

    def mark_sent(self, *numbers: int) -> None:
        """Note that lines are about to be sent; durable with the next group."""
        for number in numbers:
            self._add(number, MARK_BYTES)

    def append(self, *records: Record) -> None:
        """Add records to the next group."""
        for record in records:
            self._add(record, RECORD_BYTES + len(record.line))

    async def close(self) -> None:
        """Wait for the last group; raises what broke the segment.

        That is FileExistsError where another writes under the same attempt.
        """
        self._is_closing = True
        self._is_due.set()
        await self._idle.wait()
        await self.halt()
        if self._broken is not None:
            raise self._broken

    async def halt(self) -> None:
        """Write nothing more, whatever is pending."""
        if self._timer is not None:
            self._timer.cancel()
        self._writer.cancel()
        await asyncio.gather(self._writer, return_exceptions=True)

    @property
    def is_over(self) -> bool:
        """Whether it is closed, or broke."""
        return self._writer.done()

    def _add(self, entry: Record | int, size: int) -> None:
        if self._broken is not None:
            return
        if not self._pending:
            self._begin_group()
        self._pending.append((entry, size))
        self._pending_bytes += size
        self._keeper.pending_bytes += size
        if self._pending_bytes >= PART_BYTES or self._is_closing:
            self._is_due.set()

    def _begin_group(self) -> None:
        self._idle.clear()
        loop = asyncio.get_running_loop()
        self.watch.begin(loop.time())
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(self._keeper.interval, self._is_due.set)

    async def _write_forever(self) -> None:
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            if not self._pending:
                continue
            group = self._take_group()
            try:
                await self._write(bytes(encode(group)))
            except Exception as error:
                log.exception(Fact.JOURNAL_BROKE)
                self._give_up(group.bytes, error)
                return
            self._settle(group)

    def _take_group(self) -> Group:
        """At most about one part's worth, for memory and for the time that it takes."""
        group = Group()
        while self._pending and group.bytes < PART_BYTES:
            entry, size = self._pending.popleft()
            if isinstance(entry, Record):
                group.records.append(entry)
            else:
                group.sent.append(entry)
            group.bytes += size
        self._pending_bytes -= group.bytes
        return group

    async def _write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.watch.take(loop.time())
        if self._pending:
            self._begin_group()
        faultpoint.passed("segment.before_durable")
        shard = self._shard
        key = part_key(shard.batch_id, shard.index, shard.attempt, self._part + 1)
        await self._keeper.keep(key, data)
        self._part += 1
        faultpoint.passed("segment.after_durable")
        self.watch.end(loop.time(), is_durable=True)

    def _settle(self, group: Group) -> None:
        self._keeper.pending_bytes -= group.bytes
        self._keeper.note_room()
        if group.records:
            self._on_durable(group.records)
        if not self._pending:
            self._idle.set()
        elif self._is_closing or self._pending_bytes >= PART_BYTES:
            self._is_due.set()

    def _give_up(self, size: int, error: Exception) -> None:
        """Nothing behind a part that is missing would ever be read."""
        self._broken = error
        self._keeper.pending_bytes -= size + self._pending_bytes
        self._keeper.note_room()
        self._pending.clear()
        self._pending_bytes = 0
        self._idle.set()
