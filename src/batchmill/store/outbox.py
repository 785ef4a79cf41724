"""Rows of the outbox: statements within a transaction that the caller holds.

A row is due from ``next_at`` on, and at its end once that is null. Nothing is
claimed: one engine sends, and knows by itself what it has under way.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Integer,
    RowMapping,
    Select,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from batchmill.domain.post import FAILURES_TO_OPEN
from batchmill.domain.webhook import Delivery
from batchmill.ports import Backlog
from batchmill.store.paging import by_creation
from batchmill.store.tables import deliveries, webhook_endpoints

PER_RECEIVER = 2
PER_ACCOUNT = 8

_FAILING = webhook_endpoints.c.failures >= FAILURES_TO_OPEN
# As a range, unlike "is not null", the databases find it by the index of what is due.
_IS_PENDING = deliveries.c.next_at >= 0
_OUTCOME = ("attempts", "next_at", "delivered_at", "given_up_at", "last_status", "last_error")


def insert_new(connection: Connection, added: Sequence[Delivery]) -> None:
    """Insert the deliveries that are not there yet."""
    if not added:
        return
    listed = select(deliveries.c.id).where(deliveries.c.id.in_([one.id for one in added]))
    there = set(connection.execute(listed).scalars())
    rows = [_row_of(one) for one in added if one.id not in there]
    if rows:
        connection.execute(insert(deliveries), rows)


async def due(connection: AsyncConnection, now: float, limit: int) -> list[Delivery]:
    """What is to be tried now: of every account in turn, of no receiver too much."""
    rows = await connection.execute(_DUE, {"now": now, "most": limit})
    return [delivery_of(row) for row in rows.mappings()]


async def settle(connection: AsyncConnection, delivery: Delivery) -> None:
    """Store what became of a try, unless the delivery is at its end.

    One that was given up while it was under way, and arrived, is delivered.
    """
    is_pending = _IS_PENDING
    if delivery.delivered_at is not None:
        is_pending = deliveries.c.delivered_at.is_(None)
    outcome = {name: getattr(delivery, name) for name in _OUTCOME}
    storing = update(deliveries).where(deliveries.c.id == delivery.id, is_pending)
    await connection.execute(storing.values(outcome))


async def give_up_where(
    connection: AsyncConnection, condition: ColumnElement[bool], now: float
) -> int:
    """Give up what is pending and meets the condition; how many."""
    pending = select(deliveries.c.seq).where(_IS_PENDING, condition).order_by(deliveries.c.seq)
    # locked in one order, so that two who give up the same do not wait in a circle
    await connection.execute(pending.with_for_update())
    giving_up = update(deliveries).where(_IS_PENDING, condition)
    return (await connection.execute(giving_up.values(next_at=None, given_up_at=now))).rowcount


def is_hopeless(created_before: float) -> ColumnElement[bool]:
    """Whether a delivery has had its time: it was tried, or its receiver fails whatever comes."""
    failing = select(webhook_endpoints.c.id).where(_FAILING)
    tried = or_(deliveries.c.attempts > 0, deliveries.c.endpoint_id.in_(failing))
    return (deliveries.c.created_at <= created_before) & tried


async def sweep(connection: AsyncConnection, created_before: float, limit: int) -> int:
    """Delete what is older and at its end; how many."""
    over = (deliveries.c.next_at.is_(None), deliveries.c.created_at <= created_before)
    oldest = select(deliveries.c.seq).where(*over).order_by(deliveries.c.seq).limit(limit)
    deleting = delete(deliveries).where(deliveries.c.seq.in_(oldest))
    return (await connection.execute(deleting)).rowcount


async def backlog(connection: AsyncConnection, now: float) -> Backlog:
    """How much waits, how much of it is due, and since when."""
    is_due = deliveries.c.next_at <= now
    counting = select(
        func.count(),
        func.count(case((is_due, 1))),
        func.min(case((is_due, deliveries.c.next_at))),
    ).where(_IS_PENDING)
    return Backlog(*(await connection.execute(counting)).one())


def list_statement(account: str, endpoint_id: str | None, limit: int) -> Select[Any]:
    """The deliveries of a list, one more than its limit, without regard to its cursor."""
    chosen = select(deliveries).where(deliveries.c.account == account).limit(limit + 1)
    if endpoint_id is not None:
        chosen = chosen.where(deliveries.c.endpoint_id == endpoint_id)
    return by_creation(chosen, deliveries, descending=True)


def delivery_of(row: RowMapping) -> Delivery:
    """The Delivery in a row."""
    return Delivery(
        id=row["id"],
        account=row["account"],
        event_id=row["event_id"],
        event_type=row["event_type"],
        subject=row["subject"],
        url=row["url"],
        payload=row["payload"],
        created_at=row["created_at"],
        endpoint_id=row["endpoint_id"],
        **{name: row[name] for name in _OUTCOME},
    )


def _due_statement(now: Any, limit: Any) -> Select[Any]:
    """Rows ranked twice: among those of their receiver, then among those of their account.

    The callbacks of an account count as one receiver: their URLs may all differ.
    """
    order = (deliveries.c.next_at, deliveries.c.seq)
    receiver = (deliveries.c.account, deliveries.c.endpoint_id)
    is_open = webhook_endpoints.c.open_until > now
    of_receiver = (
        select(
            deliveries,
            case((_FAILING, 1), else_=PER_RECEIVER).label("allowed"),
            func.row_number().over(partition_by=receiver, order_by=order).label("place"),
        )
        .outerjoin_from(
            deliveries, webhook_endpoints, webhook_endpoints.c.id == deliveries.c.endpoint_id
        )
        .where(deliveries.c.next_at <= now, func.coalesce(is_open, False).is_(False))
        .cte("of_receiver")
    )
    in_turn = (of_receiver.c.next_at, of_receiver.c.seq)
    of_account = (
        select(
            of_receiver,
            func.row_number()
            .over(partition_by=of_receiver.c.account, order_by=in_turn)
            .label("turn"),
        )
        .where(of_receiver.c.place <= of_receiver.c.allowed)
        .cte("of_account")
    )
    return (
        select(of_account)
        .where(of_account.c.turn <= PER_ACCOUNT)
        .order_by(of_account.c.turn, of_account.c.next_at, of_account.c.seq)
        .limit(limit)
    )


# Built once: it is asked every second, and to build it takes longer than to run it.
_DUE = _due_statement(bindparam("now", type_=Double), bindparam("most", type_=Integer))


def _row_of(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "account": delivery.account,
        "event_id": delivery.event_id,
        "event_type": delivery.event_type,
        "subject": delivery.subject,
        "url": delivery.url,
        "payload": delivery.payload,
        "created_at": delivery.created_at,
        "endpoint_id": delivery.endpoint_id,
        **{name: getattr(delivery, name) for name in _OUTCOME},
    }
