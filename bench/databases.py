"""Databases to measure over: files of SQLite, or databases of a PostgreSQL server.

A server that is named by its URL is left as it was: what is made there has
names of its own and is dropped. Its user must be allowed to create databases.
"""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit, urlunsplit

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"

# As a server has them that nobody has tuned; those of the tests are for speed alone.
_UNTUNED = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "autovacuum": "on",
}


class Databases(Protocol):
    """Makes databases; where one is can be opened as a store."""

    def fresh(self) -> str:
        """A database with nothing in it."""
        ...

    def copy(self, of: str) -> str:
        """Another one like ``of``, which nobody uses meanwhile."""
        ...

    def tidy(self, where: str) -> None:
        """Do at once what a server does by itself in time; not from within a loop."""
        ...

    def drop(self, where: str) -> None:
        """Remove one, with all that is in it."""
        ...


class SqliteFiles:
    """Databases in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()

    def fresh(self) -> str:
        """See Databases."""
        folder = self._folder / str(next(self._numbers))
        folder.mkdir(parents=True)
        return str(folder / "batchmill.db")

    def copy(self, of: str) -> str:
        """See Databases."""
        return shutil.copy(of, self.fresh())

    def tidy(self, where: str) -> None:
        """See Databases: what was written goes from the log into the file."""
        with closing(sqlite3.connect(where)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def drop(self, where: str) -> None:
        """See Databases."""
        shutil.rmtree(Path(where).parent)


class PostgresDatabases:
    """Databases of the server that ``url`` names, beside the one in it."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit("postgresql://" + url.partition("://")[2])
        self._numbers = count()

    def fresh(self) -> str:
        """See Databases."""
        return self._make("template0")

    def copy(self, of: str) -> str:
        """See Databases."""
        return self._make(urlsplit(of).path.strip("/"))

    def tidy(self, where: str) -> None:
        """See Databases."""
        asyncio.run(_run(where, "VACUUM (ANALYZE)"))

    def drop(self, where: str) -> None:
        """See Databases."""
        self._run(f"DROP DATABASE {urlsplit(where).path.strip('/')} WITH (FORCE)")

    def _make(self, template: str) -> str:
        name = f"batchmill_bench_{os.getpid()}_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'")
        return urlunsplit(self._url._replace(path=f"/{name}"))

    def _run(self, statement: str) -> None:
        asyncio.run(_run(urlunsplit(self._url), statement))


async def _run(url: str, statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


@contextmanager
def databases(kind: str, folder: Path) -> Iterator[Databases]:
    """Those of SQLite in ``folder``, of a PostgreSQL of one's own, or of the one at a URL."""
    if kind == SQLITE:
        yield SqliteFiles(folder)
    elif kind == POSTGRESQL:
        # Imported here: it is the tests' own, see bench/run.
        from postgres_server import running

        with running(_UNTUNED) as server:
            yield PostgresDatabases(server.url())
    else:
        yield PostgresDatabases(kind)


def name_of(kind: str) -> str:
    """What it is called where it is printed: a URL may hold a password."""
    return "SQLite" if kind == SQLITE else "PostgreSQL"
