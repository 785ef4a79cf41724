"""Calls that come while others of their kind are under way are done together, as the next group."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from batchmill.domain.errors import BatchmillError

Call = TypeVar("Call")
Answer = TypeVar("Answer")


class Grouping(Generic[Call, Answer]):
    """Gathers calls for ``work``, which does up to ``most`` at once and answers in their order.

    Nobody waits for others to come: a call that finds nothing under way goes at once, with those
    of the same turn of the event loop. Each call returns when its own group is done. One that is
    cancelled is done all the same where its group is under way: ``over`` waits for that.
    """

    def __init__(
        self, work: Callable[[Sequence[Call]], Awaitable[Sequence[Answer]]], most: int
    ) -> None:
        self._work = work
        self._most = most
        self._waiting: list[tuple[Call, asyncio.Future[Answer]]] = []
        self._working: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._over.set()

    async def do(self, call: Call) -> Answer:
        """What ``work`` answers to this call; raises what it raises."""
        told: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, told))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work_off())
        return await told

    async def over(self) -> None:
        """Return when the group that is under way, if any, is done."""
        await self._over.wait()

    async def _work_off(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            self._over = over = asyncio.Event()
            try:
                await self._do([one for one in group if not one[1].done()])
            finally:
                over.set()
                for _, told in group:
                    told.cancel()  # where the event loop ends, and this with it

    async def _do(self, group: Sequence[tuple[Call, asyncio.Future[Answer]]]) -> None:
        if not group:
            return
        try:
            answers = await self._work([call for call, _ in group])
        except Exception as error:  # noqa: BLE001 - each caller hears of it
            if len(group) == 1 or isinstance(error, BatchmillError):
                _fail(group, error)
            else:
                # It may be the fault of one of them.
                for one in group:
                    await self._do([one])
        else:
            for (_, told), answer in zip(group, answers, strict=True):
                if not told.done():
                    told.set_result(answer)


def _fail(group: Sequence[tuple[Call, asyncio.Future[Answer]]], error: Exception) -> None:
    for _, told in group:
        if not told.done():
            told.set_exception(error)
