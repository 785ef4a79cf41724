"""Administration on the machine itself: the use-cases over a server's database, and its schema.

It may be opened beside a running server, whose processes see what was changed
with their next request.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from batchmill.config import Settings
from batchmill.service.administration import Administration, make_administration
from batchmill.store import Schema, migrate_store, open_store, read_schema
from batchmill.wiring.moved import assert_serves
from batchmill.wiring.parts import SystemClock, database_of


@asynccontextmanager
async def open_administration(settings: Settings) -> AsyncIterator[Administration]:
    """The use-cases over the database of ``settings``, made where missing.

    Raises ConfigError, StorageFull and StorageAway.
    """
    assert_serves(settings)
    store = await open_store(database_of(settings))
    try:
        yield make_administration(store, SystemClock())
    finally:
        await store.close()


async def can_administer(settings: Settings) -> bool:
    """Whether there is a key that administers the server of ``settings``."""
    async with open_administration(settings) as admin:
        return await admin.keys.can_administer()


async def schema_of(settings: Settings) -> Schema:
    """What the database of ``settings`` says of its schema; nothing is made or changed."""
    return await read_schema(database_of(settings))


async def migrate(settings: Settings) -> Schema:
    """Bring the database of ``settings`` up to date; what its schema was before.

    Raises ConfigError, StorageFull and StorageAway.
    """
    return await migrate_store(database_of(settings))
