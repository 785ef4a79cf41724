"""Questions and changes that come at the same time share a connection; each ends by itself."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import Connection

from batchmill.domain.errors import NotFound, Superseded
from batchmill.store.database import Database
from batchmill.store.sqlite import SqliteBackend

Test = Callable[[Database], Awaitable[None]]


def run(tmp_path: Path, test: Test) -> None:
    async def main() -> None:
        database = Database(SqliteBackend(tmp_path / "one.db"))
        try:
            async with database.opening(), database.write() as connection:
                await connection.exec_driver_sql("CREATE TABLE numbers (n INTEGER PRIMARY KEY)")
                await connection.exec_driver_sql("CREATE TABLE leadership (epoch INTEGER)")
            await test(database)
        finally:
            await database.close()

    asyncio.run(main())


def adding(number: int) -> Callable[[Connection], int]:
    """A change: the number is added; a second time it fails."""

    def add(connection: Connection) -> int:
        connection.exec_driver_sql("INSERT INTO numbers VALUES (?)", (number,))
        return number

    return add


def numbers(connection: Connection) -> list[int]:
    return list(connection.exec_driver_sql("SELECT n FROM numbers ORDER BY n").scalars())


def test_each_hears_its_own_answer_and_all_of_it_is_stored(tmp_path: Path) -> None:
    async def test(database: Database) -> None:
        changes = [database.transact(adding(number)) for number in range(200)]
        assert await asyncio.gather(*changes) == list(range(200))
        questions = [database.ask(numbers) for _ in range(3)]
        assert await asyncio.gather(*questions) == [list(range(200))] * 3

    run(tmp_path, test)


def test_those_that_come_at_the_same_time_share_a_transaction(tmp_path: Path) -> None:
    async def test(database: Database) -> None:
        commits: list[int] = []

        def numbered(number: int) -> Callable[[Connection], int]:
            def add(connection: Connection) -> int:
                commits.append(id(connection.get_transaction()))
                return adding(number)(connection)

            return add

        await asyncio.gather(*(database.transact(numbered(number)) for number in range(10)))
        assert len(commits) == 10
        assert len(set(commits)) == 1

    run(tmp_path, test)


@pytest.mark.parametrize("error", [ValueError("bad"), NotFound("Nothing is here.")])
def test_one_that_fails_takes_back_what_is_its_own_alone(tmp_path: Path, error: Exception) -> None:
    async def test(database: Database) -> None:
        def fail(connection: Connection) -> int:
            adding(7)(connection)
            raise error

        calls = (
            database.transact(adding(1)),
            database.transact(fail),
            database.transact(adding(2)),
        )
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert list(ends) == [1, error, 2]
        assert await database.ask(numbers) == [1, 2]

    run(tmp_path, test)


def test_whoever_was_cancelled_finds_what_was_done_or_that_it_was_not(tmp_path: Path) -> None:
    async def test(database: Database) -> None:
        loop, begun, free = asyncio.get_running_loop(), asyncio.Event(), Event()

        def add_slowly(connection: Connection) -> int:
            loop.call_soon_threadsafe(begun.set)
            free.wait()
            return adding(1)(connection)

        first = asyncio.create_task(database.transact(add_slowly))
        await begun.wait()
        second = asyncio.create_task(database.transact(adding(2)))
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        await asyncio.sleep(0)
        assert not first.done()
        free.set()
        await asyncio.wait({first, second})
        assert first.cancelled()
        assert second.cancelled()
        assert await database.ask(numbers) == [1]

    run(tmp_path, test)


def test_of_a_group_that_does_not_lead_any_more_nothing_is_stored(tmp_path: Path) -> None:
    async def test(database: Database) -> None:
        database.fence(3)
        calls = (database.transact(adding(number)) for number in range(3))
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [Superseded] * 3
        assert await database.ask(numbers) == []

    run(tmp_path, test)
