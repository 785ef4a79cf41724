"""The store as a whole: opened at a path, its nouns side by side."""

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from batchmill.domain.errors import ConfigError
from batchmill.store.accounts import SqlAccounts, SqlKeys, SqlWorkspaces
from batchmill.store.audit import SqlAudit
from batchmill.store.batches import SqlBatches
from batchmill.store.caps import SqlCaps
from batchmill.store.database import Backend, Database
from batchmill.store.files import SqlFiles
from batchmill.store.ledger import SqlLedger
from batchmill.store.prices import SqlPrices
from batchmill.store.rates import SqlRates
from batchmill.store.schema import bring_up_to_date
from batchmill.store.shards import SqlShards
from batchmill.store.sqlite import SqliteBackend
from batchmill.store.uploads import SqlUploads
from batchmill.store.usage import SqlUsage
from batchmill.store.webhooks import SqlWebhooks


class SqlStore:
    """The port Store over a SQL database. Any number of processes may have it open."""

    def __init__(self, database: Database) -> None:
        self._database = database
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

    async def ping(self) -> None:
        """Return if the database answers; raises otherwise."""
        async with self._database.read() as connection:
            await connection.execute(select(1))

    async def close(self) -> None:
        """Close every connection."""
        await self._database.close()


async def open_store(where: str | Path) -> SqlStore:
    """The store at a path, or at a URL such as ``sqlite:////srv/batchmill.db``.

    It is made where there is none, and brought to the newest schema; processes
    may do so at the same time. Raises ConfigError and StorageFull.
    """
    database = Database(_backend_for(where))
    try:
        await bring_up_to_date(database)
    except BaseException:
        await database.close()
        raise
    return SqlStore(database)


def _backend_for(where: str | Path) -> Backend:
    if isinstance(where, Path) or "://" not in where:
        return SqliteBackend(Path(where))
    try:
        url = make_url(where)
    except ArgumentError as error:
        raise ConfigError("The database URL cannot be read; write sqlite:///path.") from error
    if url.get_backend_name() != "sqlite" or not url.database or ":memory:" in url.database:
        kind = url.get_backend_name()
        raise ConfigError(f"A database of kind '{kind}' cannot be used; write sqlite:///path.")
    return SqliteBackend(Path(url.database))
