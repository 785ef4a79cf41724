"""Administration on the machine itself: the use-cases over a data folder's database.

It may be opened beside a running server, whose processes see what was changed
with their next request.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from batchmill.service.administration import Administration, make_administration
from batchmill.store import open_store
from batchmill.wiring.parts import Paths, SystemClock


@asynccontextmanager
async def open_administration(folder: Path) -> AsyncIterator[Administration]:
    """The use-cases over ``folder``, made where missing; raises ConfigError and StorageFull."""
    store = await open_store(Paths(folder).database)
    try:
        yield make_administration(store, SystemClock())
    finally:
        await store.close()


async def can_administer(folder: Path) -> bool:
    """Whether there is a key that administers the server of ``folder``."""
    async with open_administration(folder) as admin:
        return await admin.keys.can_administer()
