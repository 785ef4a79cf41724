"""Rows of the audit log: written with what they tell of, and never changed."""

from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from batchmill.domain.account import Deed
from batchmill.ports import Page
from batchmill.store.database import Database
from batchmill.store.paging import beyond, by_creation, page_of
from batchmill.store.tables import audit

_INSERT = insert(audit)


class SqlAudit:
    """See the port AuditStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, deed: Deed) -> None:
        """Store an entry on its own."""
        async with self._database.write() as connection:
            await insert_deed(connection, deed)

    async def list(self, account: str, *, limit: int, after: str | None = None) -> Page[Deed]:
        """The account's entries, newest first; raises CursorUnknown."""
        own = select(audit).where(audit.c.account == account).limit(limit + 1)
        statement = by_creation(own, audit, descending=True)
        async with self._database.read() as connection:
            if after is not None:
                behind = await beyond(
                    connection, audit, account=account, after=after, descending=True
                )
                statement = statement.where(behind)
            rows = (await connection.execute(statement)).mappings().all()
        return page_of([_deed_of(row) for row in rows], limit)


async def insert_deed(connection: AsyncConnection, deed: Deed | None) -> None:
    """Insert the entry, if there is one, into the caller's transaction."""
    if deed is not None:
        await connection.run_sync(put_deed, deed)


def put_deed(connection: Connection, deed: Deed | None) -> None:
    """``insert_deed`` within a turn of the driver's thread."""
    if deed is not None:
        connection.execute(_INSERT, [_row_of(deed)])


def _row_of(deed: Deed) -> dict[str, Any]:
    return {
        "id": deed.id,
        "account": deed.account,
        "actor": deed.actor,
        "action": deed.action,
        "target": deed.target,
        "detail": deed.detail,
        "created_at": deed.at,
    }


def _deed_of(row: RowMapping) -> Deed:
    return Deed(
        id=row["id"],
        account=row["account"],
        actor=row["actor"],
        action=row["action"],
        target=row["target"],
        at=row["created_at"],
        detail=row["detail"],
    )
