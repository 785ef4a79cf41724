"""Waking the engine wherever it is, without waiting for it."""

import asyncio
from collections.abc import Callable

from batchmill.ports import Bell


class Ringer:
    """Wakes the engine of this machine, and rings the bell for those of the others.

    What is called while the bell is being rung makes one more ring of all of it.
    """

    def __init__(self, wake: Callable[[], None], bell: Bell) -> None:
        self._wake = wake
        self._bell = bell
        self._is_due = False
        self._ringing: asyncio.Task[None] | None = None

    def __call__(self) -> None:
        """Wake them all, soon."""
        self._wake()
        self._is_due = True
        if self._ringing is None or self._ringing.done():
            self._ringing = asyncio.create_task(self._ring())

    async def close(self) -> None:
        """Ring no more."""
        if self._ringing is not None:
            self._ringing.cancel()
            await asyncio.gather(self._ringing, return_exceptions=True)

    async def _ring(self) -> None:
        while self._is_due:
            self._is_due = False
            await self._bell.ring()
