"""Room: what an upload under way has taken of its account's quota, before its bytes are here.

Reserve first, write after: no byte is written that was not reserved, so that
uploads at the same time never get more than the quota together. Room that
nobody gives back, because its process was killed, falls back by itself.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from secrets import token_bytes
from typing import Final

from batchmill.domain import ids
from batchmill.domain.errors import StorageFull
from batchmill.domain.limits import MB, Limits
from batchmill.ports import Clock, FileStore, Quota, QuotaReached, Reservation
from batchmill.service.refusals import quota_reached
from batchmill.telemetry import Fact, get_logger

STEP_BYTES: Final = 64 * MB
LIFE_SECONDS: Final = 600.0
RENEWAL_SECONDS: Final = 60.0
# What a form has around its file is far less; what it really is shows when the file has come.
FRAME_BYTES: Final = 16 * 1024

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Landlord:
    """Lets rooms: the store that keeps count, the clock, and how much there is to let."""

    store: FileStore
    clock: Clock
    limits: Limits


class Room:
    """The room of one file on its way in."""

    def __init__(self, landlord: Landlord, *, file_id: str, account: str) -> None:
        self.file_id = file_id
        self._store = landlord.store
        self._clock = landlord.clock
        self._max_bytes = landlord.limits.max_file_bytes
        self._quota = quota_of(landlord.limits)
        self._account = account
        self._bytes = 0
        self._taken_at = 0.0
        self._is_taken = False

    async def open(self, announced: int | None) -> None:
        """Take room for a body of ``announced`` bytes, None where nobody knows.

        Raises QuotaExceeded and StorageFull.
        """
        if announced is None:
            await self._take(STEP_BYTES, at_least=1)
        else:
            await self._take(max(1, announced), at_least=max(1, announced - FRAME_BYTES))

    async def cover(self, size: int) -> None:
        """Make sure of room for the first ``size`` bytes; raises QuotaExceeded and StorageFull."""
        if size > self._bytes:
            await self._take(size + STEP_BYTES, at_least=size)
        elif self._clock.now() >= self._taken_at + RENEWAL_SECONDS:
            await self._take(self._bytes, at_least=size)

    def settle(self) -> None:
        """The file's row stands in the room's place: there is nothing to give back."""
        self._is_taken = False

    async def close(self) -> None:
        """Give back what is still taken."""
        if not self._is_taken:
            return
        try:
            await self._store.release(self.file_id)
        except StorageFull:
            # it falls back by itself in ten minutes, and whoever fills the disk hears of that
            reason = "the room of an upload was not given back"
            _log.warning(Fact.STORAGE_FULL, file_id=self.file_id, reason=reason)

    async def _take(self, size: int, *, at_least: int) -> None:
        """Take ``size`` bytes; where the account has not as many left, what is surely needed."""
        size, at_least = min(size, self._max_bytes), min(at_least, self._max_bytes)
        try:
            await self._reserve(size)
        except QuotaReached as reached:
            if reached.of == "files" or size == at_least:
                raise quota_reached(reached.of) from None
            await self._take(at_least, at_least=at_least)

    async def _reserve(self, size: int) -> None:
        now = self._clock.now()
        held = Reservation(self.file_id, self._account, size, now + LIFE_SECONDS)
        self._is_taken = True
        await self._store.reserve(held, self._quota, now)
        self._bytes, self._taken_at = size, now


@asynccontextmanager
async def open_room(
    landlord: Landlord, *, account: str, announced: int | None
) -> AsyncIterator[Room]:
    """Room for a new file; given back when the block ends, unless the file settled there."""
    room = Room(landlord, file_id=ids.input_file_id(token_bytes(12)), account=account)
    try:
        await room.open(announced)
        yield room
    finally:
        await room.close()


def quota_of(limits: Limits) -> Quota:
    """How much an account may keep."""
    return Quota(files=limits.max_files, bytes=limits.max_total_bytes)
