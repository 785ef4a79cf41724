"""How much of its quota an account has used up: files, reservations and pending uploads.

Everything here runs in the caller's transaction, which must keep others of the
account from counting and adding meanwhile. A reservation counts for as long as
its row is there: whoever needs the room of a stale one deletes it first, so
that nobody can still step into it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, delete, func, insert, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from batchmill.domain.file import UploadStatus
from batchmill.ports import Kept, Quota, QuotaReached, Reservation
from batchmill.store.tables import files, reservations, uploads


@dataclass(frozen=True, slots=True)
class Room:
    """What one file needs: its id or its upload's, whose it is, and how large."""

    id: str
    account: str
    bytes: int


async def take(connection: AsyncConnection, room: Room, quota: Quota, *, now: float) -> None:
    """Raise QuotaReached unless the room is reserved for this id, or is free."""
    stale = (reservations.c.account == room.account, reservations.c.expires_at <= now)
    await connection.execute(delete(reservations).where(*stale))
    held = select(reservations.c.bytes).where(reservations.c.id == room.id)
    reserved = (await connection.execute(held)).scalar_one_or_none()
    if reserved is None or reserved < room.bytes:
        await _refuse_beyond(connection, room, quota, now)


async def hold(
    connection: AsyncConnection, reservation: Reservation, quota: Quota, now: float
) -> None:
    """Store the reservation in the place of an earlier one of its id; raises QuotaReached."""
    room = Room(reservation.id, reservation.account, reservation.bytes)
    await take(connection, room, quota, now=now)
    await give_back(connection, reservation.id)
    row = {
        "id": reservation.id,
        "account": reservation.account,
        "bytes": reservation.bytes,
        "expires_at": reservation.expires_at,
    }
    await connection.execute(insert(reservations), [row])


async def give_back(connection: AsyncConnection, reservation_id: str) -> None:
    """Delete the reservation, if there is one."""
    await connection.execute(delete(reservations).where(reservations.c.id == reservation_id))


async def drop_stale(connection: AsyncConnection, now: float) -> int:
    """Delete every account's reservations whose time is over; how many there were."""
    stale = delete(reservations).where(reservations.c.expires_at <= now)
    return (await connection.execute(stale)).rowcount


async def kept(connection: AsyncConnection, account: str, now: float) -> Kept:
    """What counts now. Stale reservations do not: who needs their room deletes them first."""
    live = reservations.c.expires_at > now
    return await _sum(connection, used_statements(account, live, now))


async def _refuse_beyond(connection: AsyncConnection, room: Room, quota: Quota, now: float) -> None:
    others = reservations.c.id != room.id
    used = await _sum(connection, used_statements(room.account, others, now))
    if used.files + 1 > quota.files:
        raise QuotaReached("files")
    if used.bytes + room.bytes > quota.bytes:
        raise QuotaReached("bytes")


async def _sum(connection: AsyncConnection, counting: Sequence[Select[Any]]) -> Kept:
    count = total = 0
    for some, size in (await connection.execute(union_all(*counting))).all():
        count, total = count + int(some), total + int(size)
    return Kept(files=count, bytes=total)


def used_statements(
    account: str, reserved: ColumnElement[bool], now: float
) -> Sequence[Select[Any]]:
    """Count and bytes of everything that takes room; ``reserved`` says which reservations do."""
    # an upload whose hour is over can no longer be completed, swept or not
    pending = (uploads.c.status == UploadStatus.PENDING.value, uploads.c.expires_at > now)
    return (
        _used(files, account),
        _used(reservations, account, reserved),
        _used(uploads, account, *pending),
    )


def _used(table: Table, account: str, *conditions: ColumnElement[bool]) -> Select[Any]:
    total = func.coalesce(func.sum(table.c.bytes), 0)
    return select(func.count(), total).where(table.c.account == account, *conditions)
