"""Who decides over the database: the seat, and the epoch that is counted up on it.

The seat keeps others waiting, the epoch is the truth: a leader that lost the
seat sits down again if nobody counted meanwhile, and is over if somebody did.
What it writes without having noticed is refused (see ``Database.fence``).
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import select, update

from batchmill.domain.errors import BatchmillError
from batchmill.store.database import Database
from batchmill.store.seat import Seat
from batchmill.store.tables import leadership
from batchmill.telemetry import Fact, get_logger

log = get_logger()


class SqlLeadership:
    """See the port Leadership."""

    def __init__(
        self, database: Database, seat: Seat, now: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._seat = seat
        self._now = now
        self._epoch = 0
        self._keeping: asyncio.Task[None] | None = None

    async def take(self) -> int:
        """Wait until nobody else leads, and begin the next epoch; its number."""
        if not await self._seat.try_take():
            log.info(Fact.LEADERSHIP_AWAITED)
            while not await self._seat.try_take():
                await self._seat.pause()
        try:
            self._epoch = await self._begin_epoch()
        except BaseException:
            await self._seat.leave()
            raise
        self._database.fence(self._epoch)
        self._keeping = asyncio.create_task(self._keep())
        log.info(Fact.LEADERSHIP_TAKEN, epoch=self._epoch)
        return self._epoch

    async def superseded(self) -> None:
        """Return when a later epoch has begun; until then, wait."""
        if self._keeping is None:
            await asyncio.Event().wait()
        else:
            await asyncio.shield(self._keeping)

    async def current(self) -> int:
        """The present epoch, whoever leads; 0 before the first."""
        async with self._database.read() as connection:
            found = await connection.execute(select(leadership.c.epoch))
            return int(found.scalar_one())

    async def close(self) -> None:
        """Let somebody else lead."""
        keeping = self._keeping
        try:
            if keeping is not None:
                keeping.cancel()
                with suppress(asyncio.CancelledError):
                    await keeping
        finally:
            await self._seat.leave()

    async def _begin_epoch(self) -> int:
        counted = update(leadership).values(epoch=leadership.c.epoch + 1, since=self._now())
        async with self._database.write() as connection:
            found = await connection.execute(counted.returning(leadership.c.epoch))
            return int(found.scalar_one())

    async def _keep(self) -> None:
        """Hold the seat for as long as no later epoch has begun."""
        while True:
            await self._seat.lost()
            log.warning(Fact.LEADERSHIP_INTERRUPTED, epoch=self._epoch)
            if not await self._sit_down_again():
                await self._seat.leave()
                log.warning(Fact.LEADERSHIP_LOST, epoch=self._epoch)
                return

    async def _sit_down_again(self) -> bool:
        """Whether this one leads still; waits until that is known."""
        while True:
            is_seated = await self._seat.try_take()
            # Read behind the seat: nobody counts while it is held here.
            epoch = await self._epoch_if_known()
            if epoch is not None and epoch != self._epoch:
                return False
            if is_seated and epoch is not None:
                return True
            await self._seat.pause()

    async def _epoch_if_known(self) -> int | None:
        try:
            return await self.current()
        except BatchmillError:
            return None
