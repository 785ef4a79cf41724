"""The bell: a change in the database is told to whoever waits for one, on any machine."""

import asyncio
from collections.abc import Callable

from batchmill.domain.errors import BatchmillError
from batchmill.store.database import Database
from batchmill.telemetry import Fact, get_logger

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0

log = get_logger()


class SqlBell:
    """See the port Bell. Without several machines it is silent: a pipe does its work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ring(self) -> None:
        """Wake whoever listens; a ring that is lost costs one interval of looking unasked."""
        try:
            async with self._database.read() as connection:
                await self._database.backend.ring(connection)
        except BatchmillError as error:
            log.warning(Fact.BELL_FAILED, reason=type(error).__name__)

    async def listen(self, on_ring: Callable[[], None]) -> None:
        """Call ``on_ring`` at every ring, and at every connection made; never returns."""
        failures = 0

        def heard() -> None:
            nonlocal failures
            failures = 0
            on_ring()

        while True:
            try:
                await self._database.backend.listen(heard)
            except Exception as error:
                if self._database.backend.explain(error) is None:
                    raise
                if not failures:
                    log.warning(Fact.BELL_FAILED, reason=type(error).__name__)
            failures += 1
            await asyncio.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures - 1, 10)))
