"""Bringing a database to the newest schema, once, whoever opens it first.

Alembic takes longer to import than all else at a start: it is imported only
where there is something to migrate.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from batchmill.domain.errors import ConfigError
from batchmill.store.database import Database
from batchmill.store.migrations import HEAD

_FOLDER = Path(__file__).parent / "migrations"
_VERSION_TABLE = "alembic_version"


async def bring_up_to_date(database: Database) -> None:
    """Migrate to HEAD, all or nothing; raises ConfigError for a database of a newer release."""
    async with database.opening():
        async with database.read() as connection:
            revision = await connection.run_sync(stored_revision)
        if revision != HEAD:
            async with database.write() as connection:
                await connection.run_sync(migrate)


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
        raise ConfigError(
            "The database was made by a newer release of batchmill; start that release, "
            "or name another data folder."
        ) from error
