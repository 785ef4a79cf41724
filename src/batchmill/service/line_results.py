"""The results of a batch by line number: from the journal while it runs, then from its files.

Both sources answer the same questions with the same bytes, so that a reader
does not notice when a batch ends. They are read upwards only.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from batchmill.domain.batch import Batch, Status
from batchmill.domain.file import File
from batchmill.domain.shards import Shard, ShardStatus
from batchmill.ports import Blobs, Clock, Record, Store
from batchmill.service.line_places import END, ResultReader, Scan, index_of
from batchmill.service.lookup import find_living_file
from batchmill.service.results import Outcome, SettledSource


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a line; ``line`` None where its result file is gone."""

    number: int
    outcome: Outcome
    line: bytes | None


class LineResults(Protocol):
    """The results of one batch."""

    @property
    def is_whole(self) -> bool:
        """Whether a walk over them meets every line of the input."""
        ...

    def can_walk(self, outcome: Outcome) -> bool:
        """Whether a walk meets every line that came out so."""
        ...

    async def find(self, number: int) -> Found | None:
        """The line with this number; asked for in rising order."""
        ...

    def walk(self, outcome: Outcome | None) -> AsyncGenerator[Found]:
        """The lines behind ``scan.passed``, in order, until the scan is over."""
        ...


@dataclass(frozen=True, slots=True)
class Archive:
    """Where the bytes of batches are."""

    store: Store
    blobs: Blobs
    journal: SettledSource
    clock: Clock

    async def input_of(self, batch: Batch) -> File | None:
        """The input file; None where it is gone."""
        return await self.file(batch, batch.input_file_id)

    async def file(self, batch: Batch, file_id: str | None) -> File | None:
        """A file of the batch; None where there is none, or it is gone."""
        return await find_living_file(self.store, batch, file_id, self.clock.now())

    @asynccontextmanager
    async def results(
        self, batch: Batch, shards: Sequence[Shard], scan: Scan
    ) -> AsyncIterator[LineResults]:
        """The results of the batch as they stand now."""
        if not batch.status.is_terminal:
            yield _InJournal(batch.id, shards, self.journal, scan)
            return
        kinds = {Outcome.COMPLETED: batch.output_file_id, Outcome.FAILED: batch.error_file_id}
        shelves = {
            outcome: await self._shelf(batch, file_id, scan)
            for outcome, file_id in kinds.items()
            if file_id is not None
        }
        try:
            yield _InFiles(shelves, scan, was_delivered=batch.status is not Status.FAILED)
        finally:
            for reader in shelves.values():
                if reader is not None:
                    await reader.close()

    async def _shelf(self, batch: Batch, file_id: str, scan: Scan) -> ResultReader | None:
        file = await self.file(batch, file_id)
        return None if file is None else ResultReader(self.blobs, file, scan)


class _InJournal:
    """See LineResults. Holds the records of one shard."""

    is_whole = False

    def __init__(
        self, batch_id: str, shards: Sequence[Shard], journal: SettledSource, scan: Scan
    ) -> None:
        self._batch_id = batch_id
        self._shards = shards
        self._journal = journal
        self._scan = scan
        self._open: int | None = None
        self._records: Mapping[int, Record] = {}

    def can_walk(self, outcome: Outcome) -> bool:  # noqa: ARG002 - the journal has them all
        return True

    async def find(self, number: int) -> Found | None:
        shard = self._shards[index_of(self._shards, number)]
        record = (await self._read(shard)).get(number)
        return None if record is None else _found(record)

    async def walk(self, outcome: Outcome | None) -> AsyncGenerator[Found]:
        after = self._scan.passed
        for shard in self._shards[index_of(self._shards, after + 1) :]:
            if not may_hold(shard, outcome):
                continue
            records = await self._read(shard)
            for number in sorted(number for number in records if number > after):
                found = _found(records[number])
                self._scan.passed = number
                if outcome in {None, found.outcome}:
                    yield found
            if self._scan.is_over:
                # what settles in this shard from now on lies behind the reader
                self._scan.passed = self._last_of(shard)
                return

    def _last_of(self, shard: Shard) -> int:
        behind = self._shards[shard.index + 1 :]
        return behind[0].first_line - 1 if behind else END

    async def _read(self, shard: Shard) -> Mapping[int, Record]:
        if self._open != shard.index:
            self._open, self._records = shard.index, {}
            if shard.attempt > 0:
                settled = await self._journal.read(self._batch_id, shard.index)
                self._records = settled.records
                self._scan.read(sum(len(one.line) for one in settled.records.values()))
        return self._records


class _InFiles:
    """See LineResults. A reader is None where its file is gone."""

    def __init__(
        self, shelves: Mapping[Outcome, ResultReader | None], scan: Scan, *, was_delivered: bool
    ) -> None:
        self._readers = {kind: reader for kind, reader in shelves.items() if reader is not None}
        self._gone = [kind for kind, reader in shelves.items() if reader is None]
        self._scan = scan
        self.is_whole = was_delivered and not self._gone

    def can_walk(self, outcome: Outcome) -> bool:
        return outcome not in self._gone

    async def find(self, number: int) -> Found | None:
        for outcome, reader in self._readers.items():
            await reader.go_to(number)
            if reader.number == number:
                return Found(number, outcome, reader.line)
        # every line is in one of the two files, so what is not in this one was in that one
        return Found(number, self._gone[0], None) if len(self._gone) == 1 else None

    async def walk(self, outcome: Outcome | None) -> AsyncGenerator[Found]:
        wanted = {k: one for k, one in self._readers.items() if outcome in {None, k}}
        for reader in wanted.values():
            await reader.go_to(self._scan.passed + 1)
        while wanted:
            kind, reader = min(wanted.items(), key=lambda item: item[1].number)
            if reader.number == END:
                return
            self._scan.passed = reader.number
            yield Found(reader.number, kind, reader.line)
            if self._scan.is_over:
                return
            await reader.advance()


def may_hold(shard: Shard, outcome: Outcome | None) -> bool:
    """Whether the journal may have such lines of the shard."""
    if shard.attempt == 0:
        return False
    counts = {None: shard.lines, Outcome.COMPLETED: shard.completed, Outcome.FAILED: shard.failed}
    return shard.status is not ShardStatus.DONE or counts[outcome] > 0


def _found(record: Record) -> Found:
    outcome = Outcome.COMPLETED if record.ok else Outcome.FAILED
    return Found(record.number, outcome, record.line)
