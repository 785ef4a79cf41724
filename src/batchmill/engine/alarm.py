"""The alarm: what somebody waits for who is either woken or wakes when it is time."""

import asyncio
import math

from batchmill.ports import Clock

# A clock that wakes a little too early is not asked again at once.
_LEAST_SECONDS = 0.01


class Alarm:
    """One waits, anybody rings. The timer of one wait serves the next, if it is for the same."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = asyncio.Event()
        self._timer: asyncio.Task[None] | None = None
        self._until = math.inf

    def ring(self) -> None:
        """Wake the one who waits, or let the next wait return at once."""
        self._rung.set()

    async def wait(self, until: float) -> None:
        """Return at ``until`` (in Unix seconds), or when it rings, after everybody's turn."""
        await self._set(until)
        # Tasks that were made before this have begun when it returns, even if it rang before.
        await asyncio.sleep(0)
        await self._rung.wait()
        self._rung.clear()

    async def close(self) -> None:
        """Leave no timer behind."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            await asyncio.gather(timer, return_exceptions=True)

    async def _set(self, until: float) -> None:
        if self._timer is not None and not self._timer.done() and self._until == until:
            return
        await self.close()
        self._until = until
        if until < math.inf:
            seconds = max(_LEAST_SECONDS, until - self._clock.now())
            self._timer = asyncio.create_task(self._ring_after(seconds))

    async def _ring_after(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._rung.set()
