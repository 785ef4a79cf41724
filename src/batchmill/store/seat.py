"""The seat of the engine that decides: what keeps the engines of other machines waiting.

How it is held is each kind of database's own affair. It may be lost without
anybody's doing, as the server restarts; that alone says nothing about who
decides, for that is the epoch's affair (see ``leadership``).
"""

import asyncio
from typing import Protocol


class Seat(Protocol):
    """At most one process holds it, as far as the database can tell."""

    async def try_take(self) -> bool:
        """Whether it is held now; False too where the database cannot be reached."""
        ...

    async def pause(self) -> None:
        """Return when it is worth trying again."""
        ...

    async def lost(self) -> None:
        """Return when it may be somebody else's; until then, keep it."""
        ...

    async def leave(self) -> None:
        """Give it up; harmless where it is not held."""
        ...


class OnlySeat:
    """Where one machine has the database to itself, a lock on its folder does all this."""

    async def try_take(self) -> bool:
        """It is free: who asks for it holds the folder."""
        return True

    async def pause(self) -> None:
        """Nobody waits here."""

    async def lost(self) -> None:
        """It never is."""
        await asyncio.Event().wait()

    async def leave(self) -> None:
        """Nothing to do."""
