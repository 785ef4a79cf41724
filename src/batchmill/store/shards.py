"""Rows of shards: who runs which, and how far each has come.

Progress is guarded by the attempt number, so that a late twin of a worker
changes nothing.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import RowMapping, bindparam, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from batchmill.domain.shards import Shard, ShardStatus
from batchmill.ports import ShardTally
from batchmill.store.database import Database
from batchmill.store.ledger import drop_meters, insert_entries, put_meters
from batchmill.store.tables import shards
from batchmill.store.tokens import columns_of

# Below the number of parameters that any supported database takes in a statement.
_POSITIONS_PER_CLAIM = 1_000

WAITING, RUNNING, DONE = (status.value for status in ShardStatus)

_OF_ATTEMPT = (
    shards.c.batch_id == bindparam("of_batch"),
    shards.c.position == bindparam("at_position"),
    shards.c.attempt == bindparam("by_attempt"),
)
_TALLY = update(shards).where(*_OF_ATTEMPT, shards.c.status == RUNNING)
# Written out, and not a parameter, so that the index of running shards serves.
_RUNNING = select(shards.c.batch_id, shards.c.position, shards.c.attempt).where(
    shards.c.status == literal(RUNNING, literal_execute=True)
)
_CLOSED = select(shards.c.position).where(*_OF_ATTEMPT, shards.c.status == DONE)


class SqlShards:
    """See the port ShardStore; each verb is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_batch(self, batch_id: str) -> Sequence[Shard]:
        """All shards of a batch, by index."""
        planned = select(shards).where(shards.c.batch_id == batch_id).order_by(shards.c.position)
        async with self._database.read() as connection:
            return [_shard_of(row) for row in (await connection.execute(planned)).mappings()]

    async def claim(self, wanted: Sequence[Shard]) -> Sequence[Shard]:
        """Set shards running, each with its next attempt; those, in the order asked.

        Left alone are shards that are done, and those whose stored attempt is
        not the one that is handed in.
        """
        claimed: dict[tuple[str, int], Shard] = {}
        async with self._database.write() as connection:
            for statement in _claims(wanted):
                for row in (await connection.execute(statement)).mappings():
                    claimed[row["batch_id"], row["position"]] = _shard_of(row)
        keys = dict.fromkeys((shard.batch_id, shard.index) for shard in wanted)
        return [claimed[key] for key in keys if key in claimed]

    async def tally(self, tallies: Sequence[ShardTally]) -> None:
        """Write progress of running shards; a tally of another attempt changes nothing."""
        if tallies:
            async with self._database.write() as connection:
                await connection.execute(_TALLY, [_values_of(tally) for tally in tallies])
                await put_meters(connection, tallies)

    async def close(self, tally: ShardTally) -> bool:
        """Set the shard done with these sums, and write its entries into the ledger.

        Whether it was this attempt's. May be repeated.
        """
        async with self._database.write() as connection:
            closing = _TALLY.values(status=DONE)
            if (await connection.execute(closing, _values_of(tally))).rowcount == 1:
                await drop_meters(connection, tally.batch_id, tally.index)
                await insert_entries(connection, tally.entries, tally.at)
                return True
            # An attempt that does not know whether it closed may close again.
            return (await connection.execute(_CLOSED, _values_of(tally))).first() is not None

    async def release(self, held: Sequence[Shard] = ()) -> int:
        """Set every running shard back to waiting but those of ``held``; how many there were."""
        kept = {(shard.batch_id, shard.index, shard.attempt) for shard in held}
        async with self._database.write() as connection:
            running = (await connection.execute(_RUNNING)).all()
            stray = [tuple(key) for key in running if tuple(key) not in kept]
            if stray:
                names = ("of_batch", "at_position", "by_attempt")
                rows = [dict(zip(names, key, strict=True)) for key in stray]
                await connection.execute(_TALLY.values(status=WAITING), rows)
            return len(stray)


async def insert_shards(connection: AsyncConnection, planned: Sequence[Shard]) -> None:
    """Insert the rows into the caller's transaction."""
    if planned:
        await connection.execute(insert(shards), [_row_of(shard) for shard in planned])


def _claims(wanted: Sequence[Shard]) -> Iterator[ReturningUpdate[Any]]:
    positions: dict[tuple[str, int], list[int]] = defaultdict(list)
    for shard in wanted:
        positions[shard.batch_id, shard.attempt].append(shard.index)
    for (batch_id, attempt), all_positions in positions.items():
        for start in range(0, len(all_positions), _POSITIONS_PER_CLAIM):
            some = all_positions[start : start + _POSITIONS_PER_CLAIM]
            yield _claim(batch_id, attempt, some)


def _claim(batch_id: str, attempt: int, positions: Sequence[int]) -> ReturningUpdate[Any]:
    unclaimed = (
        shards.c.batch_id == batch_id,
        shards.c.position.in_(positions),
        shards.c.attempt == attempt,
        shards.c.status != DONE,
    )
    claimed = {"status": RUNNING, "attempt": attempt + 1}
    return update(shards).where(*unclaimed).values(claimed).returning(shards)


def _values_of(tally: ShardTally) -> dict[str, Any]:
    return {
        "of_batch": tally.batch_id,
        "at_position": tally.index,
        "by_attempt": tally.attempt,
        "completed": tally.completed,
        "failed": tally.failed,
        "resent": tally.resent,
        **columns_of(tally.usage),
    }


def _shard_of(row: RowMapping) -> Shard:
    return Shard(
        batch_id=row["batch_id"],
        index=row["position"],
        start=row["byte_start"],
        end=row["byte_end"],
        first_line=row["first_line"],
        lines=row["lines"],
        models=tuple(json.loads(row["models"])),
        status=ShardStatus(row["status"]),
        attempt=row["attempt"],
        completed=row["completed"],
        failed=row["failed"],
    )


def _row_of(shard: Shard) -> dict[str, Any]:
    return {
        "batch_id": shard.batch_id,
        "position": shard.index,
        "byte_start": shard.start,
        "byte_end": shard.end,
        "first_line": shard.first_line,
        "lines": shard.lines,
        "models": json.dumps(shard.models),
        "status": shard.status.value,
        "attempt": shard.attempt,
        "completed": shard.completed,
        "failed": shard.failed,
        "resent": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
    }
