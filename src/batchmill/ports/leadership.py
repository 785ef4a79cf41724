"""Who decides: one engine at a time over one database, and what tells it to look.

Where several machines share a database any of them may try to lead. The lock
keeps all but one waiting; the epoch, counted up by each new leader, refuses
what a leader writes that was paused and does not know yet that it was
succeeded.
"""

from collections.abc import Callable
from typing import Protocol


class Leadership(Protocol):
    """The right to decide over a database."""

    async def take(self) -> int:
        """Wait until nobody else leads, and begin the next epoch; its number.

        From then on every write of the same store raises Superseded once a
        later epoch has begun.
        """
        ...

    async def superseded(self) -> None:
        """Return when a later epoch has begun; until then, wait."""
        ...


class Bell(Protocol):
    """Tells the leader that something changed, whichever process changed it."""

    async def ring(self) -> None:
        """Wake whoever listens; nothing happens where nobody does."""
        ...

    async def listen(self, on_ring: Callable[[], None]) -> None:
        """Call ``on_ring`` at every ring, and whenever rings may have been missed.

        Goes on until it is cancelled.
        """
        ...
