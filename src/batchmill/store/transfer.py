"""Every row on its way from one database into another, and what the rows say about blobs.

The target is empty, as it is after its migrations, or holds what a move left
that was cut off. It takes all rows in one transaction, which leaves a mark
where its revision stood: no release opens it until the mark is taken away.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Row, Select, Table, bindparam, func, null, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from batchmill.domain.account import OPERATOR, OPERATOR_WORKSPACE
from batchmill.domain.errors import ConfigError, Conflict
from batchmill.domain.file import UploadStatus
from batchmill.ports.moving import NamedBlob, Weight
from batchmill.store.counters import ways_of
from batchmill.store.database import Database
from batchmill.store.migrations import HEAD
from batchmill.store.schema import MOVING, Schema, bring_up_to_date, stored_schema
from batchmill.store.sql import SqlStore, backend_for
from batchmill.store.tables import (
    accounts,
    files,
    leadership,
    metadata,
    schema_terms,
    secrets,
    signs,
    upload_parts,
    uploads,
    workspaces,
)

# Who leads, and what processes say of themselves, is true of one database alone.
_STAYS: Final = (leadership, schema_terms, signs)
MOVED: Final[tuple[Table, ...]] = tuple(one for one in metadata.sorted_tables if one not in _STAYS)

# What a database holds without anybody having used it: the operator's rows come with the first
# migration, a secret with the first server that was started.
_SEEDS: Final = {accounts: OPERATOR, workspaces: OPERATOR_WORKSPACE}
_REPLACED: Final = (secrets,)

_ROWS_AT_ONCE: Final = 1_000
_BLOBS_AT_ONCE: Final = 500
_MARK: Final = f"{MOVING}{HEAD}"


async def open_for_moving(where: str | Path) -> Database:
    """The database to move from or into, brought to the newest schema.

    Unlike every other way in it opens what a move left that was cut off. Raises
    ConfigError, also where a newer release has changed the schema, and StorageFull.
    """
    database = Database(backend_for(where))
    try:
        async with database.opening(), database.read() as connection:
            schema = await connection.run_sync(stored_schema)
        if schema.revision != _MARK:
            _assert_known(await bring_up_to_date(database))
    except BaseException:
        await database.close()
        raise
    return database


def make_store(database: Database) -> SqlStore:
    """The store over a database that was opened for moving."""
    return SqlStore(database, Schema(HEAD, None))


def _assert_known(schema: Schema) -> None:
    if schema.is_ahead:
        raise ConfigError(
            "A newer release of batchmill has changed the database: move with that release."
        )


class SqlInventory:
    """The port Inventory over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self) -> Mapping[str, int]:
        """How many rows there are that move, by table."""
        async with self._database.read() as connection:
            return {table.name: await _count(connection, table) for table in MOVED}

    async def weigh(self) -> Weight:
        """How much ``named`` will yield."""
        count, size = 0, 0
        async with self._database.read() as connection:
            for statement in (_of_files(), _of_parts()):
                inner = statement.subquery()
                sums = select(func.count(), func.coalesce(func.sum(inner.c.bytes), 0))
                row = (await connection.execute(sums.select_from(inner))).one()
                count, size = count + int(row[0]), size + int(row[1])
        return Weight(count, size)

    async def named(self) -> AsyncIterator[NamedBlob]:
        """Every blob that a file or a part of a pending upload names."""
        for statement, seq in ((_of_files(), files.c.seq), (_of_parts(), upload_parts.c.seq)):
            page = statement.where(seq > bindparam("last")).order_by(seq).limit(_BLOBS_AT_ONCE)
            last = 0
            while rows := await self._read(page, last):
                for row in rows:
                    yield NamedBlob(row.blob, row.bytes, row.digest, row.id)
                last = rows[-1].seq

    async def _read(self, page: Select[Any], last: int) -> Sequence[Row[Any]]:
        async with self._database.read() as connection:
            return list(await connection.execute(page, {"last": last}))


def _of_files() -> Select[Any]:
    return select(files.c.seq, files.c.id, files.c.blob, files.c.bytes, files.c.digest)


def _of_parts() -> Select[Any]:
    """The bytes of other uploads' parts are gone, or on their way out."""
    columns = (upload_parts.c.seq, upload_parts.c.id, upload_parts.c.blob, upload_parts.c.bytes)
    joined = upload_parts.join(uploads, uploads.c.id == upload_parts.c.upload_id)
    pending = uploads.c.status == UploadStatus.PENDING.value
    return select(*columns, null().label("digest")).select_from(joined).where(pending)


class SqlRowMove:
    """The port RowMove over two databases of any kind.

    ``kept`` are secrets that the source keeps elsewhere than in its database, by name.
    """

    def __init__(self, source: Database, target: Database, kept: Mapping[str, bytes]) -> None:
        self._source = source
        self._target = target
        self._kept = kept

    async def check(self) -> None:
        """Return if the target holds nothing, or what was cut off; raises Conflict."""
        async with self._target.read() as connection:
            await _assert_free(connection)

    async def copy(self, on_rows: Callable[[str, int], None]) -> Mapping[str, int]:
        """Copy every row in one transaction; how many there are now, by table.

        Raises Conflict where the target is in use or takes a row not as it is.
        """
        async with self._source.write() as source, self._target.write() as target:
            ways = ways_of(target)
            await ways.seize(target, MOVED)
            await _assert_free(target)
            for table in reversed(MOVED):
                await target.execute(table.delete())
            for table in MOVED:
                with self._misfits_named(table):
                    await _copy_table(source, target, table, on_rows)
            counts = {table.name: await _compare(source, target, table) for table in MOVED}
            for name, value in self._kept.items():
                await target.execute(secrets.insert().values(name=name, value=value))
            await _continue_counters(source, target)
            await _supersede(source, target)
            await target.execute(_MARK_REVISION, {"old": HEAD, "new": _MARK})
        return counts

    @contextmanager
    def _misfits_named(self, table: Table) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if self._target.backend.explain(error) is not None:
                raise
            raise Conflict(
                f"The new database does not take a row of the table '{table.name}' "
                f"({type(error.orig).__name__}); nothing was moved."
            ) from error

    async def release(self) -> None:
        """Let the target be opened."""
        async with self._target.write() as connection:
            await connection.execute(_MARK_REVISION, {"old": _MARK, "new": HEAD})


_MARK_REVISION: Final = text(
    "UPDATE alembic_version SET version_num = :new WHERE version_num = :old"
)


async def _assert_free(connection: AsyncConnection) -> None:
    """Raise Conflict where somebody has used the database."""
    schema = await connection.run_sync(stored_schema)
    if schema.revision == _MARK:
        return
    for table in MOVED:
        if table not in _REPLACED and await _is_used(connection, table):
            raise Conflict(
                f"The database to move into is in use already, its table '{table.name}' holds "
                "rows: name one that is empty."
            )


async def _is_used(connection: AsyncConnection, table: Table) -> bool:
    rows = select(table).limit(1)
    if table in _SEEDS:
        rows = rows.where(table.c.id != _SEEDS[table])
    return (await connection.execute(rows)).first() is not None


async def _copy_table(
    source: AsyncConnection,
    target: AsyncConnection,
    table: Table,
    on_rows: Callable[[str, int], None],
) -> None:
    rows = await source.stream(select(table))
    async for part in rows.mappings().partitions(_ROWS_AT_ONCE):
        await target.execute(table.insert(), [dict(row) for row in part])
        on_rows(table.name, len(part))


async def _compare(source: AsyncConnection, target: AsyncConnection, table: Table) -> int:
    """How many rows both hold; raises Conflict where that is not the same."""
    there, here = await _count(source, table), await _count(target, table)
    if there != here:
        raise Conflict(
            f"The table '{table.name}' holds {here} rows where {there} were to be moved; nothing "
            "was moved: stop whatever else uses the new database, and try again."
        )
    return here


async def _count(connection: AsyncConnection, table: Table) -> int:
    counted = await connection.execute(select(func.count()).select_from(table))
    return int(counted.scalar_one())


async def _continue_counters(source: AsyncConnection, target: AsyncConnection) -> None:
    """What is made from now on comes behind all that was ever made."""
    before, after = ways_of(source), ways_of(target)
    for table in MOVED:
        if "seq" in table.c:
            highest = (await target.execute(select(func.max(table.c.seq)))).scalar_one()
            last = max(highest or 0, await before.last(source, table))
            await after.continue_behind(target, table, last)


async def _supersede(source: AsyncConnection, target: AsyncConnection) -> None:
    """Begin an epoch: an engine that leads over the empty database must look at it anew."""
    epochs = [
        (await one.execute(select(func.max(leadership.c.epoch)))).scalar_one() or 0
        for one in (source, target)
    ]
    await target.execute(leadership.update().values(epoch=max(epochs) + 1))
