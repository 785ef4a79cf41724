"""Rows of batches: created once, moved by compare-and-swap, read with their sums.

Until a batch is terminal its counts and usage are the sums over its shards;
then the columns of its own row hold what was delivered, for good.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    Update,
    bindparam,
    exists,
    func,
    insert,
    select,
    update,
)

from batchmill.domain.account import Deed
from batchmill.domain.batch import Batch, Status
from batchmill.domain.file import File
from batchmill.domain.ledger import Entry
from batchmill.domain.shards import Shard, ShardStatus
from batchmill.domain.webhook import batch_event
from batchmill.ports import (
    BatchQuery,
    FileUse,
    Idempotency,
    IdempotencyMismatch,
    Page,
    TooManyUnfinished,
    UnfinishedCap,
)
from batchmill.store.audit import put_deed
from batchmill.store.batch_rows import batch_of, changed_columns, new_row
from batchmill.store.database import BATCHES, Database
from batchmill.store.file_uses import uses_by_file, uses_statement
from batchmill.store.files import put_files
from batchmill.store.ledger import batch_prices, credit_back, insert_entries, stop_meters
from batchmill.store.money import MONEY_COLUMNS
from batchmill.store.paging import beyond, by_creation, page_of, within
from batchmill.store.search import holds
from batchmill.store.shards import insert_shards
from batchmill.store.tables import UNFINISHED, batches, shards
from batchmill.store.webhooks import put_event

_LISTS_HELD = 256

_SUMMED = ("completed", "failed", "resent")
_SUMMED_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
_SUMS = ("total", *_SUMMED, *_SUMMED_TOKENS)


class SqlBatches:
    """See the port BatchStore; each verb is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        batch: Batch,
        idempotency: Idempotency | None,
        caps: Sequence[UnfinishedCap],
        deed: Deed | None = None,
    ) -> Batch:
        """Store a new batch, or return the one that this idempotency key made.

        Raises IdempotencyMismatch and TooManyUnfinished.
        """
        backend = self._database.backend

        def store(connection: Connection) -> Batch:
            backend.serialize(connection, BATCHES, batch.account)
            return _create(connection, batch, idempotency, caps, deed)

        return await self._database.transact(store)

    async def get(self, account: str, batch_id: str) -> Batch | None:
        """The batch, if it is the account's."""
        own = {"of_account": account, "with_value": batch_id}
        row = await self._database.ask(
            lambda connection: connection.execute(_WITH_ID, own).mappings().one_or_none()
        )
        return None if row is None else batch_of(row)

    async def list(self, account: str, query: BatchQuery) -> Page[Batch]:
        """Batches, newest first; raises CursorUnknown."""
        async with self._database.read() as connection:
            if query.after is None:
                first = _first_page(account, replace(query, created_after=None))
                rows = await connection.execute(first, {"since": query.created_after or 0.0})
            else:
                behind = await beyond(
                    connection, batches, account=account, after=query.after, descending=True
                )
                chosen = list_statement(account, query).where(behind)
                rows = await connection.execute(with_sums(chosen, descending=True))
        return page_of([batch_of(row) for row in rows.mappings()], query.limit)

    async def using(
        self, account: str, file_ids: Sequence[str], *, most: int
    ) -> Mapping[str, Sequence[FileUse]]:
        """The account's batches by the files that they use; a file without a use is absent.

        Of each file ``most`` at the most: unfinished ones first, then the newest.
        """
        statement = uses_statement(account, file_ids, most)
        async with self._database.read() as connection:
            rows = (await connection.execute(statement)).mappings().all()
        return uses_by_file(rows)

    async def unfinished(self, only: Sequence[str] | None = None) -> Sequence[Batch]:
        """Every batch in a status that is not terminal, of every account, oldest first.

        With ``only``, those of them that have one of these ids.
        """
        asked, values = (_EVERY, {}) if only is None else (_AMONG, {"ids": list(only)})
        rows = await self._database.ask(
            lambda connection: connection.execute(asked, values).mappings().all()
        )
        return [batch_of(row) for row in rows]

    async def standing(self) -> Mapping[str, Status]:
        """The status of every batch that is not at its end, by id, oldest first."""
        rows = await self._database.ask(lambda connection: connection.execute(_STANDING).all())
        return {batch_id: Status(status) for batch_id, status in rows}

    async def move(self, before: Batch, after: Batch, deed: Deed | None = None) -> bool:
        """Store ``after`` if the stored status is still ``before``'s; whether it was."""
        return await self._database.transact(lambda own: _move(own, before, after, deed))

    async def settle(self, before: Batch, after: Batch) -> bool:
        """``move``, if every shard of the batch is done; whether it was."""
        return await self._database.transact(lambda own: _swap(own, before, after, _SWAP_SETTLED))

    async def plan(self, before: Batch, after: Batch, shards: Sequence[Shard]) -> bool:
        """``move``, and store the shards."""
        return await self._database.transact(lambda own: _plan(own, before, after, shards))

    async def deliver(
        self, before: Batch, after: Batch, files: Sequence[File], entries: Sequence[Entry] = ()
    ) -> bool:
        """``move`` with the final sums of ``after``, and store the result files.

        ``entries`` are those of the shards that were never closed.
        """
        return await self._database.transact(
            lambda own: _deliver(own, before, after, files, entries)
        )


def list_statement(account: str, query: BatchQuery) -> Select[Any]:
    """The batches of a list, one more than its limit, without regard to its cursor."""
    chosen = select(batches).where(batches.c.account == account, *_filters(query))
    return by_creation(chosen.limit(query.limit + 1), batches, descending=True)


# To build it takes longer than to run it; and who waits for batches asks for the same again.
@lru_cache(_LISTS_HELD)
def _first_page(account: str, query: BatchQuery) -> Select[Any]:
    """``list_statement`` with the sums, of batches created from the parameter ``since`` on."""
    chosen = list_statement(account, query).where(batches.c.created_at >= bindparam("since"))
    return with_sums(chosen, descending=True)


def with_sums(chosen: Select[Any], *, descending: bool) -> Select[Any]:
    """The ``chosen`` batches in the order of creation, each with the sums that count."""
    page = chosen.cte("page")
    running = select(page.c.id).where(page.c.status.in_(UNFINISHED))
    sums = (
        select(
            shards.c.batch_id,
            func.sum(shards.c.lines).label("total"),
            *(func.sum(shards.c[name]).label(name) for name in _SUMMED + _SUMMED_TOKENS),
        )
        .where(shards.c.batch_id.in_(running))
        .group_by(shards.c.batch_id)
        .cte("sums")
    )
    prices = batch_prices(running).cte("prices")
    own = [column for column in page.c if column.name not in _SUMS + MONEY_COLUMNS]
    counted = [
        func.coalesce(of.c[name], page.c[name]).label(name)
        for of, names in ((sums, _SUMS), (prices, MONEY_COLUMNS))
        for name in names
    ]
    joined = page.outerjoin(sums, sums.c.batch_id == page.c.id)
    joined = joined.outerjoin(prices, prices.c.batch_id == page.c.id)
    both = select(*own, *counted).select_from(joined)
    order = (page.c.created_at, page.c.seq)
    return both.order_by(*(c.desc() if descending else c.asc() for c in order))


def _filters(query: BatchQuery) -> list[ColumnElement[bool]]:
    conditions = within(batches.c.created_at, query.created_after, query.created_before)
    if query.name_contains:
        conditions.append(holds(query.name_contains, batches.c.name))
    if query.search:
        conditions.append(holds(query.search, batches.c.name, batches.c.id))
    chosen = (
        (batches.c.input_file_id, query.input_file_ids),
        (batches.c.status, [status.value for status in query.statuses]),
        (batches.c.workspace, query.workspaces),
        (batches.c.model, query.models),
    )
    return [*conditions, *(column.in_(values) for column, values in chosen if values)]


def _one_with(column: Column[Any]) -> Select[Any]:
    own = (batches.c.account == bindparam("of_account"), column == bindparam("with_value"))
    return with_sums(select(batches).where(*own), descending=False)


# Built once: these are asked all the time, and building them takes longer than running them.
_STANDING = (
    select(batches.c.id, batches.c.status)
    .where(batches.c.status.in_(UNFINISHED))
    .order_by(batches.c.created_at, batches.c.seq)
)
_IS_UNFINISHED = batches.c.status.in_(UNFINISHED)
_EVERY = with_sums(select(batches).where(_IS_UNFINISHED), descending=False)
_IS_ASKED_FOR = batches.c.id.in_(bindparam("ids", expanding=True))
_AMONG = with_sums(select(batches).where(_IS_ASKED_FOR, _IS_UNFINISHED), descending=False)
_WITH_ID = _one_with(batches.c.id)
_WITH_KEY = _one_with(batches.c.idempotency_key)
_FINGERPRINT = select(batches.c.idempotency_fingerprint).where(
    batches.c.account == bindparam("of_account"),
    batches.c.idempotency_key == bindparam("with_key"),
)
_COUNT = (
    select(func.count())
    .select_from(batches)
    .where(batches.c.account == bindparam("of_account"), _IS_UNFINISHED)
)
_COUNT_ON = _COUNT.where(batches.c.endpoint == bindparam("on_endpoint"))
_INSERT = insert(batches)
# The columns that change are those of the values that it is given.
_SWAP = update(batches).where(
    batches.c.id == bindparam("of_batch"), batches.c.status == bindparam("from_status")
)
# A shard that is done stays so, and none comes after planning.
_SWAP_SETTLED = _SWAP.where(
    ~exists().where(
        shards.c.batch_id == bindparam("of_batch"), shards.c.status != ShardStatus.DONE.value
    )
)


# --- one transaction each; they may be done again, in another one ---


def _create(
    connection: Connection,
    batch: Batch,
    idempotency: Idempotency | None,
    caps: Sequence[UnfinishedCap],
    deed: Deed | None,
) -> Batch:
    if idempotency is not None:
        made = _made_by(connection, batch.account, idempotency)
        if made is not None:
            return made
    for cap in caps:
        _refuse_beyond(connection, batch, cap)
    connection.execute(_INSERT, [{**new_row(batch), **_key_of(idempotency)}])
    put_deed(connection, deed)
    return batch


def _move(connection: Connection, before: Batch, after: Batch, deed: Deed | None) -> bool:
    moved = _swap(connection, before, after)
    if moved:
        put_deed(connection, deed)
        if after.status is Status.FAILED:
            credit_back(connection, after.id, after.ended_at)
        _announce(connection, after)
    return moved


def _plan(connection: Connection, before: Batch, after: Batch, shards: Sequence[Shard]) -> bool:
    moved = _swap(connection, before, after)
    if moved:
        insert_shards(connection, shards)
    return moved


def _deliver(
    connection: Connection,
    before: Batch,
    after: Batch,
    files: Sequence[File],
    entries: Sequence[Entry],
) -> bool:
    moved = _swap(connection, before, after)
    if moved:
        put_files(connection, files)
        if not before.has_settled:
            # Else none of its shards runs, or has meters.
            stop_meters(connection, after.id)
        insert_entries(connection, entries, after.ended_at)
        _announce(connection, after)
    return moved


def _made_by(connection: Connection, account: str, idempotency: Idempotency) -> Batch | None:
    own_key = {"of_account": account, "with_key": idempotency.key}
    used_with = connection.execute(_FINGERPRINT, own_key).scalar_one_or_none()
    if used_with is None:
        return None
    if used_with != idempotency.fingerprint:
        raise IdempotencyMismatch(idempotency.key)
    own = {"of_account": account, "with_value": idempotency.key}
    return batch_of(connection.execute(_WITH_KEY, own).mappings().one())


def _refuse_beyond(connection: Connection, batch: Batch, cap: UnfinishedCap) -> None:
    if cap.endpoint not in (None, batch.endpoint):
        return
    counting, values = _COUNT, {"of_account": batch.account}
    if cap.endpoint is not None:
        counting, values = _COUNT_ON, {**values, "on_endpoint": cap.endpoint}
    if connection.execute(counting, values).scalar_one() >= cap.count:
        raise TooManyUnfinished(batch.account)


def _swap(connection: Connection, before: Batch, after: Batch, how: Update = _SWAP) -> bool:
    expected = {"of_batch": before.id, "from_status": before.status.value}
    return connection.execute(how, {**expected, **changed_columns(after)}).rowcount == 1


def _announce(connection: Connection, batch: Batch) -> None:
    """Whoever is to be told of the batch's end will be."""
    if batch.status.is_terminal:
        event = batch_event(batch, batch.ended_at)
        if event is not None:
            put_event(connection, event)


def _key_of(idempotency: Idempotency | None) -> dict[str, str | None]:
    return {
        "idempotency_key": None if idempotency is None else idempotency.key,
        "idempotency_fingerprint": None if idempotency is None else idempotency.fingerprint,
    }
