"""The store as a whole: opened at a path, its nouns side by side."""

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from batchmill.domain.errors import ConfigError
from batchmill.store.accounts import SqlAccounts, SqlKeys, SqlWorkspaces
from batchmill.store.audit import SqlAudit
from batchmill.store.batches import SqlBatches
from batchmill.store.bell import SqlBell
from batchmill.store.caps import SqlCaps
from batchmill.store.database import Backend, Database
from batchmill.store.files import SqlFiles
from batchmill.store.leadership import SqlLeadership
from batchmill.store.ledger import SqlLedger
from batchmill.store.prices import SqlPrices
from batchmill.store.rates import SqlRates
from batchmill.store.schema import Schema, bring_up_to_date
from batchmill.store.secrets import SqlSecrets
from batchmill.store.shards import SqlShards
from batchmill.store.signs import SqlSigns
from batchmill.store.sqlite import SqliteBackend
from batchmill.store.uploads import SqlUploads
from batchmill.store.usage import SqlUsage
from batchmill.store.webhooks import SqlWebhooks


class SqlStore:
    """The port Store over a SQL database. Any number of processes may have it open."""

    def __init__(self, database: Database, schema: Schema) -> None:
        self._database = database
        self.schema = schema
        self.files = SqlFiles(database)
        self.uploads = SqlUploads(database)
        self.batches = SqlBatches(database)
        self.shards = SqlShards(database)
        self.ledger = SqlLedger(database)
        self.accounts = SqlAccounts(database)
        self.workspaces = SqlWorkspaces(database)
        self.keys = SqlKeys(database)
        self.audit = SqlAudit(database)
        self.webhooks = SqlWebhooks(database)
        self.caps = SqlCaps(database)
        self.usage = SqlUsage(database)
        self.rates = SqlRates(database)
        self.prices = SqlPrices(database)
        self.signs = SqlSigns(database)
        self.secrets = SqlSecrets(database)
        self.leadership = SqlLeadership(database, database.backend.seat())
        self.bell = SqlBell(database)

    async def ping(self) -> None:
        """Return if the database answers; raises otherwise."""
        async with self._database.read() as connection:
            await connection.execute(select(1))

    async def close(self) -> None:
        """Close every connection, and let somebody else lead."""
        await self.leadership.close()
        await self._database.close()


async def open_store(where: str | Path) -> SqlStore:
    """The store at a path, or at a URL: ``sqlite:////srv/x.db``, ``postgresql://user@host/x``.

    A file is made where there is none. Either is brought to the newest schema;
    processes may do so at the same time. Raises ConfigError, StorageFull and
    StorageAway.
    """
    database = Database(backend_for(where))
    try:
        schema = await bring_up_to_date(database)
    except BaseException:
        await database.close()
        raise
    return SqlStore(database, schema)


def backend_for(where: str | Path) -> Backend:
    """What knows the ways of the database at a path or URL; raises ConfigError."""
    if isinstance(where, Path) or "://" not in where:
        return SqliteBackend(Path(where))
    if where.partition("://")[0] in ("postgresql", "postgres", "postgresql+asyncpg"):
        # Imported here: its driver and its dialect, which one machine has no use for.
        from batchmill.store.postgres import PostgresBackend

        return PostgresBackend(where)
    return SqliteBackend(_path_in(where))


def _path_in(where: str) -> Path:
    instead = "write sqlite:///path or postgresql://user@host/database."
    try:
        url = make_url(where)
    except ArgumentError as error:
        raise ConfigError(f"The database URL cannot be read; {instead}") from error
    if url.get_backend_name() != "sqlite" or not url.database or ":memory:" in url.database:
        kind = url.get_backend_name()
        raise ConfigError(f"A database of kind '{kind}' cannot be used; {instead}")
    return Path(url.database)
