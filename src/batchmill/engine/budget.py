"""A budget of bytes: how much of the input may be in memory, whatever the lines' sizes."""

import asyncio
from collections import deque


class Budget:
    """Bytes that may be taken at once. A single taker may exceed an untouched budget."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def taken(self) -> int:
        """Bytes that are taken now."""
        return self._taken

    async def take(self, size: int) -> None:
        """Take ``size`` bytes, waiting in line until they fit."""
        if not self._waiting and self._fits(size):
            self._taken += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(size)
            raise

    def take_at_once(self, size: int) -> bool:
        """Take ``size`` bytes for several takers if nobody is in line; whether they fitted."""
        if self._waiting or self._taken + size > self._limit:
            return False
        self._taken += size
        return True

    def release(self, size: int) -> None:
        """Give ``size`` bytes back, and let those in line go on."""
        self._taken -= size
        while self._waiting:
            wanted, turn = self._waiting[0]
            if not turn.done():
                if not self._fits(wanted):
                    return
                self._taken += wanted
                turn.set_result(None)
            self._waiting.popleft()

    def _fits(self, size: int) -> bool:
        return self._taken == 0 or self._taken + size <= self._limit
