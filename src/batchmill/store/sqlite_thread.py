"""A connection in a thread of its own, for work whose statements are known beforehand.

The asynchronous driver goes to its thread through the pool, a switch of stacks and two layers of
cursors: that takes longer than most statements do. Here a piece of work is handed to the thread
as it is, and its answer comes back; nothing else is done for it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from sqlalchemy import Connection

Answer = TypeVar("Answer")

_Asked = tuple[Callable[[Connection], Any], asyncio.Future[Any]]


class SqliteThread:
    """Does one piece of work after the other. ``connect`` is called in the thread, once."""

    def __init__(self, name: str, connect: Callable[[], Connection]) -> None:
        self._name = name
        self._connect = connect
        self._asked: SimpleQueue[_Asked | None]
        self._thread: Thread | None = None

    async def do(self, work: Callable[[Connection], Answer]) -> Answer:
        """What ``work`` comes to; raises what it raises.

        One that is cancelled returns when the thread is done with it: before that nobody else may
        touch what ``work`` uses.
        """
        if self._thread is None:
            self._thread = self._start()
        told: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked.put((work, told))
        try:
            return await asyncio.shield(told)
        except asyncio.CancelledError:
            await _over(told)
            raise

    async def close(self) -> None:
        """Close the connection, behind what was asked before; return when the thread has ended."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._asked.put(None)
            await asyncio.to_thread(thread.join)

    def _start(self) -> Thread:
        # A queue of its own: one that is being closed is at the end of another.
        self._asked = SimpleQueue()
        # It does not outlive the process: what it was at is committed, or was never done.
        thread = Thread(target=self._serve, args=(self._asked,), name=self._name, daemon=True)
        thread.start()
        return thread

    def _serve(self, queue: SimpleQueue[_Asked | None]) -> None:
        connection: Connection | None = None
        while (asked := queue.get()) is not None:
            work, told = asked
            answer, error = None, None
            try:
                connection = connection or self._connect()
                answer = work(connection)
            except BaseException as raised:  # noqa: BLE001 - whoever asked hears of it
                error = raised
            _tell_from_thread(told, answer, error)
            # Not to be kept until something else is asked.
            del asked, work, told, answer, error
        if connection is not None:
            connection.close()
            connection.engine.dispose()


def _tell_from_thread(
    told: asyncio.Future[Any], answer: object, error: BaseException | None
) -> None:
    # A loop that is closed has nobody who waits.
    with suppress(RuntimeError):
        told.get_loop().call_soon_threadsafe(_tell, told, answer, error)


def _tell(told: asyncio.Future[Any], answer: object, error: BaseException | None) -> None:
    if told.done():
        return
    if error is None:
        told.set_result(answer)
    else:
        told.set_exception(error)


async def _over(told: asyncio.Future[Any]) -> None:
    """Return when it is told, whoever cancels the waiting; what it was is not looked at."""
    while not told.done():
        try:
            await asyncio.wait({told})
        except asyncio.CancelledError:
            continue
    if not told.cancelled():
        told.exception()
