"""The stores of a server that has outgrown its machine: PostgreSQL, and a bucket.

Neither dies with the server. What a process had sent off when it was killed
may still arrive, and whoever wants to know what is durable waits for that.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psutil
from bucket_server import Place, new_place
from crash_waiting import wait_until
from obstore.store import ObjectStore
from postgres_server import database

from batchmill.journal.extent import batch_folder, sort_by_shard
from batchmill.journal.objects import ObjectJournal
from batchmill.journal.shelf import Shelf
from batchmill.ports import Settled


@dataclass(frozen=True)
class Outgrown:
    """A database at ``url``, and a bucket."""

    url: str
    place: Place

    @property
    def environment(self) -> Mapping[str, str]:
        """What a server's processes find them by."""
        options = ",".join(f"{name}={value}" for name, value in self.place.options.items())
        return {
            "MILL_DATABASE": self.url,
            "BATCHMILL_DATA__DATABASE_ENV": "MILL_DATABASE",
            "BATCHMILL_DATA__BLOBS": self.place.url,
            "BATCHMILL_DATA__BLOB_OPTIONS": options,
        }

    def rows(self, table: str, columns: Sequence[str], batch_id: str) -> list[tuple[Any, ...]]:
        """A batch's rows of a table."""
        statement = f"SELECT {', '.join(columns)} FROM {table} WHERE batch_id = $1"
        return asyncio.run(_fetch(self.url, statement, batch_id))

    def read_journal(self, batch_id: str) -> Sequence[Settled]:
        """What is durable now of each shard of a batch."""
        self._wait_for_the_dead()
        return asyncio.run(_read_shards(self.place.open(), batch_id))

    def journals(self) -> Sequence[str]:
        """The ids of the batches that there is any journal of."""
        return asyncio.run(_held(self.place.open()))

    def _wait_for_the_dead(self) -> None:
        """Return when all that is done at the bucket which a dead process had asked for."""
        port = urlsplit(self.place.options["endpoint"]).port

        def is_served() -> bool:
            found = psutil.net_connections(kind="tcp")
            left = [one for one in found if one.status == psutil.CONN_CLOSE_WAIT and one.laddr]
            return all(one.laddr.port != port for one in left)

        wait_until(is_served, "the bucket has served the dead")


async def _fetch(url: str, statement: str, batch_id: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement, batch_id)]
    finally:
        await connection.close()


async def _read_shards(bucket: ObjectStore, batch_id: str) -> Sequence[Settled]:
    journal = ObjectJournal(bucket)
    paths = await Shelf(bucket).paths(batch_folder(batch_id))
    return [await journal.read(batch_id, index) for index in sort_by_shard(batch_id, paths)]


async def _held(bucket: ObjectStore) -> Sequence[str]:
    return await ObjectJournal(bucket).held()


@contextmanager
def outgrown() -> Iterator[Outgrown]:
    """Stores that are new and empty."""
    with database() as url:
        yield Outgrown(url, new_place())
