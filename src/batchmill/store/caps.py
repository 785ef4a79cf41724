"""Rows of monthly caps: one per thing and currency, and the month of its last alert."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, bindparam, delete, insert, or_, select, update

from batchmill.domain.account import Deed
from batchmill.domain.caps import Cap, Scope
from batchmill.domain.webhook import WebhookEvent
from batchmill.store.audit import insert_deed
from batchmill.store.database import Database
from batchmill.store.tables import caps
from batchmill.store.webhooks import announce

# Built once: to build them takes longer than to run them.
_ALL = select(caps).order_by(caps.c.account, caps.c.scope, caps.c.scope_id, caps.c.currency)
_OWN = _ALL.where(caps.c.account == bindparam("of_account"))


class SqlCaps:
    """See the port CapStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, cap: Cap, deed: Deed) -> None:
        """Set or replace a cap; the month of its last alert stays."""
        changed = {"limit": str(cap.limit), "alert_percent": cap.alert_percent}
        async with self._database.write() as connection:
            await self._database.serialize(connection, "caps", cap.account)
            found = await connection.execute(update(caps).where(*_is(cap)).values(changed))
            if not found.rowcount:
                await connection.execute(insert(caps), [{**_names(cap), **changed}])
            await insert_deed(connection, deed)

    async def remove(self, cap: Cap, deed: Deed) -> None:
        """Delete a cap; one that is gone stays gone, and leaves no deed."""
        async with self._database.write() as connection:
            found = await connection.execute(delete(caps).where(*_is(cap)))
            if found.rowcount:
                await insert_deed(connection, deed)

    async def list(self, account: str | None = None) -> Sequence[Cap]:
        """The account's caps, or those of all."""
        asked, values = (_ALL, {}) if account is None else (_OWN, {"of_account": account})
        rows = await self._database.ask(
            lambda connection: connection.execute(asked, values).mappings().all()
        )
        return [_cap_of(row) for row in rows]

    async def alert(self, cap: Cap, month: str, event: WebhookEvent) -> bool:
        """Note that the alert of ``month`` went out, with its event; whether it was the first."""
        is_new = or_(caps.c.alerted_month.is_(None), caps.c.alerted_month != month)
        noted = update(caps).where(*_is(cap), is_new).values(alerted_month=month)
        async with self._database.write() as connection:
            is_first = bool((await connection.execute(noted)).rowcount)
            if is_first:
                await announce(connection, event)
            return is_first


def _names(cap: Cap) -> dict[str, Any]:
    return {
        "account": cap.account,
        "scope": cap.scope.value,
        "scope_id": cap.scope_id,
        "currency": cap.currency,
        "alerted_month": cap.alerted_month,
    }


def _is(cap: Cap) -> list[ColumnElement[bool]]:
    return [
        caps.c.account == cap.account,
        caps.c.scope == cap.scope.value,
        caps.c.scope_id == cap.scope_id,
        caps.c.currency == cap.currency,
    ]


def _cap_of(row: RowMapping) -> Cap:
    return Cap(
        account=row["account"],
        scope=Scope(row["scope"]),
        scope_id=row["scope_id"],
        currency=row["currency"],
        limit=int(row["limit"]),
        alert_percent=row["alert_percent"],
        alerted_month=row["alerted_month"],
    )
