"""Rows of the ledger, and of the meters of shards that are not closed yet.

An entry of the ledger is inserted once, in the transaction that closes its
shard, and never changed. A shard has either meters or entries, never both.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Table,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from batchmill.domain.caps import Cap, Scope
from batchmill.domain.ledger import Entry
from batchmill.domain.shards import ShardStatus
from batchmill.ports import BatchSpent, Milestone, ShardTally, Standing
from batchmill.store.database import Database
from batchmill.store.money import MONEY_COLUMNS, columns_of_prices, money_sums, prices_of
from batchmill.store.tables import UNFINISHED, batches, ledger, ledger_items, meters, shards
from batchmill.store.tokens import columns_of

_HOUR = 3600
# Where the entries stand that take back a batch's others; shards count from 0.
CREDIT = -1

_COUNTED = (
    *("calls", "failures", "rejections", "retries", "millis"),
    *("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
)
_COURSE_NAMES = tuple(name for name in Milestone.__slots__ if name != "at")
_ENTRY_NAMES = (
    *("batch_id", "model", "region", "account", "workspace", "key_id"),
    *("price_version", "currency"),
)
_ITEM_NAMES = ("batch_id", "model", "region", "item")
_COLUMNS = {Scope.ACCOUNT: "account", Scope.WORKSPACE: "workspace", Scope.KEY: "key_id"}

_RUNNING_ATTEMPT = (
    shards.c.batch_id == bindparam("of_batch"),
    shards.c.position == bindparam("at_position"),
    shards.c.attempt == bindparam("by_attempt"),
    shards.c.status == ShardStatus.RUNNING.value,
)
_RUNNING_OF_BATCH = (
    shards.c.batch_id == bindparam("of_batch"),
    shards.c.status == ShardStatus.RUNNING.value,
)
# A worker that comes too late, however long it slept, finds nothing to tally or to close.
_STOP_RUNNING = update(shards).where(*_RUNNING_OF_BATCH).values(status=ShardStatus.WAITING.value)
# Before that, in the order in which tallies lock them: so that nobody waits in a circle.
_LOCK_RUNNING = (
    select(shards.c.position)
    .where(*_RUNNING_OF_BATCH)
    .order_by(shards.c.position)
    .with_for_update()
)
_FORGET_METERS = delete(meters).where(
    meters.c.batch_id == bindparam("of_batch"),
    meters.c.position == bindparam("at_position"),
    exists().where(*_RUNNING_ATTEMPT),
)
_PUT_METERS = insert(meters).from_select(
    [column.name for column in meters.c],
    select(*(bindparam(f"new_{c.name}", type_=c.type) for c in meters.c))
    .select_from(shards)
    .where(*_RUNNING_ATTEMPT),
)
_DROP_METERS = delete(meters).where(
    meters.c.batch_id == bindparam("of_batch"), meters.c.position == bindparam("at_position")
)
_STOP_METERS = delete(meters).where(meters.c.batch_id == bindparam("of_batch"))
# Built once: to build them takes longer than to run them.
_INSERT, _INSERT_ITEMS = insert(ledger), insert(ledger_items)


class SqlLedger:
    """See the port LedgerStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_batch(self, batch_id: str) -> BatchSpent:
        """What a batch has cost: its closed shards together, its open ones by index."""
        return (await self.standing([batch_id])).batches[batch_id]

    async def standing(
        self, batch_ids: Sequence[str], caps: Sequence[Cap] = (), since: float | None = None
    ) -> Standing:
        """What batches cost, and what batches at their end did under ``caps``; of one instant.

        It is one statement, since shards move from the meters to the ledger meanwhile.
        """
        hour = None if since is None else int(since // _HOUR)
        parts = [*_batch_sums(batch_ids, hour), *_cap_sums(caps, hour)]
        async with self._database.read() as connection:
            rows = (await connection.execute(union_all(*parts))).mappings().all() if parts else ()
        sums: dict[str, list[tuple[RowMapping, int]]] = defaultdict(list)
        for row in rows:
            sums[row["kind"]].append((row, prices_of(row)[1]))
        closed, recent = ({row["name"]: price for row, price in sums[kind]} for kind in "cr")
        running: dict[str, dict[int, int]] = defaultdict(dict)
        for row, price in sums["o"]:
            running[row["name"]][row["place"]] = price
        return Standing(
            {
                one: BatchSpent(closed.get(one, 0), running[one], recent.get(one, 0))
                for one in batch_ids
            },
            tuple(price for _, price in sorted(sums["e"], key=lambda pair: pair[0]["place"])),
        )

    async def course(self, batch_id: str) -> Sequence[Milestone]:
        """A milestone for each closed shard, and each open one that has settled lines; by time."""
        async with self._database.read() as connection:
            rows = (await connection.execute(_course(batch_id))).mappings().all()
        return [
            Milestone(row["at"], **{name: int(row[name]) for name in _COURSE_NAMES}) for row in rows
        ]

    async def spent(self, cap: Cap, since: float) -> int:
        """Units charged under a cap since a full hour, by closed shards alone."""
        conditions = (*_under(cap), ledger.c.hour >= int(since // _HOUR))
        async with self._database.read() as connection:
            summed = await connection.execute(select(*money_sums(ledger)).where(*conditions))
            return prices_of(summed.mappings().one())[1]


def _batch_sums(batch_ids: Sequence[str], hour: int | None) -> Iterator[Select[Any]]:
    """Closed and open shards of batches, and their closed ones since ``hour``."""
    if not batch_ids:
        return
    ids = ledger.c.batch_id.in_(batch_ids)
    yield _sums("c", ledger.c.batch_id, literal(0), ledger).where(ids).group_by(ledger.c.batch_id)
    if hour is not None:
        recent = _sums("r", ledger.c.batch_id, literal(0), ledger)
        yield recent.where(ids, ledger.c.hour >= hour).group_by(ledger.c.batch_id)
    running = _sums("o", meters.c.batch_id, meters.c.position, meters)
    mine = meters.c.batch_id.in_(batch_ids)
    yield running.where(mine).group_by(meters.c.batch_id, meters.c.position)


def _cap_sums(caps: Sequence[Cap], hour: int | None) -> Iterator[Select[Any]]:
    """What batches at their end cost under each cap since ``hour``, in the caps' order."""
    running = select(batches.c.id).where(batches.c.status.in_(UNFINISHED))
    for place, cap in enumerate(caps):
        ended = [*_under(cap), ledger.c.batch_id.not_in(running)]
        if hour is not None:
            ended.append(ledger.c.hour >= hour)
        yield _sums("e", literal(""), literal(place), ledger).where(*ended)


def _sums(kind: str, name: Any, place: Any, table: Table) -> Select[Any]:
    head = (literal(kind).label("kind"), name.label("name"), place.label("place"))
    return select(*head, *money_sums(table))


def _under(cap: Cap) -> list[ColumnElement[bool]]:
    return [
        ledger.c.account == cap.account,
        ledger.c[_COLUMNS[cap.scope]] == cap.scope_id,
        ledger.c.currency == cap.currency,
    ]


def insert_entries(connection: Connection, entries: Sequence[Entry], at: float) -> None:
    """Insert entries and their items into the caller's transaction."""
    _insert(connection, [(entry, at) for entry in entries])


def settle_entries(connection: Connection, tallies: Sequence[ShardTally]) -> None:
    """Put entries in the place of meters, in the caller's transaction, which closes the shards."""
    connection.execute(_DROP_METERS, [_key_of(tally) for tally in tallies])
    _insert(connection, [(entry, tally.at) for tally in tallies for entry in tally.entries])


def _insert(connection: Connection, entries: Sequence[tuple[Entry, float]]) -> None:
    if not entries:
        return
    connection.execute(_INSERT, [_row_of(entry, at) for entry, at in entries])
    items = [row for entry, _ in entries for row in _item_rows(entry)]
    if items:
        connection.execute(_INSERT_ITEMS, items)


async def put_meters(connection: AsyncConnection, tallies: Iterable[ShardTally]) -> None:
    """Replace the meters of running shards; those of another attempt are left alone."""
    tallies = list(tallies)
    keys = [_key_of(tally) for tally in tallies]
    rows = [
        {**_key_of(tally), **{f"new_{name}": value for name, value in row.items()}}
        for tally in tallies
        for row in (_row_of(entry, tally.at) for entry in tally.entries)
    ]
    await connection.execute(_FORGET_METERS, keys)
    if rows:
        await connection.execute(_PUT_METERS, rows)


def stop_running(connection: Connection, batch_id: str) -> None:
    """Set a batch's running shards back to waiting, in the caller's transaction."""
    if connection.execute(_LOCK_RUNNING, {"of_batch": batch_id}).all():
        connection.execute(_STOP_RUNNING, {"of_batch": batch_id})


def stop_meters(connection: Connection, batch_id: str) -> None:
    """Delete the meters of a batch in the caller's transaction, which ends it.

    No shard of it runs any more: none is tallied or closed from then on.
    """
    stop_running(connection, batch_id)
    connection.execute(_STOP_METERS, {"of_batch": batch_id})


def credit_back(connection: Connection, batch_id: str, at: float) -> None:
    """Take back whatever the batch was charged: it has no output file, so it costs nothing.

    Entries are never changed; those at the position ``CREDIT`` bring their sums to zero.
    """
    stop_meters(connection, batch_id)
    when: dict[str, ColumnElement[Any]] = {
        "at": literal(at),
        "hour": literal(int(at // _HOUR)),
    }
    none: dict[str, ColumnElement[Any]] = {name: literal(0) for name in _COUNTED}
    _credit(connection, ledger, batch_id, _ENTRY_NAMES, {**when, **none})
    tokens = {"tokens": -func.sum(ledger_items.c.tokens)}
    _credit(connection, ledger_items, batch_id, _ITEM_NAMES, tokens)


def _credit(
    connection: Connection,
    table: Table,
    batch_id: str,
    names: Sequence[str],
    besides: Mapping[str, ColumnElement[Any]],
) -> None:
    """Insert a row for each group of the batch's rows with the same ``names``, owing it all."""
    kept = [table.c[name] for name in names]
    owed = {name: -func.sum(table.c[name]) for name in MONEY_COLUMNS}
    values = {"position": literal(CREDIT), **owed, **besides}
    sums = select(*kept, *values.values()).where(table.c.batch_id == batch_id).group_by(*kept)
    connection.execute(insert(table).from_select([*names, *values], sums))


def batch_prices(batch_ids: Any) -> Any:
    """What the batches of a subquery of ids have cost so far: a row a batch, as ``money_sums``."""
    both = union_all(
        *(
            select(table.c.batch_id, *(table.c[name] for name in columns_of_prices(0, 0))).where(
                table.c.batch_id.in_(batch_ids)
            )
            for table in (ledger, meters)
        )
    ).cte("spent")
    return select(both.c.batch_id, *money_sums(both)).group_by(both.c.batch_id)


def _course(batch_id: str) -> Select[Any]:
    """The rows of each shard summed; a shard has them in one of the tables. No credits."""
    both = union_all(
        *(
            select(table.c.position, table.c.at, *(table.c[name] for name in _COURSE_NAMES)).where(
                table.c.batch_id == batch_id, table.c.position != CREDIT
            )
            for table in (ledger, meters)
        )
    ).subquery("metered")
    at = func.max(both.c.at).label("at")
    sums = [func.sum(both.c[name]).label(name) for name in _COURSE_NAMES]
    return select(at, *sums).group_by(both.c.position).order_by(at, both.c.position)


def _key_of(tally: ShardTally) -> dict[str, Any]:
    return {
        "of_batch": tally.batch_id,
        "at_position": tally.index,
        "by_attempt": tally.attempt,
    }


def _row_of(entry: Entry, at: float) -> dict[str, Any]:
    return {
        "batch_id": entry.batch_id,
        "position": entry.shard,
        "model": entry.model,
        "region": entry.region,
        "account": entry.payer.account,
        "workspace": entry.payer.workspace,
        "key_id": entry.payer.key,
        "at": at,
        "hour": int(at // _HOUR),
        "price_version": entry.price_version,
        "currency": entry.currency,
        "calls": entry.calls,
        "failures": entry.failures,
        "rejections": entry.rejections,
        "retries": entry.retries,
        "millis": entry.millis,
        **columns_of(entry.usage),
        **columns_of_prices(entry.list_price, entry.price),
    }


def _item_rows(entry: Entry) -> Iterator[dict[str, Any]]:
    for charge in entry.charges:
        yield {
            "batch_id": entry.batch_id,
            "position": entry.shard,
            "model": entry.model,
            "region": entry.region,
            "item": charge.item.value,
            "tokens": charge.tokens,
            **columns_of_prices(charge.list_price, charge.price),
        }
