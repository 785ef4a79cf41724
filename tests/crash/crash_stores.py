"""Where a server under test keeps its rows and its journal, as seen past the server.

It is looked at there while the server is dead, or alive, or anything between.
"""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol

from batchmill.journal.local import LocalJournal
from batchmill.ports import Settled


class Stores(Protocol):
    """What holds a server's rows and bytes."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What the server's processes find them by."""
        ...

    def rows(self, table: str, columns: Sequence[str], batch_id: str) -> list[tuple[Any, ...]]:
        """A batch's rows of a table."""
        ...

    def read_journal(self, batch_id: str) -> Sequence[Settled]:
        """What is durable now of each shard of a batch."""
        ...

    def journals(self) -> Sequence[str]:
        """The ids of the batches that there is any journal of."""
        ...


class Embedded:
    """A data folder with everything in it."""

    environment: Mapping[str, str] = {}

    def __init__(self, data: Path) -> None:
        self._data = data

    def rows(self, table: str, columns: Sequence[str], batch_id: str) -> list[tuple[Any, ...]]:
        """A batch's rows of a table."""
        statement = f"SELECT {', '.join(columns)} FROM {table} WHERE batch_id = ?"
        with closing(sqlite3.connect(self._data / "batchmill.sqlite3")) as database:
            return database.execute(statement, [batch_id]).fetchall()

    def read_journal(self, batch_id: str) -> Sequence[Settled]:
        """What is durable now of each shard of a batch."""
        folder = self._data / "journal"
        indexes = {int(path.name.split(".")[0]) for path in (folder / batch_id).glob("*.log")}
        return asyncio.run(_read_shards(LocalJournal(folder, 1.0, 1), batch_id, indexes))

    def journals(self) -> Sequence[str]:
        """The ids of the batches that there is any journal of."""
        return [path.name for path in (self._data / "journal").iterdir()]


async def _read_shards(journal: LocalJournal, batch_id: str, indexes: set[int]) -> list[Settled]:
    found: list[Settled] = []
    for index in indexes:
        with suppress(FileNotFoundError):  # delivered meanwhile: nothing is left to be claimed
            found.append(await journal.read(batch_id, index))
    return found
