"""What each kind of database does in its own way while it takes the rows of another.

Rows are numbered by the database; one that is filled with rows that have
numbers already must be told where to go on.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from sqlalchemy import Table, text
from sqlalchemy.ext.asyncio import AsyncConnection


class Ways(Protocol):
    """The ways of one kind of database; each within the connection's transaction."""

    async def seize(self, connection: AsyncConnection, tables: Sequence[Table]) -> None:
        """Until the transaction ends, let nobody else write into the tables."""
        ...

    async def last(self, connection: AsyncConnection, table: Table) -> int:
        """The highest number that the table has given out, 0 where that is not known."""
        ...

    async def continue_behind(self, connection: AsyncConnection, table: Table, last: int) -> None:
        """Give out numbers above ``last`` from now on."""
        ...


class _Sqlite:
    async def seize(self, connection: AsyncConnection, tables: Sequence[Table]) -> None:
        """There is one writer at a time."""

    async def last(self, connection: AsyncConnection, table: Table) -> int:
        found = await connection.execute(_SQLITE_LAST, {"name": table.name})
        return int(found.scalar_one_or_none() or 0)

    async def continue_behind(self, connection: AsyncConnection, table: Table, last: int) -> None:
        # Without AUTOINCREMENT the next number is simply the one above the highest.
        if not table.dialect_options["sqlite"]["autoincrement"]:
            return
        await connection.execute(_SQLITE_FORGET, {"name": table.name})
        await connection.execute(_SQLITE_CONTINUE, {"name": table.name, "last": last})


_SQLITE_LAST: Final = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
_SQLITE_FORGET: Final = text("DELETE FROM sqlite_sequence WHERE name = :name")
_SQLITE_CONTINUE: Final = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)")


class _Postgres:
    async def seize(self, connection: AsyncConnection, tables: Sequence[Table]) -> None:
        quote = connection.dialect.identifier_preparer.format_table
        names = ", ".join(map(quote, tables))
        await connection.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))

    async def last(self, connection: AsyncConnection, table: Table) -> int:  # noqa: ARG002
        return 0

    async def continue_behind(self, connection: AsyncConnection, table: Table, last: int) -> None:
        await connection.execute(
            _POSTGRES_CONTINUE, {"name": table.name, "last": max(last, 1), "is_used": last > 0}
        )


_POSTGRES_CONTINUE: Final = text(
    "SELECT setval(pg_get_serial_sequence(:name, 'seq'), :last, :is_used)"
)

_WAYS: Final[dict[str, Ways]] = {"sqlite": _Sqlite(), "postgresql": _Postgres()}


def ways_of(connection: AsyncConnection) -> Ways:
    """The ways of the database at the other end of ``connection``."""
    return _WAYS[connection.dialect.name]
