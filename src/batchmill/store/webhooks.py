"""Rows of webhook endpoints. What is due to them lies in ``outbox``."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, case, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from batchmill.domain.account import Deed
from batchmill.domain.post import Tried, breaker_after
from batchmill.domain.webhook import (
    Delivery,
    WebhookEndpoint,
    WebhookEvent,
    deliveries_of,
)
from batchmill.ports import Backlog, Due, Page, TooManyEndpoints
from batchmill.store import outbox
from batchmill.store.audit import insert_deed
from batchmill.store.database import Database
from batchmill.store.paging import beyond, by_creation, page_of
from batchmill.store.tables import deliveries, webhook_endpoints


async def announce(connection: AsyncConnection, event: WebhookEvent) -> None:
    """Put the event into the outbox, in the caller's transaction: once for each receiver.

    An event that was announced before changes nothing.
    """
    await connection.run_sync(put_event, event)


def put_event(connection: Connection, event: WebhookEvent) -> None:
    """``announce`` within a turn of the driver's thread."""
    outbox.insert_new(connection, deliveries_of(event, _of(connection, event.account)))


class SqlWebhooks:
    """See the port WebhookStore; each verb is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, endpoint: WebhookEndpoint, deed: Deed, *, most: int) -> None:
        """Store an endpoint; raises TooManyEndpoints where the account has ``most``."""
        own = webhook_endpoints.c.account == endpoint.account
        counting = select(func.count()).select_from(webhook_endpoints).where(own)
        async with self._database.write() as connection:
            await self._database.serialize(connection, "webhooks", endpoint.account)
            if (await connection.execute(counting)).scalar_one() >= most:
                raise TooManyEndpoints(endpoint.account)
            await connection.execute(insert(webhook_endpoints), [_row_of(endpoint)])
            await insert_deed(connection, deed)

    async def get(self, account: str, endpoint_id: str) -> WebhookEndpoint | None:
        """The endpoint, if it is the account's."""
        chosen = select(webhook_endpoints).where(*_own(account, endpoint_id))
        async with self._database.read() as connection:
            row = (await connection.execute(chosen)).mappings().one_or_none()
        return None if row is None else endpoint_of(row)

    async def list(
        self, account: str, *, limit: int, after: str | None = None
    ) -> Page[WebhookEndpoint]:
        """Endpoints, newest first; raises CursorUnknown."""
        table = webhook_endpoints
        own = select(table).where(table.c.account == account).limit(limit + 1)
        chosen = by_creation(own, table, descending=True)
        async with self._database.read() as connection:
            if after is not None:
                behind = await beyond(
                    connection, table, account=account, after=after, descending=True
                )
                chosen = chosen.where(behind)
            rows = (await connection.execute(chosen)).mappings().all()
        return page_of([endpoint_of(row) for row in rows], limit)

    async def update(self, before: WebhookEndpoint, after: WebhookEndpoint, deed: Deed) -> bool:
        """Store what a caller changed, if nobody else did meanwhile; whether it was stored."""
        table, values = webhook_endpoints, _changeable(after)
        unchanged = [table.c[name] == value for name, value in _changeable(before).items()]
        moved = table.c.url != after.url
        closed = {
            "failures": case((moved, 0), else_=table.c.failures),
            "open_until": case((moved, None), else_=table.c.open_until),
        }
        changing = update(table).where(*_own(before.account, before.id), *unchanged)
        async with self._database.write() as connection:
            was_stored = (await connection.execute(changing.values(values | closed))).rowcount == 1
            if was_stored:
                await insert_deed(connection, deed)
        return was_stored

    async def delete(self, account: str, endpoint_id: str, deed: Deed) -> bool:
        """Delete it, and give up what is due to it; whether it was there."""
        deleting = delete(webhook_endpoints).where(*_own(account, endpoint_id))
        async with self._database.write() as connection:
            was_there = (await connection.execute(deleting)).rowcount == 1
            if was_there:
                to_it = deliveries.c.endpoint_id == endpoint_id
                await outbox.give_up_where(connection, to_it, deed.at)
                await insert_deed(connection, deed)
        return was_there

    async def enqueue(self, delivery: Delivery) -> None:
        """Add one delivery to the outbox; it is given up where its endpoint is gone."""
        own = webhook_endpoints.c.id == delivery.endpoint_id
        kept = select(webhook_endpoints.c.id).where(own).with_for_update(read=True, key_share=True)
        async with self._database.write() as connection:
            if delivery.endpoint_id is not None and not (await connection.execute(kept)).first():
                delivery = replace(delivery, next_at=None, given_up_at=delivery.created_at)
            await connection.run_sync(outbox.insert_new, [delivery])

    async def due(self, now: float, limit: int) -> Sequence[Due]:
        """Deliveries to be tried now, of each account in turn, longest due first."""
        async with self._database.read() as connection:
            chosen = await outbox.due(connection, now, limit)
            ids = {one.endpoint_id for one in chosen if one.endpoint_id is not None}
            endpoints = await _with_ids(connection, ids) if ids else {}
        # one without its endpoint was given up a moment ago, by who deleted that
        return [
            Due(one, endpoints.get(one.endpoint_id or ""))
            for one in chosen
            if one.endpoint_id is None or one.endpoint_id in endpoints
        ]

    async def settle(self, delivery: Delivery, tried: Tried) -> None:
        """Store what became of a try, and the state of the circuit breaker after it."""
        async with self._database.write() as connection:
            # the endpoint first, as whoever deletes it does
            if delivery.endpoint_id is not None:
                await _set_breaker(connection, delivery.endpoint_id, tried)
            await outbox.settle(connection, delivery)

    async def give_up(self, created_before: float, now: float) -> int:
        """Give up what is older; how many. What was never tried is, if its receiver fails."""
        condition = outbox.is_hopeless(created_before)
        async with self._database.write() as connection:
            return await outbox.give_up_where(connection, condition, now)

    async def sweep(self, created_before: float, limit: int) -> int:
        """Delete deliveries that are older and at their end; how many."""
        async with self._database.write() as connection:
            return await outbox.sweep(connection, created_before, limit)

    async def backlog(self, now: float) -> Backlog:
        """How much is due, and since when."""
        async with self._database.read() as connection:
            return await outbox.backlog(connection, now)

    async def deliveries(
        self, account: str, *, endpoint_id: str | None, limit: int, after: str | None = None
    ) -> Page[Delivery]:
        """The account's deliveries, newest first; raises CursorUnknown."""
        chosen = outbox.list_statement(account, endpoint_id, limit)
        async with self._database.read() as connection:
            if after is not None:
                behind = await beyond(
                    connection, deliveries, account=account, after=after, descending=True
                )
                chosen = chosen.where(behind)
            rows = (await connection.execute(chosen)).mappings().all()
        return page_of([outbox.delivery_of(row) for row in rows], limit)

    async def delivery(self, account: str, delivery_id: str) -> Delivery | None:
        """The delivery, if it is the account's."""
        own = (deliveries.c.account == account, deliveries.c.id == delivery_id)
        async with self._database.read() as connection:
            row = (await connection.execute(select(deliveries).where(*own))).mappings()
            found = row.one_or_none()
        return None if found is None else outbox.delivery_of(found)


# Kept from being deleted until what is due to them is there to be given up.
_OF_ACCOUNT = (
    select(webhook_endpoints)
    .where(webhook_endpoints.c.account == bindparam("of_account"))
    .order_by(webhook_endpoints.c.seq)
    .with_for_update(read=True, key_share=True)
)


def _of(connection: Connection, account: str) -> tuple[WebhookEndpoint, ...]:
    rows = connection.execute(_OF_ACCOUNT, {"of_account": account})
    return tuple(endpoint_of(row) for row in rows.mappings())


async def _with_ids(connection: AsyncConnection, ids: set[str]) -> dict[str, WebhookEndpoint]:
    rows = await connection.execute(
        select(webhook_endpoints).where(webhook_endpoints.c.id.in_(ids))
    )
    return {row["id"]: endpoint_of(row) for row in rows.mappings()}


async def _set_breaker(connection: AsyncConnection, endpoint_id: str, tried: Tried) -> None:
    own = webhook_endpoints.c.id == endpoint_id
    chosen = select(webhook_endpoints).where(own).with_for_update(key_share=True)
    row = (await connection.execute(chosen)).mappings().one_or_none()
    if row is not None:
        before = endpoint_of(row)
        after = breaker_after(before, tried)
        if after != before:
            state = {"failures": after.failures, "open_until": after.open_until}
            await connection.execute(update(webhook_endpoints).where(own).values(state))


def endpoint_of(row: RowMapping) -> WebhookEndpoint:
    """The WebhookEndpoint in a row."""
    return WebhookEndpoint(
        id=row["id"],
        account=row["account"],
        name=row["name"],
        url=row["url"],
        event_types=tuple(json.loads(row["event_types"])),
        secret=row["secret"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        old_secret=row["old_secret"],
        old_secret_until=row["old_secret_until"],
        failures=row["failures"],
        open_until=row["open_until"],
    )


def _row_of(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "account": endpoint.account,
        "created_at": endpoint.created_at,
        "failures": endpoint.failures,
        "open_until": endpoint.open_until,
        **_changeable(endpoint),
    }


def _changeable(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": json.dumps(endpoint.event_types),
        "secret": endpoint.secret,
        "old_secret": endpoint.old_secret,
        "old_secret_until": endpoint.old_secret_until,
        "updated_at": endpoint.updated_at,
    }


def _own(account: str, endpoint_id: str) -> tuple[Any, ...]:
    return (webhook_endpoints.c.account == account, webhook_endpoints.c.id == endpoint_id)
