"""The data folder, and the parts that every process of a server opens.

Where they are is the settings' affair: rows in a file or in PostgreSQL, bytes
in a folder or in a bucket, in any mix. What is not configured is not loaded.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from batchmill.blobs import LocalBlobs
from batchmill.config import Settings
from batchmill.domain.errors import ConfigError
from batchmill.domain.price_table import dump_table
from batchmill.domain.pricing import NO_PRICES, PriceTable
from batchmill.journal.local import LocalJournal
from batchmill.ports import Blobs, Clock, Journal, Store
from batchmill.ports.secrets import FOLDER, SecretStore
from batchmill.store import open_store
from batchmill.telemetry import Fact, get_logger

log = get_logger()

_JOURNAL_PENDING_BYTES = 64 * 1024 * 1024
# Each group is a request that is paid for, and takes its tens of milliseconds.
_LEAST_OBJECT_INTERVAL = 0.5


class SystemClock:
    """The machine's clock. ``now`` tells Unix seconds."""

    # The function itself, since it is asked more than once a line.
    now = staticmethod(time.time)

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
    def files_mark(self) -> Path:
        """What a shared database knows this folder by."""
        return self.root / "files.id"

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


def database_of(settings: Settings) -> str | Path:
    """The URL of the database, or the path of the file in the data folder."""
    url = settings.data.database
    return Paths(settings.data.dir).database if url is None else url.get_secret_value()


async def prepare_parts(settings: Settings) -> None:
    """Make the database, or bring it up to date, try the bucket, and check the upstreams.

    Raises ConfigError, StorageFull and StorageAway.
    """
    from batchmill.wiring.upstreams import check_upstreams

    check_upstreams(settings.models)
    store = await open_store(database_of(settings))
    await store.close()
    await check_bytes(settings)


async def check_bytes(settings: Settings) -> None:
    """Try the bucket, where there is one; raises ConfigError and StorageAway."""
    if settings.data.blobs is not None:
        from batchmill.blobs.probe import check_bucket

        await check_bucket(settings.data.blobs, settings.data.blob_options)


@asynccontextmanager
async def open_parts(settings: Settings, prices: PriceTable = NO_PRICES) -> AsyncIterator[Parts]:
    """The parts, made where missing; closed at the end.

    ``prices`` is the table in force: it is kept, for what it is charged by is looked up in it
    for as long as the ledger goes back. Raises ConfigError, StorageFull and StorageAway.
    """
    Paths(settings.data.dir).root.mkdir(parents=True, exist_ok=True)
    store = await open_store(database_of(settings))
    clock = SystemClock()
    try:
        if store.schema.is_ahead:
            log.warning(Fact.SCHEMA_NEWER, revision=store.schema.revision)
        if prices.version != NO_PRICES.version:
            await store.prices.keep(prices.version, dump_table(prices), clock.now())
        if settings.data.is_shared and settings.data.blobs is None:
            await _assert_same_folder(store.secrets, Paths(settings.data.dir).files_mark)
        blobs, journal = open_bytes(settings)
        try:
            yield Parts(store, blobs, journal, clock, prices)
        finally:
            await journal.close()
    finally:
        await store.close()


async def _assert_same_folder(secrets: SecretStore, mark: Path) -> None:
    """Return if these are the files that the database tells of.

    An engine with another folder would take every file for lost. Raises ConfigError.
    """
    mine = await asyncio.to_thread(_read_mark, mark)
    if await secrets.keep(FOLDER, mine) != mine:
        raise ConfigError(
            f"The files of this database are not in {mark.parent}, but in the folder that it was "
            "first served with: let all machines keep them in one bucket, with data.blobs."
        )


def _read_mark(path: Path) -> bytes:
    """What tells a folder from all others, made where missing."""
    if not path.exists():
        draft = path.with_name(f"{path.name}.{uuid4().hex}")
        draft.write_text(uuid4().hex)
        with suppress(FileExistsError):  # another process was first
            os.link(draft, path)
        draft.unlink()
    return path.read_bytes()


def open_bytes(settings: Settings) -> tuple[Blobs, Journal]:
    """The journal is where the blobs are: whoever can read the one can read the other."""
    interval = settings.engine.sync_interval
    if settings.data.blobs is None:
        paths = Paths(settings.data.dir)
        journal = LocalJournal(paths.journal, interval, _JOURNAL_PENDING_BYTES)
        return LocalBlobs(paths.blobs), journal
    # Imported here: one machine with its folder has no use for them.
    from batchmill.blobs.bucket import open_bucket
    from batchmill.blobs.remote import RemoteBlobs
    from batchmill.journal.objects import ObjectJournal

    bucket = open_bucket(settings.data.blobs, settings.data.blob_options)
    return RemoteBlobs(bucket), ObjectJournal(
        bucket,
        interval=max(interval, _LEAST_OBJECT_INTERVAL),
        max_pending_bytes=_JOURNAL_PENDING_BYTES,
    )
