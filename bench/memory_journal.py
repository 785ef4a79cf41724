"""A journal that keeps records in memory and promises nothing: durability's cost is the difference.

What is appended counts at once; so nothing is encoded, written, synced or read back.
"""

import asyncio
from collections.abc import Callable, Sequence

from batchmill.domain.shards import Shard
from batchmill.ports import Record, Settled
from batchmill.telemetry import JournalMetrics


class MemorySegment:
    """See the port Segment. Told of in groups as large as those that wait for a disk."""

    def __init__(
        self,
        records: dict[int, Record],
        on_durable: Callable[[Sequence[Record]], None],
        interval: float,
    ) -> None:
        self._records = records
        self._on_durable = on_durable
        self._interval = interval
        self._pending: list[Record] = []

    def mark_sent(self, *numbers: int) -> None:
        """Nobody will ask."""

    def append(self, *records: Record) -> None:
        """Keep them, and tell of them soon."""
        if not self._pending:
            asyncio.get_running_loop().call_later(self._interval, self._tell)
        self._records |= {record.number: record for record in records}
        self._pending += records

    async def close(self) -> None:
        """Tell of what was not told of yet."""
        self._tell()

    def _tell(self) -> None:
        records, self._pending = self._pending, []
        if records:
            self._on_durable(records)


class MemoryJournal:
    """See the port Journal. ``interval`` seconds make a group."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._shards: dict[tuple[str, int], dict[int, Record]] = {}

    async def open(
        self,
        shard: Shard,
        on_durable: Callable[[Sequence[Record]], None],
        before: Settled | None = None,  # noqa: ARG002
    ) -> MemorySegment:
        """Begin a segment."""
        records = self._of(shard.batch_id, shard.index)
        return MemorySegment(records, on_durable, self._interval)

    @property
    def is_roomy(self) -> bool:
        """There is room."""
        return True

    async def roomy(self) -> None:
        """There is room."""

    async def read(self, batch_id: str, index: int) -> Settled:
        """What was appended."""
        return Settled(self._of(batch_id, index), frozenset())

    async def seal(self, batch_id: str) -> "MemorySealed":
        """What there is."""
        return MemorySealed(self, batch_id)

    async def drop(self, batch_id: str) -> None:
        """Forget the batch."""
        for key in [key for key in self._shards if key[0] == batch_id]:
            del self._shards[key]

    async def held(self) -> Sequence[str]:
        """The batches with segments."""
        return list({batch_id for batch_id, _ in self._shards})

    async def close(self) -> None:
        """Nothing is open."""

    def observe(self, metrics: JournalMetrics) -> None:
        """Nothing waits."""

    def _of(self, batch_id: str, index: int) -> dict[int, Record]:
        return self._shards.setdefault((batch_id, index), {})


class MemorySealed:
    """See the port Sealed."""

    shards_ahead = 0

    def __init__(self, journal: MemoryJournal, batch_id: str) -> None:
        self._journal = journal
        self._batch_id = batch_id

    async def read(self, index: int) -> Settled:
        """What was appended."""
        return await self._journal.read(self._batch_id, index)

    async def stands(self) -> bool:
        """Nobody else could drop it."""
        return True
