"""Rows of secrets that all processes of a server share."""

from sqlalchemy import insert, select

from batchmill.store.database import Database
from batchmill.store.tables import secrets


class SqlSecrets:
    """See the port SecretStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, name: str, value: bytes) -> bytes:
        """The secret of that name: ``value`` itself, unless somebody was first."""
        kept = select(secrets.c.value).where(secrets.c.name == name)
        async with self._database.write() as connection:
            await self._database.serialize(connection, "secret", name)
            found = (await connection.execute(kept)).scalar_one_or_none()
            if found is None:
                await connection.execute(insert(secrets), [{"name": name, "value": value}])
        return value if found is None else bytes(found)
