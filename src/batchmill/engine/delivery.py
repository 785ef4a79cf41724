"""Delivery: input and journal, walked together in line order, become the two files.

Completion, expiry and cancellation share this one step. Every line lands in
exactly one of the files; those without a result get the error of the verdict.
Running it twice gives the same bytes under the same ids, and a terminal status
shows only when its files can be read.
"""

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from itertools import accumulate, islice

from batchmill import faultpoint
from batchmill.domain.batch import Batch, Counts, Event, Status, advance
from batchmill.domain.file import File, Purpose
from batchmill.domain.ids import line_id, output_file_id
from batchmill.domain.ledger import Entry
from batchmill.domain.lines import parse_request
from batchmill.domain.results import (
    BUDGET_CODE,
    CANCELLED_CODE,
    CANCELLED_MESSAGE,
    EXPIRED_CODE,
    EXPIRED_MESSAGE,
    HALT_MESSAGES,
    error_line,
)
from batchmill.domain.shards import Shard, ShardStatus
from batchmill.domain.usage import ZERO, Usage
from batchmill.engine.metering import entries_of
from batchmill.engine.prices import PriceBook
from batchmill.engine.purse import Treasury
from batchmill.engine.reading import read_lines
from batchmill.ports import (
    BlobMissing,
    Blobs,
    BlobWriter,
    Clock,
    Journal,
    Record,
    Sealed,
    Settled,
    Store,
)
from batchmill.telemetry import Fact, get_logger

log = get_logger()

_WRITE_BYTES = 256 * 1024
# A completed batch has a result for every line, unless the disk lost one behind our back.
_UNDONE = {
    Status.COMPLETED: ("result_lost", "The stored result of this request was damaged."),
    Status.EXPIRED: (EXPIRED_CODE, EXPIRED_MESSAGE),
    Status.CANCELLED: (CANCELLED_CODE, CANCELLED_MESSAGE),
}


class ResultFile:
    """A result file in the making. Its blob exists only once there is a line for it."""

    def __init__(self, blobs: Blobs, key: str) -> None:
        self._blobs = blobs
        self._key = key
        self._writer: BlobWriter | None = None
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self.lines = 0

    async def add(self, lines: Sequence[bytes]) -> None:
        """Append lines; raises StorageFull."""
        self.lines += len(lines)
        # Cut by their sums: to look at each line in turn would cost more than to write it.
        ends, start = list(accumulate(map(len, lines), initial=0)), 0
        while start < len(lines):
            enough = ends[start] + _WRITE_BYTES - self._pending_bytes
            stop = min(len(lines), bisect_left(ends, enough, start + 1))
            self._pending += lines[start:stop]
            self._pending_bytes += ends[stop] - ends[start]
            if self._pending_bytes >= _WRITE_BYTES:
                await self._write()
            start = stop

    async def _write(self) -> None:
        if self._writer is None:
            self._writer = await self._blobs.create(self._key)
        self._pending.append(b"")
        data, self._pending, self._pending_bytes = b"\n".join(self._pending), [], 0
        await self._writer.write(data)

    async def finish(self, batch: Batch, name: str, now: float) -> File | None:
        """Make the blob durable and describe it; None without a line."""
        if not self.lines:
            return None
        if self._pending:
            await self._write()
        assert self._writer is not None  # noqa: S101 - a line was written
        blob = await self._writer.commit()
        life = batch.output_expires_after
        return File(
            id=output_file_id(blake2b(f"{batch.id} {name}".encode(), digest_size=16).digest()),
            account=batch.account,
            purpose=Purpose.BATCH_OUTPUT,
            filename=f"{batch.id}_{name}.jsonl",
            bytes=blob.bytes,
            digest=blob.digest,
            blob=blob.key,
            created_at=now,
            expires_at=now + life if life is not None else None,
        )

    async def abort(self) -> None:
        """Leave nothing half written."""
        if self._writer is not None:
            await self._writer.abort()


@dataclass(slots=True)
class Sums:
    """What the two files hold, counted while they are written.

    ``entries`` are those of shards that were never closed: they are still owed to the ledger.
    """

    completed: int = 0
    failed: int = 0
    usage: Usage = ZERO
    list_price: int = 0
    price: int = 0
    entries: list[Entry] = field(default_factory=list)

    def count(self, shard: Shard, found: Sequence[Entry], completed: int, failed: int) -> None:
        """Count a shard: its lines, and what those that were settled used and cost."""
        self.completed += completed
        self.failed += failed
        for entry in found:
            self.usage += entry.usage
            self.list_price += entry.list_price
            self.price += entry.price
        if shard.status is not ShardStatus.DONE:
            self.entries += found


class Deliverer:
    """Writes the result files of stopping batches and moves them to their verdict."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        journal: Journal,
        clock: Clock,
        prices: PriceBook,
        treasury: Treasury,
        max_line_bytes: int,
    ) -> None:
        self._store = store
        self._prices = prices
        self._treasury = treasury
        self._blobs = blobs
        self._journal = journal
        self._clock = clock
        self._max_line_bytes = max_line_bytes

    async def deliver(self, batch: Batch) -> Batch | None:
        """Write both files, then move the batch, in this order; as it is then, if it was moved.

        Raises BlobMissing and StorageFull; may be run again after either.
        """
        output = ResultFile(self._blobs, f"results/{batch.id}.output.jsonl")
        error = ResultFile(self._blobs, f"results/{batch.id}.error.jsonl")
        faultpoint.passed("deliver.before_output")
        if not batch.has_settled:
            # Which of its shards are done, and their sums, can change no more.
            await self._store.shards.fence(batch.id)
        sealed = await self._journal.seal(batch.id)
        delivered: Batch | None = None
        try:
            # A dispatcher that slept here may find the batch delivered, and the journal empty:
            # it must not put that in the place of the result files.
            shards, current = await asyncio.gather(
                self._store.shards.of_batch(batch.id),
                self._store.batches.get(batch.account, batch.id),
            )
            if current is not None and current.status is batch.status:
                sums = await self._write_lines(batch, shards, sealed, output, error)
                if await sealed.stands():
                    still = replace(batch, resent=current.resent)
                    delivered = await self._close(still, output, error, sums)
        finally:
            await output.abort()
            await error.abort()
        await self._journal.drop(batch.id)
        return delivered

    async def _write_lines(
        self,
        batch: Batch,
        shards: Sequence[Shard],
        sealed: Sealed,
        output: ResultFile,
        error: ResultFile,
    ) -> Sums:
        sums = Sums()
        models = dict.fromkeys(model for shard in shards for model in shard.models)
        terms = await self._prices.terms(batch, list(models))
        async for shard, settled in _read_ahead(sealed, shards):
            records = await self._records(batch, shard, settled)
            good = [record.line for record in records if record.ok]
            bad = [record.line for record in records if not record.ok]
            found = entries_of(terms, shard, list(settled.values()))
            sums.count(shard, found, len(good), len(bad))
            await output.add(good)
            await error.add(bad)
        return sums

    async def _records(
        self, batch: Batch, shard: Shard, settled: Mapping[int, Record]
    ) -> list[Record]:
        """One record for every line of the shard, in order."""
        if len(settled) == shard.lines:
            return [settled[number] for number in sorted(settled)]
        return [
            settled.get(number) or _undone(batch, number, custom_id)
            async for number, custom_id in self._read_ids(batch, shard)
        ]

    async def _read_ids(self, batch: Batch, shard: Shard) -> AsyncIterator[tuple[int, bytes]]:
        file = await self._store.files.get(batch.account, batch.input_file_id)
        if file is None:
            raise BlobMissing(batch.input_file_id)
        async for raw in read_lines(self._blobs, file.blob, shard, self._max_line_bytes):
            if raw.data is not None:
                yield raw.number, parse_request(raw.data).custom_id

    async def _close(
        self, batch: Batch, output: ResultFile, error: ResultFile, sums: Sums
    ) -> Batch | None:
        now = self._clock.now()
        output_file = await output.finish(batch, "output", now)
        faultpoint.passed("deliver.after_output")
        error_file = await error.finish(batch, "error", now)
        faultpoint.passed("deliver.after_error")
        after = replace(
            advance(batch, Event.DELIVERED, now),
            counts=Counts(sums.completed + sums.failed, sums.completed, sums.failed),
            usage=sums.usage,
            list_price=sums.list_price,
            price=sums.price,
            output_file_id=output_file.id if output_file else None,
            error_file_id=error_file.id if error_file else None,
        )
        files = [file for file in (output_file, error_file) if file is not None]
        async with self._treasury.steady:
            moved = await self._store.batches.deliver(batch, after, files, sums.entries)
            await self._treasury.forget(batch.id)
        if moved:
            faultpoint.passed("deliver.after_stored")
            _log_delivery(after)
        return after if moved else None


async def _read_ahead(
    sealed: Sealed, shards: Sequence[Shard]
) -> AsyncIterator[tuple[Shard, Mapping[int, Record]]]:
    """Each shard with its records; the next are read meanwhile, where they are far away."""
    ahead: deque[asyncio.Task[Settled]] = deque()
    upcoming = iter(shards)
    try:
        for shard in shards:
            for further in islice(upcoming, 1 + sealed.shards_ahead - len(ahead)):
                ahead.append(asyncio.create_task(sealed.read(further.index)))
            yield shard, (await ahead.popleft()).records
    finally:
        for task in ahead:
            task.cancel()
        await asyncio.gather(*ahead, return_exceptions=True)


def _log_delivery(batch: Batch) -> None:
    log.info(
        Fact.BATCH_DELIVERED,
        batch_id=batch.id,
        status=batch.status,
        completed=batch.counts.completed,
        failed=batch.counts.failed,
    )


def _undone(batch: Batch, number: int, custom_id: bytes) -> Record:
    code, message = _UNDONE[batch.verdict or Status.CANCELLED]
    if batch.halt is not None and batch.verdict is Status.COMPLETED:
        code, message = BUDGET_CODE, HALT_MESSAGES[batch.halt]
    line = error_line(line_id(batch.id, number), custom_id, code=code, message=message)
    return Record(number, False, ZERO, line)
