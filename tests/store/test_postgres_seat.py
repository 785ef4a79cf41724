"""The seat in PostgreSQL over connections that do as they are told."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from batchmill.store.postgres import PostgresBackend
from batchmill.store.postgres_seat import PostgresSeat, Terms

NEVER = Terms(sign=3600.0, silence=3600.0, again=3600.0)


class Line:
    """A connection: answers while it is open, and tells of its end when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_over = False
        self.error: Exception | None = None
        self._on_end: Callable[..., None] = lambda _: None

    async def fetchval(self, query: str, *values: object, timeout: float) -> object:
        self.asked += 1
        if self.is_over:
            raise ConnectionResetError
        if self.error is not None:
            raise self.error
        return True

    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None:
        raise NotImplementedError

    def add_termination_listener(self, callback: Callable[..., None]) -> None:
        self._on_end = callback

    def is_closed(self) -> bool:
        return self.is_over

    async def close(self, *, timeout: float) -> None:
        self.is_over = True

    def terminate(self) -> None:
        self.is_over = True

    def tell_of_its_end(self) -> None:
        self._on_end(self)


def seat_over(*lines: Line) -> PostgresSeat:
    dialled = iter(lines)

    async def dial(**settings: str) -> Line:
        return next(dialled)

    explain = PostgresBackend("postgresql://nobody@127.0.0.1:1/none").explain
    return PostgresSeat(dial, explain, 1, NEVER)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_the_late_end_of_an_old_connection_is_not_taken_for_that_of_the_new_one() -> None:
    async def main() -> None:
        old, new = Line(), Line()
        seat = seat_over(old, new)
        assert await seat.try_take()
        old.is_over = True
        assert not await seat.try_take()
        assert await seat.try_take()
        watching = asyncio.create_task(seat.lost())
        await turns()
        asked = new.asked
        old.tell_of_its_end()
        await turns()
        assert new.asked == asked
        assert not watching.done()
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching

    asyncio.run(main())


def test_whoever_watches_can_be_cancelled_in_the_moment_in_which_the_connection_ends() -> None:
    async def main() -> None:
        line = Line()
        seat = seat_over(line)
        assert await seat.try_take()

        async def keep() -> None:
            await seat.lost()
            await asyncio.Event().wait()

        keeping = asyncio.create_task(keep())
        await turns()
        line.is_over = True
        line.tell_of_its_end()
        await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.wait({keeping}, timeout=10)
        assert keeping.cancelled()

    asyncio.run(main())


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 12; another operation is in progress"),
        asyncpg.AdminShutdownError("terminating connection"),
        ConnectionResetError(),
    ],
)
def test_the_end_of_a_connection_in_whatever_words_is_a_seat_lost(error: Exception) -> None:
    """The driver has words of its own for what comes between the server's last and its silence."""

    async def main() -> None:
        old, new = Line(), Line()
        seat = seat_over(old, new)
        assert await seat.try_take()
        old.error = error
        assert not await seat.try_take()
        assert await seat.try_take()

    asyncio.run(main())


def test_an_error_of_ours_is_not_taken_for_the_end_of_a_connection() -> None:
    async def main() -> None:
        line = Line()
        seat = seat_over(line)
        assert await seat.try_take()
        line.error = asyncpg.PostgresSyntaxError("SELECT 1 is none")
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await seat.try_take()

    asyncio.run(main())
