"""Writing one blob to an object store: one request if it is small, else part after part.

A multipart upload is not to be seen before it is complete, and replaces what
stood under the key in one step. Its parts of a process that died stay behind,
unseen; a lifecycle rule of the bucket removes them.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import obstore
from obstore.store import ObjectStore

from batchmill.blobs.faults import faults_named
from batchmill.ports import StoredBlob

PART_BYTES = 8 * 1024 * 1024
# The library holds the part that is filled besides those that are on their way.
_PARTS_IN_FLIGHT = 2
_GROUP_BYTES = 1024 * 1024
_GROUPS_QUEUED = 2


class _Aborted(Exception):
    """Told to the library, which then removes the parts that it has sent."""


class RemoteWriter:
    """A blob that is being written; see the port. For one task at a time.

    Holds about four parts at most. After an error or a cancelled call only
    ``abort`` makes sense.
    """

    def __init__(self, bucket: ObjectStore, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._group: list[bytes] = []
        self._group_bytes = 0
        # Until it is known that there will be more than one part.
        self._early: list[bytes] = []
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(_GROUPS_QUEUED)
        self._upload: asyncio.Task[None] | None = None
        self._is_aborted = False

    async def write(self, data: bytes) -> None:
        """Append ``data``; raises StorageAway, maybe for what an earlier call brought."""
        self._group.append(data)
        self._group_bytes += len(data)
        if self._group_bytes >= _GROUP_BYTES:
            await self._pass_on()

    async def commit(self) -> StoredBlob:
        """Make the blob durable under its key; raises StorageAway, and then nothing stands there.

        Unless the answer was lost on the way: then it may.
        """
        if self._group:
            await self._pass_on()
        if self._upload is None:
            self._upload = asyncio.create_task(self._put(b"".join(self._early)))
        else:
            await self._offer(None)
        await asyncio.shield(self._upload)
        return StoredBlob(self._key, self._bytes, self._digest.hexdigest())

    async def abort(self) -> None:
        """Leave nothing behind; harmless after ``commit``."""
        if self._upload is None:
            return
        if not self._upload.done():
            self._is_aborted = True
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queue.put_nowait(None)
            await asyncio.wait([self._upload])
        if not self._upload.cancelled():
            self._upload.exception()  # whoever wrote has heard of it, or does not care any more

    async def _pass_on(self) -> None:
        group, self._group, self._group_bytes = self._group, [], 0
        data = await asyncio.to_thread(self._absorb, group)
        if self._upload is not None:
            await self._offer(data)
            return
        self._early.append(data)
        if self._bytes >= PART_BYTES:
            self._upload = asyncio.create_task(self._put_parts())

    def _absorb(self, group: list[bytes]) -> bytes:
        data = group[0] if len(group) == 1 else b"".join(group)
        self._digest.update(data)
        self._bytes += len(data)
        return data

    async def _offer(self, data: bytes | None) -> None:
        """Queue a group (None ends the blob), unless the upload has failed: then raise that."""
        assert self._upload is not None  # noqa: S101 - begun before anything is offered
        putting = asyncio.ensure_future(self._queue.put(data))
        try:
            await asyncio.wait({putting, self._upload}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            putting.cancel()
        if not putting.done() or putting.cancelled() or self._upload.done():
            await self._upload

    async def _put(self, data: bytes) -> None:
        with faults_named(self._key):
            await obstore.put_async(self._bucket, self._key, data, use_multipart=False)

    async def _put_parts(self) -> None:
        with faults_named(self._key):
            await obstore.put_async(
                self._bucket,
                self._key,
                self._groups(),
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=_PARTS_IN_FLIGHT,
            )

    async def _groups(self) -> AsyncIterator[bytes]:
        for early in self._taken_early():
            yield early
        while (group := await self._queue.get()) is not None and not self._is_aborted:
            yield group
        if self._is_aborted:
            raise _Aborted

    def _taken_early(self) -> list[bytes]:
        early, self._early = self._early, []
        return early
