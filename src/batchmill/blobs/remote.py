"""Blobs in a bucket: S3 and what speaks as it does, Google's and Azure's.

Imported only where a bucket is configured.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

import obstore
from obstore.store import ObjectStore

from batchmill.blobs.faults import faults_named
from batchmill.blobs.keys import check_key
from batchmill.blobs.remote_writer import RemoteWriter
from batchmill.domain.errors import StorageAway
from batchmill.ports import BlobMissing

CHUNK_BYTES = 1024 * 1024
_MOST_AHEAD = 4


class RemoteBlobs:
    """Blobs in ``bucket``, each an object under its key; see the port.

    Any number of processes may use one bucket. A key that is malformed raises
    ValueError, and every method StorageAway.
    """

    def __init__(self, bucket: ObjectStore) -> None:
        self._bucket = bucket

    async def create(self, key: str) -> RemoteWriter:
        """Begin to write; a blob that stands under ``key`` is replaced at commit."""
        return RemoteWriter(self._bucket, check_key(key))

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Bytes ``[start, end)`` in chunks of 1 MiB, some read ahead; raises BlobMissing.

        A range that reaches beyond the end stops there. Each chunk is a request
        of its own, so a slow reader holds no connection; a blob that is deleted
        meanwhile is missing from then on, and two blobs are never mixed.
        """
        if start < 0 or (end is not None and end < 0):
            raise ValueError(f"A range of bytes cannot be [{start}, {end}).")
        with faults_named(check_key(key)):
            found = await obstore.head_async(self._bucket, key)
        stop = found["size"] if end is None else min(end, found["size"])
        ahead: deque[asyncio.Task[bytes]] = deque()
        width = 1  # grows, since whoever leaves early has seen enough of the first chunks
        try:
            while start < stop or ahead:
                while start < stop and len(ahead) < width:
                    upto = min(start + CHUNK_BYTES, stop)
                    fetching = self._fetch(key, found["e_tag"], start, upto)
                    ahead.append(asyncio.create_task(fetching))
                    start = upto
                width = min(width + 1, _MOST_AHEAD)
                yield await ahead.popleft()
        finally:
            for task in ahead:
                task.cancel()
            await asyncio.gather(*ahead, return_exceptions=True)

    async def _fetch(self, key: str, e_tag: str | None, start: int, end: int) -> bytes:
        with faults_named(key):
            options: obstore.GetOptions = {"range": (start, end), "if_match": e_tag}
            result = await obstore.get_async(self._bucket, key, options=options)
            chunk = bytes(await result.bytes_async())
        if len(chunk) != end - start:
            raise StorageAway(
                f"The object store answered with a part of what was asked of '{key}'."
            )
        return chunk

    async def open(self, key: str) -> None:
        """None: the bytes of a bucket are no file of this machine."""

    async def delete(self, key: str) -> None:
        """Remove the blob; without one, do nothing."""
        with suppress(BlobMissing), faults_named(check_key(key)):
            await obstore.delete_async(self._bucket, key)

    async def sweep_partials(self) -> int:
        """Nothing: parts of uploads that ended unfinished are for the bucket's lifecycle rule."""
        return 0
