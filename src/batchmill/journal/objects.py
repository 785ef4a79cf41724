"""The journal in a bucket: part objects by time and size, never replaced.

``extent`` says what of them counts. A part that finds the bucket away is
tried again for as long as it takes; what piles up meanwhile is held back by
``roomy``, so memory is bounded. Imported only where a bucket is configured.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BytesIO
from uuid import uuid4

import msgspec
from obstore.store import ObjectStore

from batchmill.domain.errors import StorageAway
from batchmill.domain.shards import FIRST_ATTEMPT, Shard
from batchmill.journal.extent import (
    ROOT,
    Extent,
    Head,
    Listing,
    Seal,
    batch_folder,
    head_key,
    part_keys,
    seal_key,
    shard_folder,
    sort_by_shard,
)
from batchmill.journal.object_segment import ObjectSegment
from batchmill.journal.record import decode
from batchmill.journal.shelf import Shelf
from batchmill.ports import Record, Settled
from batchmill.telemetry import Fact, JournalMetrics, get_logger

log = get_logger()

_RETRY_SECONDS = 1.0


class ObjectJournal:
    """Segments in ``bucket``; ``interval`` seconds make a group. See the port.

    Whatever reads or opens raises StorageAway where the bucket does not answer.
    """

    def __init__(
        self, bucket: ObjectStore, interval: float = 0.5, max_pending_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self._shelf = Shelf(bucket)
        self.interval = interval
        self._max_pending = max_pending_bytes
        self.pending_bytes = 0
        self._away = 0
        self._roomy = asyncio.Event()
        self._roomy.set()
        self._segments: set[ObjectSegment] = set()

    async def open(
        self,
        shard: Shard,
        on_durable: Callable[[Sequence[Record]], None],
        before: Settled | None = None,
    ) -> ObjectSegment:
        """Begin the segment of ``shard.attempt``, and shut out the earlier ones."""
        batch_id, index = shard.batch_id, shard.index
        source = before.source if before is not None else None
        extent = source if isinstance(source, tuple) else await self._extent_now(batch_id, index)
        head = msgspec.json.encode(Head(uuid4().hex, extent))
        await self._shelf.add(head_key(batch_id, index, shard.attempt), head)
        segment = ObjectSegment(self, shard, on_durable)
        self._forget_closed()
        self._segments.add(segment)
        return segment

    @property
    def is_roomy(self) -> bool:
        """Whether not too much waits to be written."""
        self.note_room()
        return self._roomy.is_set()

    async def roomy(self) -> None:
        """Wait while the bucket is away, or while too much waits to be written."""
        self.note_room()
        await self._roomy.wait()

    async def read(self, batch_id: str, index: int) -> Settled:
        """What counts of a shard, first come first."""
        return await self.read_extent(batch_id, index, await self._extent_now(batch_id, index))

    async def read_extent(self, batch_id: str, index: int, extent: Extent) -> Settled:
        """What these parts hold, first come first."""
        parts = await self._shelf.get_all(part_keys(batch_id, index, extent))
        records, sent = await asyncio.to_thread(_merge, parts)
        return Settled(records, sent, extent)

    async def seal(self, batch_id: str) -> "SealedBatch":
        """Settle which parts count, for good; the first who seals says which."""
        while True:
            made = msgspec.json.encode(Seal(uuid4().hex, await self._extents_now(batch_id)))
            try:
                await self._shelf.add(seal_key(batch_id), made)
            except FileExistsError:
                found = await self._shelf.get(seal_key(batch_id))
                if found is None:  # dropped this moment: whoever sealed it has delivered
                    continue
                made = found
            return SealedBatch(self, batch_id, made)

    async def has_seal(self, batch_id: str, data: bytes) -> bool:
        """Whether this very seal still stands."""
        return await self._shelf.get(seal_key(batch_id)) == data

    async def drop(self, batch_id: str) -> None:
        """Remove all of the batch, the seal first: who reads under it must see that it is gone."""
        await self._shelf.remove([seal_key(batch_id)])
        await self._shelf.remove(await self._shelf.paths(batch_folder(batch_id)))

    async def held(self) -> Sequence[str]:
        """The ids of the batches that there is anything of."""
        return await self._shelf.folders(ROOT)

    async def close(self) -> None:
        """Write no more; open segments are closed by their owners before."""
        await asyncio.gather(*(segment.halt() for segment in self._segments))

    def observe(self, metrics: JournalMetrics) -> None:
        """Show what waits to be durable, and how long the last groups took."""
        now = asyncio.get_running_loop().time()
        longest = 0.0
        for segment in self._segments:
            longest = max(longest, segment.watch.take_longest(now))
            segment.watch.tell_syncs(metrics)
        metrics.lag_seconds.set(longest)
        metrics.pending_bytes.set(self.pending_bytes)
        metrics.storage_full.set(self._away > 0)
        self._forget_closed()

    # --- what segments ask for ---

    async def keep(self, key: str, data: bytes) -> None:
        """Write a part, however long the bucket is away; raises FileExistsError."""
        try:
            await self._shelf.add(key, data)
        except StorageAway as error:
            await self._keep_trying(key, data, error)

    async def _keep_trying(self, key: str, data: bytes, error: StorageAway) -> None:
        self._away += 1
        if self._away == 1:
            log.error(Fact.STORAGE_AWAY, fault="journal", exc_info=error)
        self.note_room()
        try:
            while True:
                await asyncio.sleep(_RETRY_SECONDS)
                with suppress(StorageAway):
                    return await self._shelf.add(key, data)
        finally:
            self._away -= 1
            if not self._away:
                log.info(Fact.STORAGE_BACK, fault="journal")
            self.note_room()

    def note_room(self) -> None:
        """Let new work in, or hold it back."""
        if self._away or self.pending_bytes > self._max_pending:
            self._roomy.clear()
        else:
            self._roomy.set()

    # --- what counts ---

    async def _extent_now(self, batch_id: str, index: int) -> Extent:
        listing = Listing()
        folder = shard_folder(batch_id, index)
        for path in await self._shelf.paths(folder):
            listing.note(path[len(folder) + 1 :])
        return await self._reach(batch_id, index, listing)

    async def _extents_now(self, batch_id: str) -> dict[int, Extent]:
        paths = await self._shelf.paths(batch_folder(batch_id))
        listings = sort_by_shard(batch_id, paths)
        reaches = [self._reach(batch_id, index, one) for index, one in listings.items()]
        return dict(zip(listings, await asyncio.gather(*reaches), strict=True))

    async def _reach(self, batch_id: str, index: int, listing: Listing) -> Extent:
        newest = listing.newest
        if newest is None or listing.heads == {FIRST_ATTEMPT}:
            return listing.reach(())
        data = await self._shelf.get(head_key(batch_id, index, newest))
        if data is None:  # the batch is being dropped
            return ()
        return listing.reach(msgspec.json.decode(data, type=Head).before)

    def _forget_closed(self) -> None:
        self._segments = {one for one in self._segments if not one.is_over}


class SealedBatch:
    """See the port Sealed."""

    shards_ahead = 2

    def __init__(self, journal: ObjectJournal, batch_id: str, data: bytes) -> None:
        self._journal = journal
        self._batch_id = batch_id
        self._data = data
        self._shards = msgspec.json.decode(data, type=Seal).shards

    async def read(self, index: int) -> Settled:
        """What counts of a shard, first come first."""
        return await self._journal.read_extent(self._batch_id, index, self._shards.get(index, ()))

    async def stands(self) -> bool:
        """Whether this very seal still stands, and so all that it speaks of."""
        return await self._journal.has_seal(self._batch_id, self._data)


def _merge(parts: Sequence[bytes | None]) -> tuple[dict[int, Record], frozenset[int]]:
    found: dict[int, Record] = {}
    sent: set[int] = set()
    for part in parts:
        records, numbers = decode(BytesIO(part or b""))
        sent.update(numbers)
        for record in records:
            found.setdefault(record.number, record)
    return found, frozenset(sent)
