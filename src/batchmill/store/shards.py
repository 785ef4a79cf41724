"""Rows of shards: who runs which, and how far each has come.

Progress is guarded by the attempt number, so that a late twin of a worker
changes nothing.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    Connection,
    Integer,
    RowMapping,
    Select,
    bindparam,
    func,
    insert,
    literal,
    select,
    update,
)

from batchmill.domain.shards import Shard, ShardStatus
from batchmill.ports import ShardSum, ShardTally
from batchmill.store.database import Database
from batchmill.store.grouping import Grouping
from batchmill.store.ledger import put_meters, settle_entries, stop_running
from batchmill.store.tables import shards
from batchmill.store.tokens import columns_of

# Below the number of parameters that any supported database takes in a statement.
_POSITIONS_PER_CLAIM = 1_000

# Many more than end in the time of a transaction.
_CLOSED_AT_ONCE = 200

# A batch, a shard of it, an attempt.
_Key = tuple[str, int, int]

WAITING, RUNNING, DONE = (status.value for status in ShardStatus)

_OF_ATTEMPT = (
    shards.c.batch_id == bindparam("of_batch"),
    shards.c.position == bindparam("at_position"),
    shards.c.attempt == bindparam("by_attempt"),
)
_TALLY = update(shards).where(*_OF_ATTEMPT, shards.c.status == RUNNING)
# Written out, and not a parameter, so that the index of running shards serves.
_IS_RUNNING = shards.c.status == literal(RUNNING, literal_execute=True)
_RUNNING = select(shards.c.batch_id, shards.c.position, shards.c.attempt).where(_IS_RUNNING)
_SETTLED = (
    select(shards.c.batch_id, func.sum(shards.c.completed + shards.c.failed))
    .where(_IS_RUNNING)
    .group_by(shards.c.batch_id)
)
_UNDONE = (
    select(shards)
    .where(
        shards.c.batch_id == bindparam("of_batch"),
        shards.c.position >= bindparam("from_position"),
        shards.c.status != DONE,
    )
    .order_by(shards.c.position)
    .limit(bindparam("most", type_=Integer))
)
_SUMS = (
    select(
        shards.c.models,
        shards.c.status,
        func.count().label("shards"),
        func.sum(shards.c.lines).label("lines"),
        func.sum(shards.c.byte_end - shards.c.byte_start).label("bytes"),
        func.max(shards.c.attempt).label("attempts"),
    )
    .where(shards.c.batch_id == bindparam("of_batch"))
    .group_by(shards.c.models, shards.c.status)
)
_UNCLAIMED = (
    shards.c.batch_id == bindparam("of_batch"),
    shards.c.position.in_(bindparam("positions", expanding=True)),
    shards.c.attempt == bindparam("by_attempt"),
    shards.c.status != DONE,
)
_CLAIM = (
    update(shards)
    .where(*_UNCLAIMED)
    .values(status=RUNNING, attempt=bindparam("next_attempt"))
    .returning(shards)
)
_INSERT = insert(shards)
_OF_BATCH = (
    select(shards).where(shards.c.batch_id == bindparam("of_batch")).order_by(shards.c.position)
)
_CLOSE = _TALLY.values(status=DONE)
_STANDING = (
    select(shards.c.position, shards.c.attempt, shards.c.status)
    .where(
        shards.c.batch_id == bindparam("of_batch"),
        shards.c.position.in_(bindparam("positions", expanding=True)),
    )
    .order_by(shards.c.position)
    .with_for_update()
)


class SqlShards:
    """See the port ShardStore; each verb is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._closings = Grouping(self._close, _CLOSED_AT_ONCE)

    async def of_batch(self, batch_id: str) -> Sequence[Shard]:
        """All shards of a batch, by index."""
        rows = await self._rows(_OF_BATCH, {"of_batch": batch_id})
        return [_shard_of(row) for row in rows]

    async def undone(self, batch_id: str, start: int, limit: int) -> Sequence[Shard]:
        """The next ``limit`` shards of a batch that are not done, from index ``start`` on."""
        wanted = {"of_batch": batch_id, "from_position": start, "most": limit}
        return [_shard_of(row) for row in await self._rows(_UNDONE, wanted)]

    async def sums(self, batch_id: str) -> Sequence[ShardSum]:
        """What the shards of a batch come to, by models and status."""
        return [_sum_of(row) for row in await self._rows(_SUMS, {"of_batch": batch_id})]

    async def _rows(self, asked: Select[Any], values: Mapping[str, Any]) -> Sequence[RowMapping]:
        return await self._database.ask(
            lambda connection: connection.execute(asked, values).mappings().all()
        )

    async def settled(self) -> Mapping[str, int]:
        """How many lines of running shards are settled, by batch; as last tallied."""
        async with self._database.read() as connection:
            rows = (await connection.execute(_SETTLED)).all()
        return {batch_id: int(lines) for batch_id, lines in rows}

    async def claim(self, wanted: Sequence[Shard]) -> Sequence[Shard]:
        """Set shards running, each with its next attempt; those, in the order asked.

        Left alone are shards that are done, and those whose stored attempt is
        not the one that is handed in.
        """
        must_lock = self._database.backend.has_row_locks
        claimed = await self._database.transact(
            lambda own: _claim(own, wanted, must_lock=must_lock)
        )
        keys = dict.fromkeys((shard.batch_id, shard.index) for shard in wanted)
        return [claimed[key] for key in keys if key in claimed]

    async def tally(self, tallies: Sequence[ShardTally]) -> None:
        """Write progress of running shards; a tally of another attempt changes nothing."""
        if tallies:
            # in the order in which everyone locks them, so that nobody waits in a circle
            in_order = sorted(tallies, key=lambda tally: (tally.batch_id, tally.index))
            async with self._database.write() as connection:
                await connection.execute(_TALLY, [_values_of(tally) for tally in in_order])
                await put_meters(connection, in_order)

    async def close(self, tally: ShardTally) -> bool:
        """Set the shard done with these sums, and write its entries into the ledger.

        Whether it was this attempt's. May be repeated. Shards that are closed at the same time
        share a transaction.
        """
        return await self._closings.do(tally)

    async def _close(self, tallies: Sequence[ShardTally]) -> Sequence[bool]:
        closed = await self._database.transact(lambda own: _close(own, tallies))
        return [_key_of(tally) in closed for tally in tallies]

    async def release(self, held: Sequence[Shard] = ()) -> int:
        """Set every running shard back to waiting but those of ``held``; how many there were."""
        kept = {(shard.batch_id, shard.index, shard.attempt) for shard in held}
        async with self._database.write() as connection:
            running = (await connection.execute(_RUNNING)).all()
            stray = sorted(tuple(key) for key in running if tuple(key) not in kept)
            if stray:
                names = ("of_batch", "at_position", "by_attempt")
                rows = [dict(zip(names, key, strict=True)) for key in stray]
                await connection.execute(_TALLY.values(status=WAITING), rows)
            return len(stray)

    async def fence(self, batch_id: str) -> None:
        """Set a batch's running shards back to waiting: which are done can change no more."""
        await self._database.transact(lambda connection: stop_running(connection, batch_id))


def insert_shards(connection: Connection, planned: Sequence[Shard]) -> None:
    """Insert the rows into the caller's transaction."""
    if planned:
        connection.execute(_INSERT, [_row_of(shard) for shard in planned])


def _claim(
    connection: Connection, wanted: Sequence[Shard], *, must_lock: bool
) -> dict[tuple[str, int], Shard]:
    if must_lock:
        for some in _in_order(wanted):
            connection.execute(_STANDING, some)
    return {
        (row["batch_id"], row["position"]): _shard_of(row)
        for values in _claims(wanted)
        for row in connection.execute(_CLAIM, values).mappings()
    }


def _close(connection: Connection, tallies: Sequence[ShardTally]) -> set[_Key]:
    """Close those whose attempt runs; these, and those that it had closed before."""
    own = {_key_of(tally): tally for tally in tallies}
    if len(tallies) == 1 and _close_one(connection, tallies[0]):
        return set(own)
    closed = set()
    closing: list[ShardTally] = []
    for some in _in_order(tallies):
        for position, attempt, status in connection.execute(_STANDING, some):
            key = (some["of_batch"], position, attempt)
            if key in own and status == RUNNING:
                closing.append(own[key])
            # An attempt that does not know whether it closed may close again.
            if key in own and status in (RUNNING, DONE):
                closed.add(key)
    if closing:
        connection.execute(_CLOSE, [_values_of(tally) for tally in closing])
        settle_entries(connection, closing)
    return closed


def _close_one(connection: Connection, tally: ShardTally) -> bool:
    """Close it, if its attempt runs; in fewer statements than many are closed."""
    was_running = connection.execute(_CLOSE, _values_of(tally)).rowcount == 1
    if was_running:
        settle_entries(connection, [tally])
    return was_running


def _key_of(tally: ShardTally) -> _Key:
    return tally.batch_id, tally.index, tally.attempt


def _in_order(wanted: Sequence[Shard] | Sequence[ShardTally]) -> Iterator[dict[str, Any]]:
    """The shards in the order in which everyone locks them, as parameters of ``_STANDING``."""
    keys = sorted({(shard.batch_id, shard.index) for shard in wanted})
    for batch_id, own in groupby(keys, key=itemgetter(0)):
        positions = [position for _, position in own]
        for start in range(0, len(positions), _POSITIONS_PER_CLAIM):
            some = positions[start : start + _POSITIONS_PER_CLAIM]
            yield {"of_batch": batch_id, "positions": some}


def _claims(wanted: Sequence[Shard]) -> Iterator[dict[str, Any]]:
    positions: dict[tuple[str, int], list[int]] = defaultdict(list)
    for shard in wanted:
        positions[shard.batch_id, shard.attempt].append(shard.index)
    for (batch_id, attempt), all_positions in positions.items():
        for start in range(0, len(all_positions), _POSITIONS_PER_CLAIM):
            yield {
                "of_batch": batch_id,
                "by_attempt": attempt,
                "next_attempt": attempt + 1,
                "positions": all_positions[start : start + _POSITIONS_PER_CLAIM],
            }


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


def _sum_of(row: RowMapping) -> ShardSum:
    return ShardSum(
        models=tuple(json.loads(row["models"])),
        status=ShardStatus(row["status"]),
        shards=row["shards"],
        lines=int(row["lines"]),
        bytes=int(row["bytes"]),
        attempts=row["attempts"],
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
