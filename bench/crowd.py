"""Batches of 50,000 lines as rows: what the database holds of them when they have ended or wait.

The rows are those that batchmill would have written; they are put in by the
thousand, without its transactions.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import insert

from batchmill.domain import ids
from batchmill.domain.batch import Batch, Counts, Event, Status, advance
from batchmill.domain.file import File, Purpose
from batchmill.domain.ledger import Charge, Entry
from batchmill.domain.pricing import Item
from batchmill.domain.shards import Shard, ShardStatus
from batchmill.domain.usage import Usage
from batchmill.store import SqlStore
from batchmill.store.batch_rows import new_row
from batchmill.store.files import insert_files
from batchmill.store.ledger import insert_entries
from batchmill.store.shards import insert_shards
from batchmill.store.tables import batches
from bench.dispatch_house import DAY, LINES, MODEL, SHARDS

CURRENCY = "USD"
ENDPOINT = "/v1/chat/completions"
_LINE_BYTES = 600
_TOKENS_IN, _TOKENS_OUT = 400, 200
SECONDS_APART = 60.0
_TOOK = 50.0
_BATCHES_AT_ONCE = 20


class Kind(StrEnum):
    """What the batches of a crowd do."""

    FINISHED = "finished"
    WAITING = "waiting"


@dataclass(frozen=True)
class Crowd:
    """Batches of one account, each a minute younger than the one before, the first of ``began``."""

    kind: Kind
    account: str
    began: float

    async def grow(self, store: SqlStore, *, before: int, after: int) -> None:
        """Where there are so many of them in the store, have so many."""
        for start in range(before, after, _BATCHES_AT_ONCE):
            await self._add(store, range(start, min(start + _BATCHES_AT_ONCE, after)))

    async def _add(self, store: SqlStore, numbers: range) -> None:
        some = [self.batch(number) for number in numbers]
        # These rows need not survive a power cut.
        async with store._database.relaxed() as connection:
            await insert_files(connection, [file for one in some for file in files_of(one)])
            await connection.execute(insert(batches), [new_row(one) for one in some])
            await connection.run_sync(
                insert_shards, [shard for one in some for shard in shards_of(one)]
            )
            for one in some:
                entries = [entry_of(shard, one) for shard in shards_of(one)]
                if one.status.is_terminal:
                    await connection.run_sync(insert_entries, entries, one.ended_at)

    def batch(self, number: int) -> Batch:
        """The one of this number; 0 is the oldest."""
        dice = random.Random(number)
        at = self.began + number * SECONDS_APART
        batch = Batch(
            id=ids.batch_id(dice.randbytes(16)),
            account=self.account,
            input_file_id=ids.input_file_id(dice.randbytes(12)),
            endpoint=ENDPOINT,
            completion_window="24h",
            status=Status.VALIDATING,
            created_at=at,
            expires_at=at + DAY,
            metadata={"ds_name": f"Run {number} of many"},
        )
        waiting = replace(advance(batch, Event.PLANNED, at), model=MODEL, currency=CURRENCY)
        return waiting if self.kind is Kind.WAITING else _ended(waiting, dice)


def _ended(waiting: Batch, dice: random.Random) -> Batch:
    at = waiting.created_at + _TOOK
    ended = advance(advance(waiting, Event.SETTLED, at), Event.DELIVERED, at)
    lines = SHARDS * LINES
    return replace(
        ended,
        counts=Counts(lines, lines, 0),
        usage=_usage(lines),
        list_price=2 * lines,
        price=lines,
        output_file_id=ids.output_file_id(dice.randbytes(12)),
    )


def files_of(batch: Batch) -> Iterator[File]:
    """Its input, and its output where it has one."""
    named = (
        (batch.input_file_id, Purpose.BATCH, batch.created_at),
        (batch.output_file_id, Purpose.BATCH_OUTPUT, batch.created_at + _TOOK),
    )
    for file_id, purpose, at in named:
        if file_id is not None:
            yield File(
                id=file_id,
                account=batch.account,
                purpose=purpose,
                filename=f"{purpose}.jsonl",
                bytes=SHARDS * LINES * _LINE_BYTES,
                digest="d" * 64,
                blob=f"files/{file_id}",
                created_at=at,
            )


def shards_of(batch: Batch) -> Sequence[Shard]:
    """Its shards, as planning cuts them."""
    is_over = batch.status.is_terminal
    size = LINES * _LINE_BYTES
    return [
        Shard(
            batch_id=batch.id,
            index=n,
            start=n * size,
            end=(n + 1) * size,
            first_line=n * LINES + 1,
            lines=LINES,
            models=(MODEL,),
            status=ShardStatus.DONE if is_over else ShardStatus.WAITING,
            attempt=1 if is_over else 0,
            completed=LINES if is_over else 0,
        )
        for n in range(SHARDS)
    ]


def entry_of(shard: Shard, batch: Batch) -> Entry:
    """What the shard cost, all of its lines answered."""
    charges = (
        Charge(Item.INPUT, LINES * _TOKENS_IN, LINES, LINES // 2),
        Charge(Item.OUTPUT, LINES * _TOKENS_OUT, LINES, LINES // 2),
    )
    return Entry(
        batch_id=batch.id,
        shard=shard.index,
        model=MODEL,
        payer=batch.payer,
        price_version=batch.price_version,
        currency=CURRENCY,
        calls=LINES,
        millis=LINES * 1_000,
        usage=_usage(LINES),
        charges=charges,
    )


def _usage(lines: int) -> Usage:
    return Usage(lines * _TOKENS_IN, lines * _TOKENS_OUT, 0, 0)
