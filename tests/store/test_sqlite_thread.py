"""A connection in a thread of its own: pieces of work in turn, and an end that leaves nothing."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection

from batchmill.store.sqlite import SqliteBackend
from batchmill.store.sqlite_thread import SqliteThread

Test = Callable[[SqliteThread], Awaitable[None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Test], None]:
    """Run a test with a thread that writes to a database of one empty table."""
    backend = SqliteBackend(tmp_path / "one.db")

    async def main(test: Test) -> None:
        thread = SqliteThread("one", backend._connect_to_change)
        try:
            await thread.do(in_one("CREATE TABLE numbers (n INTEGER PRIMARY KEY)"))
            await test(thread)
        finally:
            await thread.close()

    return lambda test: asyncio.run(main(test))


def in_one(*statements: str, error: Exception | None = None) -> Callable[[Connection], None]:
    """A transaction of these statements, which then fails or does not."""

    def work(connection: Connection) -> None:
        with connection.begin():
            for statement in statements:
                connection.exec_driver_sql(statement)
            if error is not None:
                raise error

    return work


def count(connection: Connection) -> int:
    with connection.begin():
        return int(connection.exec_driver_sql("SELECT count(*) FROM numbers").scalar_one())


def test_work_is_done_in_turn_and_on_one_thread(run: Callable[[Test], None]) -> None:
    async def test(thread: SqliteThread) -> None:
        on: list[int] = []

        def adding(number: int) -> Callable[[Connection], None]:
            def work(connection: Connection) -> None:
                on.append(threading.get_ident())
                in_one(f"INSERT INTO numbers VALUES ({number})")(connection)
                assert count(connection) == number + 1

            return work

        await asyncio.gather(*(thread.do(adding(number)) for number in range(20)))
        assert len(set(on)) == 1
        assert threading.get_ident() not in on

    run(test)


def test_of_work_that_fails_nothing_stays_and_the_next_goes_on(run: Callable[[Test], None]) -> None:
    async def test(thread: SqliteThread) -> None:
        failing = in_one("INSERT INTO numbers VALUES (1)", error=OSError(5, "Input/output error"))
        with pytest.raises(OSError, match="Input/output"):
            await thread.do(failing)
        assert await thread.do(count) == 0
        await thread.do(in_one("INSERT INTO numbers VALUES (1)"))
        assert await thread.do(count) == 1

    run(test)


def test_work_that_is_cancelled_returns_when_the_thread_is_done_with_it(
    run: Callable[[Test], None],
) -> None:
    """Before that nobody else may touch what it uses, however often it is cancelled."""

    async def test(thread: SqliteThread) -> None:
        loop, begun, free = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

        def slow(connection: Connection) -> None:
            loop.call_soon_threadsafe(begun.set)
            free.wait()
            in_one("INSERT INTO numbers VALUES (1)")(connection)

        working = asyncio.create_task(thread.do(slow))
        await begun.wait()
        for _again in range(3):
            working.cancel()
            await asyncio.sleep(0)
        assert not working.done()
        free.set()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert await thread.do(count) == 1

    run(test)


def test_a_thread_that_is_closed_does_first_what_it_was_asked_and_begins_anew_if_asked_again(
    run: Callable[[Test], None],
) -> None:
    async def test(thread: SqliteThread) -> None:
        before = asyncio.create_task(thread.do(in_one("INSERT INTO numbers VALUES (1)")))
        await asyncio.sleep(0)
        await thread.close()
        await before
        assert not [one for one in threading.enumerate() if one.name == "one"]
        await thread.close()
        assert await thread.do(count) == 1

    run(test)


def test_a_database_that_cannot_be_opened_is_told_to_whoever_asks_and_tried_again(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        real, failing = SqliteBackend(tmp_path / "one.db")._connect_to_change, [True]

        def connect() -> Connection:
            if failing:
                failing.clear()
                raise OSError(24, "Too many open files")
            return real()

        thread = SqliteThread("one", connect)
        with pytest.raises(OSError, match="open files"):
            await thread.do(count)
        await thread.do(in_one("CREATE TABLE numbers (n INTEGER PRIMARY KEY)"))
        assert await thread.do(count) == 0
        await thread.close()

    asyncio.run(main())
