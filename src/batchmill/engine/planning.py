"""Planning: an input file becomes shards, or the list of all that is wrong with it.

The file is streamed once; memory is bounded by one line and the set of ids.
Shards and the move of the status are stored in one transaction.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

from batchmill import faultpoint
from batchmill.domain.batch import Batch, Counts, Event, LineError, advance
from batchmill.domain.catalog import TEST_MODEL
from batchmill.domain.faults import price_faults
from batchmill.domain.file import File
from batchmill.domain.ledger import Terms
from batchmill.domain.limits import Limits
from batchmill.domain.lines import FileCheck, LineCutter, LineRules, Stretch
from batchmill.domain.shards import Shard, ShardCutter
from batchmill.engine.prices import PriceBook
from batchmill.ports import Blobs, Clock, Store
from batchmill.telemetry import Fact, get_logger

log = get_logger()

# What is checked in less than two milliseconds is not worth a thread, which would have to wait
# for the interpreter as long.
_AT_ONCE_BYTES: Final = 512 * 1024
# What stays in the processor's cache until it is checked.
PIECE_BYTES: Final = 512 * 1024
# Of a line that goes on. Of smaller ones the allocator keeps more: 10 MB of lines of 6 MB.
LONG_PIECE_BYTES: Final = 1024 * 1024
# To read so much of a line again costs less than to put the line together.
LEAVE_BYTES: Final = 64 * 1024
# To change threads costs a fifth of a millisecond. A turn is a few milliseconds: others wait too.
_TURN_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ShardSize:
    """How large a shard may become: in lines, by its model, and in bytes unless one line alone is
    larger."""

    lines: Callable[[str], int]
    bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a batch was planned to be, as the store has it: who planned it need not read it."""

    batch: Batch
    input_blob: str
    terms: Terms
    shards: Sequence[Shard]


class Planner:
    """Turns validating batches into running or failed ones."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        clock: Clock,
        rules: LineRules,
        shard_size: ShardSize,
        prices: PriceBook,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._rules = rules
        self._prices = prices
        self._shard_size = shard_size

    async def plan(self, batch: Batch) -> Plan | None:
        """Validate the batch's input and store its shards, or why it failed: then None.

        Does nothing if the batch was cancelled meanwhile. Raises BlobMissing
        and StorageFull.
        """
        file = await self._store.files.get(batch.account, batch.input_file_id)
        if file is None or file.is_expired(self._clock.now()):
            await self._reject(batch, (_no_file(batch.input_file_id),))
            return None
        reading = _Reading(batch, file, _rules_of(batch, self._rules), self._shard_size)
        await self._read(file, reading)
        errors = reading.finish()
        terms = await self._prices.terms(batch, reading.check.models)
        if errors := errors or _price_faults(batch, reading.check.models, terms):
            await self._reject(batch, errors)
            return None
        planned = await self._accept(batch, reading, terms)
        return None if planned is None else Plan(planned, file.blob, terms, reading.shards)

    async def _read(self, file: File, reading: "_Reading") -> None:
        opened = None if file.bytes <= _AT_ONCE_BYTES else await self._blobs.open(file.blob)
        if opened is not None:
            await _read_in_turns(opened, reading)
            return
        async for chunk in self._blobs.read(file.blob):
            if len(chunk) <= _AT_ONCE_BYTES:
                reading.feed(chunk)
            else:
                await asyncio.to_thread(reading.feed, chunk)

    async def _reject(self, batch: Batch, errors: tuple[LineError, ...]) -> None:
        failed = replace(advance(batch, Event.REJECTED, self._clock.now()), errors=errors)
        if await self._store.batches.move(batch, failed):
            log.info(Fact.BATCH_REJECTED, batch_id=batch.id, errors=len(errors))

    async def _accept(self, batch: Batch, reading: "_Reading", terms: Terms) -> Batch | None:
        planned = advance(batch, Event.PLANNED, self._clock.now())
        models = reading.check.models
        currencies = {tariff.currency for tariff in terms.tariffs.values()}
        planned = replace(
            planned,
            model=models[0] if len(models) == 1 else None,
            currency=next(iter(currencies), None),
            counts=Counts(total=sum(shard.lines for shard in reading.shards)),
        )
        faultpoint.passed("plan.before_stored")
        if not await self._store.batches.plan(batch, planned, reading.shards):
            return None
        faultpoint.passed("plan.after_stored")
        log.info(
            Fact.BATCH_PLANNED,
            batch_id=batch.id,
            lines=planned.counts.total,
            shards=len(reading.shards),
        )
        return planned


class _Reading:
    """One pass over an input file. Fed one chunk at a time, from a thread where it is large."""

    def __init__(self, batch: Batch, file: File, rules: LineRules, size: ShardSize) -> None:
        limits: Limits = rules.limits
        self.check = FileCheck(rules, file_bytes=file.bytes)
        self.shards: list[Shard] = []
        self._bytes = file.bytes
        self._lines = LineCutter(limits.max_line_bytes)
        self._shards = ShardCutter(batch.id, max_lines=size.lines, max_bytes=size.bytes)

    def feed(self, chunk: bytes) -> None:
        self._take(self.check.check_chunk(self._lines, chunk))

    def read_on(self, fd: int) -> bool:
        """Read and check what comes next, for one turn; whether there may be more."""
        lines = self._lines
        stop = lines.offset + _TURN_BYTES
        while lines.offset < stop:
            if not (piece := next_piece(fd, lines)):
                return False
            self._take(self.check.check_chunk(lines, piece, leave=LEAVE_BYTES))
        return True

    def finish(self) -> tuple[LineError, ...]:
        self._take(self.check.check_all(self._lines.finish()))
        last = self._shards.finish(self._bytes)
        self.shards += () if last is None else (last,)
        return self.check.finish()

    def _take(self, good: Iterable[Stretch]) -> None:
        for stretch in good:
            self.shards += self._shards.extend(stretch)


def next_piece(fd: int, lines: LineCutter) -> bytes:
    """What is to be cut and checked next of a file, nothing at its end."""
    size = LONG_PIECE_BYTES if lines.is_within_line else PIECE_BYTES
    return os.pread(fd, size, lines.offset)


async def _read_in_turns(file: BinaryIO, reading: _Reading) -> None:
    """Read and check a file of this machine to its end, and close it."""
    turn = asyncio.ensure_future(asyncio.to_thread(reading.read_on, file.fileno()))
    try:
        while await asyncio.shield(turn):
            turn = asyncio.ensure_future(asyncio.to_thread(reading.read_on, file.fileno()))
    finally:
        # Not before the turn is over: its descriptor could be another file's.
        turn.add_done_callback(lambda _: file.close())


def _rules_of(batch: Batch, rules: LineRules) -> LineRules:
    """The rules for this batch's lines: its endpoint, and the models that its key may use."""
    catalog = rules.catalog
    if batch.allowed_models is not None:
        catalog = catalog.restricted(batch.allowed_models)
    return replace(rules, endpoint=batch.endpoint, catalog=catalog)


def _price_faults(batch: Batch, models: Sequence[str], terms: Terms) -> tuple[LineError, ...]:
    """Why a good file cannot be charged as it was asked for; the test model is free."""
    unpriced = [model for model in models if model not in terms.tariffs and model != TEST_MODEL]
    currencies = {tariff.currency for tariff in terms.tariffs.values()}
    return price_faults(currencies, unpriced, has_budget=batch.budget is not None)


def _no_file(file_id: str) -> LineError:
    message = f"Cannot find file {file_id}, or organization default does not have access to it."
    return LineError("invalid_request", message, "file_id")
