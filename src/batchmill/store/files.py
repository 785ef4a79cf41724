"""Rows of files. What an account may keep of them is judged in ``quota``."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, bindparam, delete, exists, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from batchmill.domain.account import Deed
from batchmill.domain.file import File, Purpose
from batchmill.ports import FileQuery, Kept, Page, Quota, Reservation
from batchmill.store.audit import insert_deed
from batchmill.store.database import BATCHES, QUOTA, Database
from batchmill.store.paging import beyond, by_creation, page_of, within
from batchmill.store.quota import Room, drop_stale, give_back, hold, kept, take
from batchmill.store.search import fold, holds
from batchmill.store.tables import UNFINISHED, batches, files


class SqlFiles:
    """See the port FileStore; each verb is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, reservation: Reservation, quota: Quota, now: float) -> None:
        """Take room, or change how much is taken and until when; raises QuotaReached."""
        # relaxed: a power cut that undoes it also ends the upload that it is for
        async with self._database.relaxed() as connection:
            await self._database.serialize(connection, QUOTA, reservation.account)
            await hold(connection, reservation, quota, now)

    async def release(self, reservation_id: str) -> None:
        """Give room back; without a reservation, do nothing."""
        async with self._database.relaxed() as connection:
            await give_back(connection, reservation_id)

    async def drop_stale(self, now: float) -> int:
        """Delete reservations whose time is over; how many there were."""
        async with self._database.relaxed() as connection:
            return await drop_stale(connection, now)

    async def add(self, file: File, quota: Quota) -> None:
        """Store the row in the room that was reserved for its id, if any; raises QuotaReached."""
        async with self._database.write() as connection:
            await self._database.serialize(connection, QUOTA, file.account)
            await add_within_quota(connection, file, quota)

    async def get(self, account: str, file_id: str) -> File | None:
        """The file, expired or not, if it is the account's."""
        own = {"of_account": account, "with_id": file_id}
        row = await self._database.ask(
            lambda connection: connection.execute(_WITH_ID, own).mappings().one_or_none()
        )
        return None if row is None else file_of(row)

    async def list(self, account: str, query: FileQuery) -> Page[File]:
        """Files by creation time; raises CursorUnknown."""
        statement = list_statement(account, query)
        async with self._database.read() as connection:
            if query.after is not None:
                behind = await beyond(
                    connection,
                    files,
                    account=account,
                    after=query.after,
                    descending=query.descending,
                )
                statement = statement.where(behind)
            rows = (await connection.execute(statement)).mappings().all()
        return page_of([file_of(row) for row in rows], query.limit)

    async def kept(self, account: str, now: float) -> Kept:
        """What counts against the account's quota now."""
        async with self._database.read() as connection:
            return await kept(connection, account, now)

    async def delete(self, account: str, file_id: str, deed: Deed | None = None) -> str | None:
        """Delete the row, or return the id of the oldest unfinished batch that uses the file.

        The deed is stored where there was a row to delete.
        """
        async with self._database.write() as connection:
            # else a batch could begin to use the file between the question and the deletion
            await self._database.serialize(connection, BATCHES, account)
            uses = (
                select(batches.c.id)
                .where(batches.c.account == account, _is_used_input(file_id))
                .order_by(batches.c.created_at, batches.c.seq)
                .limit(1)
            )
            user = (await connection.execute(uses)).scalar_one_or_none()
            if user is None:
                own = (files.c.account == account, files.c.id == file_id)
                gone = await connection.execute(delete(files).where(*own))
                await insert_deed(connection, deed if gone.rowcount else None)
        return user

    async def expired(self, now: float, limit: int) -> Sequence[File]:
        """Files whose life is over and that no unfinished batch uses, oldest end first."""
        used = exists().where(batches.c.account == files.c.account, _is_used_input(files.c.id))
        over = (
            select(files)
            .where(files.c.expires_at <= now, ~used)
            .order_by(files.c.expires_at)
            .limit(limit)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(over)).mappings().all()
        return [file_of(row) for row in rows]


# Built once: to build them takes longer than to run them.
_WITH_ID = select(files).where(
    files.c.account == bindparam("of_account"), files.c.id == bindparam("with_id")
)
_INSERT = insert(files)


def list_statement(account: str, query: FileQuery) -> Select[Any]:
    """The files of a list, one more than its limit, without regard to its cursor."""
    conditions = [
        files.c.account == account,
        *within(files.c.created_at, query.created_after, query.created_before),
    ]
    if query.purpose is not None:
        conditions.append(files.c.purpose == query.purpose)
    if query.search:
        conditions.append(holds(query.search, files.c.folded, files.c.id))
    chosen = select(files).where(*conditions).limit(query.limit + 1)
    return by_creation(chosen, files, descending=query.descending)


async def add_within_quota(connection: AsyncConnection, file: File, quota: Quota) -> None:
    """Insert the row into the caller's transaction, or raise QuotaReached.

    A reservation of its id gives way to it.
    """
    room = Room(file.id, file.account, file.bytes)
    await take(connection, room, quota, now=file.created_at)
    await give_back(connection, file.id)
    await insert_files(connection, [file])


async def insert_files(connection: AsyncConnection, added: Sequence[File]) -> None:
    """Insert the rows into the caller's transaction, quota or not."""
    await connection.run_sync(put_files, added)


def put_files(connection: Connection, added: Sequence[File]) -> None:
    """``insert_files`` within a turn of the driver's thread."""
    if added:
        connection.execute(_INSERT, [_row_of(file) for file in added])


def file_of(row: RowMapping) -> File:
    """The File that a row of the table holds."""
    return File(
        id=row["id"],
        account=row["account"],
        purpose=Purpose(row["purpose"]),
        filename=row["filename"],
        bytes=row["bytes"],
        digest=row["digest"],
        blob=row["blob"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


def _row_of(file: File) -> dict[str, Any]:
    return {
        "id": file.id,
        "account": file.account,
        "purpose": file.purpose.value,
        "filename": file.filename,
        "folded": fold(file.filename),
        "bytes": file.bytes,
        "digest": file.digest,
        "blob": file.blob,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
    }


def _is_used_input(file_id: Any) -> Any:
    used = batches.c.input_file_id == file_id
    return used & batches.c.status.in_(UNFINISHED)
