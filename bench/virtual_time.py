"""A clock that stands still while anything can happen, and then jumps to what comes next."""

import asyncio
import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class VirtualClock:
    """See the port Clock. ``run`` moves it; ``busy`` is the CPU of everything but its own."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()
        self.busy = 0.0

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not sleeper.done():
                sleeper.set_result(None)

        self.at(self._now + max(0.0, seconds), wake)
        await sleeper

    def at(self, when: float, action: Callable[[], object]) -> None:
        """Call ``action`` when it is that time."""
        heappush(self._events, (when, next(self._order), action))

    async def run(self, is_over: Callable[[], bool]) -> None:
        """Move on from event to event until it is over."""
        while not is_over():
            await self._settle()
            if not self._events:
                raise RuntimeError("nothing will ever happen again")
            self._now = max(self._now, self._events[0][0])
            while self._events and self._events[0][0] <= self._now:
                heappop(self._events)[2]()

    async def _settle(self) -> None:
        """Let everybody run until nobody can without the clock."""
        began = time.process_time()
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        while ready:
            await asyncio.sleep(0)
        self.busy += time.process_time() - began
