"""The data folder and the parts that both processes of a server open."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from batchmill.blobs import LocalBlobs
from batchmill.config import Settings
from batchmill.domain.price_table import dump_table
from batchmill.domain.pricing import NO_PRICES, PriceTable
from batchmill.journal.local import LocalJournal
from batchmill.ports import Blobs, Clock, Journal, Store
from batchmill.store import open_store

_JOURNAL_PENDING_BYTES = 64 * 1024 * 1024


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Paths:
    """What lies where in the data folder."""

    root: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "batchmill.sqlite3"

    @property
    def blobs(self) -> Path:
        """The bytes of files."""
        return self.root / "blobs"

    @property
    def journal(self) -> Path:
        """The segments of running batches."""
        return self.root / "journal"

    @property
    def snapshot(self) -> Path:
        """The engine's metrics, renewed every second."""
        return self.root / "engine.prom"

    @property
    def progress(self) -> Path:
        """How the engine's batches are getting on, renewed every second."""
        return self.root / "engine.json"

    @property
    def session_secret(self) -> Path:
        """What the console's sessions are signed with."""
        return self.root / "session.secret"

    @property
    def engine_lock(self) -> Path:
        """Held by the one engine that works on this folder."""
        return self.root / "engine.lock"

    @property
    def server_lock(self) -> Path:
        """Held by the one server that serves this folder."""
        return self.root / "server.lock"


@dataclass(frozen=True, slots=True)
class Parts:
    """What both processes of a server open: the store, the blobs and the journal."""

    store: Store
    blobs: Blobs
    journal: Journal
    clock: Clock
    prices: PriceTable = NO_PRICES


async def prepare_store(folder: Path) -> None:
    """Make the database of a data folder, or bring it up to date.

    Raises ConfigError and StorageFull.
    """
    store = await open_store(Paths(folder).database)
    await store.close()


@asynccontextmanager
async def open_parts(settings: Settings, prices: PriceTable = NO_PRICES) -> AsyncIterator[Parts]:
    """The data folder's parts, made where missing; closed at the end. Raises StorageFull.

    ``prices`` is the table in force: it is kept, for what it is charged by is looked up in it
    for as long as the ledger goes back.
    """
    paths = Paths(settings.data.dir)
    paths.root.mkdir(parents=True, exist_ok=True)
    store = await open_store(paths.database)
    journal = LocalJournal(paths.journal, settings.engine.sync_interval, _JOURNAL_PENDING_BYTES)
    clock = SystemClock()
    try:
        if prices.version != NO_PRICES.version:
            await store.prices.keep(prices.version, dump_table(prices), clock.now())
        yield Parts(store, LocalBlobs(paths.blobs), journal, clock, prices)
    finally:
        await journal.close()
        await store.close()
