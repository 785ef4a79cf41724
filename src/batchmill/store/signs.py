"""Rows of signs of life: what each process said last."""

from collections.abc import Sequence

from sqlalchemy import RowMapping, delete, func, insert, select, update

from batchmill.ports import Sign
from batchmill.store.database import Database
from batchmill.store.tables import signs


class SqlSigns:
    """See the port SignStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, sign: Sign, *, durably: bool = False) -> None:
        """Replace what the same name said before; one process speaks by one name."""
        said = {"body": sign.body, "at": sign.at}
        changed = update(signs).where(signs.c.name == sign.name).values(said)
        begin = self._database.write if durably else self._database.relaxed
        async with begin() as connection:
            if not (await connection.execute(changed)).rowcount:
                await self._database.serialize(connection, "sign", sign.name)
                if not (await connection.execute(changed)).rowcount:
                    await connection.execute(insert(signs), [{"name": sign.name, **said}])

    async def get(self, name: str) -> Sign | None:
        """What ``name`` said last."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(signs).where(signs.c.name == name))
            row = rows.mappings().one_or_none()
            return None if row is None else _sign_of(row)

    async def list(self, prefix: str) -> Sequence[Sign]:
        """The signs whose names begin so, by name."""
        begins = func.substr(signs.c.name, 1, len(prefix)) == prefix
        async with self._database.read() as connection:
            rows = await connection.execute(select(signs).where(begins).order_by(signs.c.name))
            return [_sign_of(row) for row in rows.mappings()]

    async def forget(self, before: float) -> None:
        """Remove the signs that are older."""
        async with self._database.relaxed() as connection:
            await connection.execute(delete(signs).where(signs.c.at < before))


def _sign_of(row: RowMapping) -> Sign:
    return Sign(row["name"], bytes(row["body"]), row["at"])
