"""Moves of shards from the open ones to the ledger, and sums that are taken while none is on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Moves:
    """Any number may move at once, or one may have all stand still.

    Who waits for that is let in before those who come to move.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._moving = 0
        self._over = asyncio.Event()
        self._over.set()

    @asynccontextmanager
    async def moving(self) -> AsyncIterator[None]:
        """Held while something moves."""
        async with self._turn:
            self._moving += 1
            self._over.clear()
        try:
            yield
        finally:
            self._moving -= 1
            if not self._moving:
                self._over.set()

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Held while nothing may move."""
        async with self._turn:
            await self._over.wait()
            yield
