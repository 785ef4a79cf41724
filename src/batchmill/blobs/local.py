"""Blobs in a local folder: written durably, read in chunks, off the event loop.

Plain files, and not obstore, which serves object stores: its local store
(0.12) renames without syncing file or folder and has no switch for it, so a
committed upload could be lost to a power cut; it also reads in 8 KiB pieces,
at a fraction of the speed. No partial bytes ever stand under a key.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from batchmill.blobs.disk import Folders
from batchmill.blobs.keys import check_key
from batchmill.blobs.partials import Partials
from batchmill.blobs.reader import RangeReader, open_blob
from batchmill.blobs.writer import LocalWriter, PartialFile

# Threads wait for the disk most of the time; a slow sync must not hold up reads.
_THREADS = 8


class LocalBlobs:
    """Blobs under ``root``, each in the file that its key names; see the port.

    Any number of processes may use one root. A key that is malformed raises
    ValueError.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._folders = Folders(self._root)
        self._partials = Partials(self._root / ".partial")
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="blobs")

    async def create(self, key: str) -> LocalWriter:
        """Begin to write; a blob that stands under ``key`` is replaced at commit."""
        file = PartialFile(check_key(key), self._folders, self._partials)
        return LocalWriter(file, self._threads)

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Bytes ``[start, end)`` in chunks of 1 MiB, one read ahead; raises BlobMissing.

        A range that reaches beyond the end stops there.
        """
        reader = RangeReader(self._root / check_key(key), start, end)
        ahead = self._threads.submit(reader.next_chunk)
        try:
            while chunk := await asyncio.wrap_future(ahead):
                is_last = reader.is_over
                if not is_last:
                    ahead = self._threads.submit(reader.next_chunk)
                yield chunk
                if is_last:
                    break
        finally:
            # Not before the chunk being read is in: its descriptor could be another file's.
            ahead.add_done_callback(lambda _: reader.close())

    async def open(self, key: str) -> BinaryIO:
        """The blob as an open file, the caller's to close; raises BlobMissing."""
        path = self._root / check_key(key)
        return await asyncio.get_running_loop().run_in_executor(self._threads, open_blob, path)

    async def delete(self, key: str) -> None:
        """Remove the blob; without one, do nothing."""
        path = self._root / check_key(key)
        await asyncio.get_running_loop().run_in_executor(self._threads, _remove, path)

    async def sweep_partials(self) -> int:
        """Remove what writers in dead processes left unfinished; how many blobs it was."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._partials.sweep)


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
        path.unlink()
