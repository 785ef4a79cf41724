"""A database's schema, looked at and brought up to date without opening the store."""

from pathlib import Path

from batchmill.store.database import Database
from batchmill.store.schema import EMPTY, Schema, bring_up_to_date, schema_of
from batchmill.store.sql import backend_for
from batchmill.store.sqlite import SqliteBackend


async def migrate_store(where: str | Path) -> Schema:
    """Bring the database at a path or URL up to date, one process at a time; what it was before.

    Raises ConfigError, StorageFull and StorageAway.
    """
    database = Database(backend_for(where))
    try:
        return await bring_up_to_date(database)
    finally:
        await database.close()


async def read_schema(where: str | Path) -> Schema:
    """What the database at a path or URL says of its schema; a file is not made.

    Raises ConfigError and StorageAway.
    """
    backend = backend_for(where)
    if isinstance(backend, SqliteBackend) and not backend.path.exists():
        return EMPTY
    database = Database(backend)
    try:
        return await schema_of(database)
    finally:
        await database.close()
