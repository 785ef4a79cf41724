"""Rows of price tables: every one that was ever in force, by version, and never changed."""

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from batchmill.store.database import Database
from batchmill.store.tables import price_tables


class SqlPrices:
    """See the port PriceStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, version: str, text: str, now: float) -> None:
        """Store the table; one that is there stays as it is, and costs no write."""
        if await self.get(version) is not None:
            return
        async with self._database.write() as connection:
            await self._database.serialize(connection, "prices", version)
            # Another process may have kept it meanwhile.
            if await _text_of(connection, version) is None:
                row = {"id": version, "text": text, "created_at": now}
                await connection.execute(insert(price_tables), [row])

    async def get(self, version: str) -> str | None:
        """The table's text."""
        async with self._database.read() as connection:
            return await _text_of(connection, version)


async def _text_of(connection: AsyncConnection, version: str) -> str | None:
    found = select(price_tables.c.text).where(price_tables.c.id == version)
    text: str | None = (await connection.execute(found)).scalar_one_or_none()
    return text
