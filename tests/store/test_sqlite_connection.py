"""The driver's connection: one turn of its thread where one will do, and it ends once."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from batchmill.store.sqlite_connection import DriverConnection

ROWS = 600


class Turns:
    """A connection whose turns of the thread are counted."""

    def __init__(self, connection: DriverConnection, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real: Callable[..., Awaitable[Any]] = connection._execute

        async def counted(*work: Any) -> Any:
            self.count += 1
            return await real(*work)

        monkeypatch.setattr(connection, "_execute", counted)

    def since(self) -> int:
        """How many there were since the last time."""
        count, self.count = self.count, 0
        return count


Test = Callable[[DriverConnection, Turns], Awaitable[None]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Test], None]:
    """Run a test with a connection to a database of one table, which holds 600 numbers."""

    async def main(test: Test) -> None:
        connection = DriverConnection(str(tmp_path / "one.db"), isolation_level=None)
        await connection
        try:
            connection.begin()
            await do(connection, "CREATE TABLE numbers (n INTEGER PRIMARY KEY)")
            cursor = connection.cursor()
            await cursor.executemany("INSERT INTO numbers VALUES (?)", [(n,) for n in range(ROWS)])
            assert cursor.rowcount == ROWS
            await connection.commit()
            await test(connection, Turns(connection, monkeypatch))
        finally:
            await connection.close()

    return lambda test: asyncio.run(main(test))


async def do(connection: DriverConnection, sql: str) -> list[Any]:
    """What a statement answers, as SQLAlchemy would ask it."""
    async with connection.cursor() as cursor:
        await cursor.execute(sql)
        return list(await cursor.fetchall()) if cursor.description else []


async def count(connection: DriverConnection) -> int:
    [(found,)] = await do(connection, "SELECT count(*) FROM numbers")
    return int(found)


def test_a_connection_that_is_stopped_while_it_closes_comes_to_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        connection = await DriverConnection(str(tmp_path / "one.db"))
        closing = asyncio.create_task(connection.close())
        await asyncio.sleep(0)
        ended = connection.stop()
        assert ended is not None
        await ended
        await closing
        assert connection.stop() is None

    asyncio.run(main())


def test_a_statement_with_its_rows_is_one_turn(run: Callable[[Test], None]) -> None:
    async def test(connection: DriverConnection, turns: Turns) -> None:
        assert await do(connection, "SELECT n FROM numbers WHERE n < 3") == [(0,), (1,), (2,)]
        assert turns.since() == 1
        await do(connection, "DELETE FROM numbers WHERE n = 7")
        assert turns.since() == 1

    run(test)


@pytest.mark.parametrize("rows", [0, 1, 255, 256, 257, ROWS])
def test_every_row_comes_once_however_they_are_asked_for(
    run: Callable[[Test], None], rows: int
) -> None:
    async def test(connection: DriverConnection, _: Turns) -> None:
        wanted = [(n,) for n in range(rows)]
        select = f"SELECT n FROM numbers ORDER BY n LIMIT {rows}"
        assert await do(connection, select) == wanted
        for size in (1, 7, 256, 1000):
            async with connection.cursor() as cursor:
                await cursor.execute(select)
                found: list[Any] = []
                while some := await cursor.fetchmany(size):
                    found += some
                assert found == wanted
        async with connection.cursor() as cursor:
            await cursor.execute(select)
            assert await cursor.fetchone() == (wanted[0] if wanted else None)
            assert [row async for row in cursor] == wanted[1:]

    run(test)


def test_a_cursor_that_is_closed_early_holds_up_nobody(run: Callable[[Test], None]) -> None:
    async def test(connection: DriverConnection, _: Turns) -> None:
        async with connection.cursor() as cursor:
            await cursor.execute("SELECT n FROM numbers")
            assert await cursor.fetchone() == (0,)
        await do(connection, "DROP TABLE numbers")

    run(test)


def test_a_transaction_begins_with_its_first_statement(run: Callable[[Test], None]) -> None:
    async def test(connection: DriverConnection, turns: Turns) -> None:
        connection.begin()
        await do(connection, "DELETE FROM numbers")
        assert turns.since() == 1
        assert connection.in_transaction
        await connection.rollback()
        assert turns.since() == 1
        assert await count(connection) == ROWS
        connection.begin()
        await do(connection, "DELETE FROM numbers")
        await connection.commit()
        assert await count(connection) == 0

    run(test)


def test_what_was_not_begun_takes_no_turn_to_end(run: Callable[[Test], None]) -> None:
    async def test(connection: DriverConnection, turns: Turns) -> None:
        for end in (connection.commit, connection.rollback):
            await end()
            connection.begin()
            await end()
            assert turns.since() == 0
            await do(connection, "SELECT 1")
            assert not connection.in_transaction
            assert turns.since() == 1

    run(test)


def test_a_statement_that_fails_leaves_its_transaction_to_be_rolled_back(
    run: Callable[[Test], None],
) -> None:
    async def test(connection: DriverConnection, _: Turns) -> None:
        connection.begin()
        await do(connection, "DELETE FROM numbers WHERE n = 1")
        with pytest.raises(sqlite3.IntegrityError):
            await do(connection, "INSERT INTO numbers VALUES (2)")
        await connection.rollback()
        assert await count(connection) == ROWS

    run(test)


def test_after_a_statement_that_was_cancelled_its_transaction_is_rolled_back_all_the_same(
    run: Callable[[Test], None],
) -> None:
    async def test(connection: DriverConnection, _: Turns) -> None:
        connection.begin()
        deleting = asyncio.create_task(do(connection, "DELETE FROM numbers"))
        await asyncio.sleep(0)
        deleting.cancel()
        await asyncio.wait({deleting})
        await connection.rollback()
        assert not connection.in_transaction
        assert await count(connection) == ROWS

    run(test)
