"""The bell in PostgreSQL: NOTIFY, and a connection that does nothing but LISTEN."""

import asyncio
from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from batchmill.store.postgres_seat import Connection, Dial

_CHANNEL = "batchmill"


async def ring(connection: AsyncConnection) -> None:
    """Tell all who listen; what was committed before is there for them to see."""
    await connection.execute(select(func.pg_notify(_CHANNEL, "")))


async def listen(dial: Dial, on_ring: Callable[[], None]) -> None:
    """Call ``on_ring`` now and at every ring, until the connection ends."""
    connection: Connection = await dial()
    try:
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        await connection.add_listener(_CHANNEL, lambda *_: on_ring())
        on_ring()
        await ended.wait()
    finally:
        connection.terminate()
