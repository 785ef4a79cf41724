"""Pages of a list by creation time, stable while rows come and go.

A cursor is the id of the last row seen, looked up among the account's own rows.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import Column, ColumnElement, Select, Table, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from batchmill.ports import CursorUnknown, Page

Item = TypeVar("Item")


async def beyond(
    connection: AsyncConnection, table: Table, *, account: str, after: str, descending: bool
) -> ColumnElement[bool]:
    """The condition for rows behind the one with id ``after``; raises CursorUnknown."""
    columns = (table.c.created_at, table.c.seq)
    own = (table.c.account == account, table.c.id == after)
    cursor = (await connection.execute(select(*columns).where(*own))).one_or_none()
    if cursor is None:
        raise CursorUnknown(after)
    place, behind = tuple_(*columns), tuple_(*cursor)
    return place < behind if descending else place > behind


def within(
    column: Column[Any], earliest: float | None, latest: float | None
) -> list[ColumnElement[bool]]:
    """The conditions for times from ``earliest`` to ``latest``, both inclusive."""
    lower = [] if earliest is None else [column >= earliest]
    upper = [] if latest is None else [column <= latest]
    return [*lower, *upper]


def by_creation(statement: Select[Any], table: Table, *, descending: bool) -> Select[Any]:
    """``statement`` in the order of creation, or its reverse."""
    columns = (table.c.created_at, table.c.seq)
    return statement.order_by(*(c.desc() if descending else c.asc() for c in columns))


def page_of(items: Sequence[Item], limit: int) -> Page[Item]:
    """A page of at most ``limit``, where one more item was asked for than that."""
    return Page(items=tuple(items[:limit]), has_more=len(items) > limit)
