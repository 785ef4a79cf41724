"""Live results: the lines of a batch as they settle, page by page.

While the batch runs they come from the journal, in the order they settled by
shard; at its end from the two result files. No line is handed out twice under
one chain of cursors, and at the end none is missing.
"""

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from typing import Protocol

from batchmill.domain.batch import Batch
from batchmill.domain.file import File
from batchmill.domain.ids import line_id
from batchmill.domain.limits import MB, Limits
from batchmill.domain.shards import Shard
from batchmill.ports import Blobs, Record, Settled, Store
from batchmill.service.batches import unknown_batch
from batchmill.service.caller import Caller
from batchmill.service.cursor import Cursor, Mark, read_cursor, write_cursor
from batchmill.service.files import unknown_file
from batchmill.service.refusals import is_plausible_id
from batchmill.service.streams import split_lines

MAX_PAGE_BYTES = 16 * MB


class SettledSource(Protocol):
    """What reading asks of the journal."""

    async def read(self, batch_id: str, index: int) -> Settled:
        """As ``Journal.read``."""
        ...


class Outcome(StrEnum):
    """What became of a line."""

    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ResultQuery:
    """Which results to read; ``outcome`` None is both."""

    limit: int
    after: str | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class ResultPage:
    """Some result lines without their newlines; ``has_more`` also while more may come."""

    lines: Sequence[bytes]
    next_after: str
    has_more: bool


@dataclass(slots=True)
class _Tray:
    """The lines of a page being gathered: at most ``limit``, and not much over the byte cap."""

    limit: int
    max_bytes: int
    lines: list[bytes] = field(default_factory=list)
    size: int = 0

    def is_full(self) -> bool:
        return len(self.lines) >= self.limit or self.size >= self.max_bytes

    def add(self, line: bytes) -> None:
        self.lines.append(line)
        self.size += len(line)


class Results:
    """The use-case of reading results; pages end early at ``max_page_bytes``."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        journal: SettledSource,
        limits: Limits,
        max_page_bytes: int = MAX_PAGE_BYTES,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._journal = journal
        self._max_lines = limits.max_lines
        self._max_page_bytes = max_page_bytes

    async def page(self, caller: Caller, batch_id: str, query: ResultQuery) -> ResultPage:
        """The next results after ``query.after``; raises NotFound and InvalidRequest."""
        plausible = is_plausible_id(batch_id)
        batch = await self._store.batches.get(caller.account, batch_id) if plausible else None
        if batch is None:
            raise unknown_batch(batch_id)
        cursor = Cursor()
        if query.after is not None:
            cursor = read_cursor(batch.id, query.after, self._max_lines)
        tray = _Tray(query.limit, self._max_page_bytes)
        if batch.status.is_terminal:
            cursor, has_more = await self._from_files(batch, cursor, query.outcome, tray)
        else:
            cursor, has_more = await self._from_journal(batch, cursor, query.outcome, tray), True
        return ResultPage(tray.lines, write_cursor(batch.id, cursor), has_more)

    async def _from_journal(
        self, batch: Batch, cursor: Cursor, outcome: Outcome | None, tray: _Tray
    ) -> Cursor:
        seen = cursor.succeeded | cursor.failed
        fresh: list[Record] = []
        for shard in _unread(await self._store.shards.of_batch(batch.id), seen):
            settled = await self._journal.read(batch.id, shard.index)
            for record in settled.records.values():
                if tray.is_full():
                    return _with(cursor, fresh)
                if record.number not in seen and _is_wanted(record, outcome):
                    tray.add(record.line)
                    fresh.append(record)
        return _with(cursor, fresh)

    async def _from_files(
        self, batch: Batch, cursor: Cursor, outcome: Outcome | None, tray: _Tray
    ) -> tuple[Cursor, bool]:
        has_more = False
        if outcome is not Outcome.FAILED and batch.output_file_id is not None:
            file = await self._file(batch, batch.output_file_id)
            reader = _Reader(batch.id, sorted(cursor.succeeded), cursor.output)
            mark = await self._read_on(reader, file, tray)
            cursor, has_more = replace(cursor, output=mark), mark.offset < file.bytes
        if outcome is not Outcome.COMPLETED and batch.error_file_id is not None:
            file = await self._file(batch, batch.error_file_id)
            reader = _Reader(batch.id, sorted(cursor.failed), cursor.error)
            mark = await self._read_on(reader, file, tray)
            cursor, has_more = replace(cursor, error=mark), has_more or mark.offset < file.bytes
        return cursor, has_more

    async def _file(self, batch: Batch, file_id: str) -> File:
        file = await self._store.files.get(batch.account, file_id)
        if file is None:
            raise unknown_file(file_id)
        return file

    async def _read_on(self, reader: "_Reader", file: File, tray: _Tray) -> Mark:
        """Add lines until the tray is full or the file ends; where reading is to go on."""
        if tray.is_full() or reader.mark.offset >= file.bytes:
            return reader.mark
        chunks = self._blobs.read(file.blob, reader.mark.offset)
        async with aclosing(split_lines(chunks)) as lines:
            async for line in lines:
                if reader.is_fresh(line):
                    tray.add(line)
                reader.pass_by(line)
                if tray.is_full():
                    break
        return reader.mark


class _Reader:
    """Walks a result file past the lines that the journal gave before.

    File and numbers run in the same order, so only the next of them can be met.
    """

    def __init__(self, batch_id: str, had: Sequence[int], mark: Mark) -> None:
        self._batch_id = batch_id
        self._had = had
        self.mark = mark
        self._next = self._prefix(mark.passed)
        self._was_had = False

    def is_fresh(self, line: bytes) -> bool:
        """Whether the reader has not had this line."""
        self._was_had = self._next is not None and line.startswith(self._next)
        return not self._was_had

    def pass_by(self, line: bytes) -> None:
        """Go behind the line that ``is_fresh`` was asked about last."""
        passed = self.mark.passed + self._was_had
        self.mark = Mark(self.mark.offset + len(line) + 1, passed)
        if self._was_had:
            self._next = self._prefix(passed)

    def _prefix(self, passed: int) -> bytes | None:
        # every result line begins with its id: domain.results writes it so
        if passed >= len(self._had):
            return None
        return b'{"id":"%s"' % line_id(self._batch_id, self._had[passed]).encode()


def _unread(shards: Sequence[Shard], seen: frozenset[int]) -> list[Shard]:
    """The shards that were begun and may hold lines that are not in ``seen``."""
    numbers = sorted(seen)
    starts = [bisect_left(numbers, shard.first_line) for shard in shards]
    had = [end - start for start, end in pairwise([*starts, len(numbers)])]
    return [
        shard
        for shard, count in zip(shards, had, strict=True)
        if shard.attempt > 0 and count < shard.lines
    ]


def _is_wanted(record: Record, outcome: Outcome | None) -> bool:
    return outcome is None or record.ok is (outcome is Outcome.COMPLETED)


def _with(cursor: Cursor, fresh: Sequence[Record]) -> Cursor:
    return replace(
        cursor,
        succeeded=cursor.succeeded.union(one.number for one in fresh if one.ok),
        failed=cursor.failed.union(one.number for one in fresh if not one.ok),
    )
