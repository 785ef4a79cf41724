"""Bringing a database to the newest schema, once, whoever opens it first.

While a server is updated machine by machine, two releases work over one
database: a migration writes down which is the oldest revision whose release
may go on, and that release leaves the schema alone.

Alembic takes longer to import than all else at a start: it is imported only
where there is something to migrate.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.exc import DBAPIError

from batchmill.domain.errors import ConfigError
from batchmill.store.database import Database
from batchmill.store.migrations import HEAD
from batchmill.store.tables import schema_terms

_FOLDER = Path(__file__).parent / "migrations"
_VERSION_TABLE = "alembic_version"
# A move into this database stands here before the revision, until it has come to its end.
MOVING = "moving-"

_INSUFFICIENT_PRIVILEGE = "42501"


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database says of its schema: its revision, None while it is empty.

    ``oldest`` is the oldest revision whose release may still work on it; None
    before such a thing was written down.
    """

    revision: str | None
    oldest: str | None

    @property
    def is_behind(self) -> bool:
        """Whether this release has something to migrate."""
        return self.revision is None or self.revision < HEAD

    @property
    def is_ahead(self) -> bool:
        """Whether a newer release has migrated it."""
        return self.revision is not None and self.revision > HEAD

    @property
    def is_usable(self) -> bool:
        """Whether this release may work on it, once it has migrated what it knows."""
        return not self.is_ahead or (self.oldest is not None and self.oldest <= HEAD)

    def assert_usable(self) -> None:
        """Return if this release may work on it; raises ConfigError."""
        if not self.is_usable:
            raise _too_new()


EMPTY = Schema(None, None)
NEWEST = HEAD


async def bring_up_to_date(database: Database) -> Schema:
    """Migrate to HEAD, all or nothing, where that is newer; what was there before.

    Raises ConfigError for a database of a release that this one cannot work
    beside, and where the database does not allow the change.
    """
    async with database.opening():
        before = await schema_of(database)
        before.assert_usable()
        if before.is_behind:
            async with database.write() as connection:
                with _refusals_explained():
                    await connection.run_sync(migrate)
    return before


async def schema_of(database: Database) -> Schema:
    """What the database says of its schema.

    Raises ConfigError where a move into it was cut off.
    """
    async with database.read() as connection:
        schema = await connection.run_sync(stored_schema)
    if schema.revision is not None and schema.revision.startswith(MOVING):
        raise _half_moved()
    return schema


def stored_schema(connection: Connection) -> Schema:
    """What the database says of its schema, read on ``connection``."""
    revision = stored_revision(connection)
    if revision is None or not inspect(connection).has_table(schema_terms.name):
        return Schema(revision, None)
    oldest = connection.execute(select(schema_terms.c.oldest)).scalar_one_or_none()
    return Schema(revision, oldest)


def stored_revision(connection: Connection) -> str | None:
    """The revision that the database says it has; None for an empty one."""
    if not inspect(connection).has_table(_VERSION_TABLE):
        return None
    stored = connection.execute(text(f"SELECT version_num FROM {_VERSION_TABLE}"))  # noqa: S608
    return stored.scalar_one_or_none()


def migrate(connection: Connection) -> None:
    """Run the migrations that are missing, within the connection's transaction."""
    # Imported here: a third of a second that a start without migrations does not pay.
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise _too_new() from error


def _half_moved() -> ConfigError:
    return ConfigError(
        "A move into this database has not come to its end: run 'batchmill move' again as it was "
        "run before, and then start the server."
    )


def _too_new() -> ConfigError:
    return ConfigError(
        "The database was made by a newer release of batchmill, and this one cannot work with it: "
        "start that release, or name another database."
    )


@contextmanager
def _refusals_explained() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if not _is_refusal(error):
            raise
        raise ConfigError(
            "The database does not allow this user to bring its tables up to date: run "
            "'batchmill migrate' as the user that they belong to, or grant the right to change "
            "them."
        ) from error


def _is_refusal(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return bool(code & 0xFF == sqlite3.SQLITE_READONLY)
    return getattr(error.orig, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE
