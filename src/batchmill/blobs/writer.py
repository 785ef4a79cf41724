"""Writing one blob: to a partial file in a thread, then under its key at commit.

Data is handed to a thread in groups, and the next group is gathered while the
last one is written. One thread at a time touches the partial file.
"""

import asyncio
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from io import FileIO
from os import fsync
from pathlib import Path
from typing import TypeVar

from batchmill.blobs import disk
from batchmill.blobs.partials import Partials
from batchmill.ports import StoredBlob

Answer = TypeVar("Answer")

# Large blocks go as they come; only smaller ones are put together.
GROUP_BYTES = 512 * 1024
PAGE_BYTES = 4096


class PartialFile:
    """The blocking side of a writer. A step that fails removes the file before it raises."""

    def __init__(self, key: str, folders: disk.Folders, partials: Partials) -> None:
        self._key = key
        self._folders = folders
        self._partials = partials
        self._path: Path | None = None
        self._file: FileIO | None = None
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._pushed = 0
        # Set by another thread: nothing is to stand under the key.
        self.is_unwanted = False

    def append(self, group: Sequence[bytes]) -> None:
        """Write and hash ``group``; raises StorageFull."""
        with disk.full_disk_named(self._key), _undoing(self.discard):
            self._push_out(self._add(group))

    def finish(self, group: Sequence[bytes]) -> StoredBlob:
        """Write the last group, make all durable and then put it under its key, durably as well.

        In one go: each turn of a thread costs more than most of these steps. Where it is unwanted
        by then, it is not put there. Raises StorageFull.
        """
        with disk.full_disk_named(self._key), _undoing(self.discard):
            file = self._add(group)
            fsync(file.fileno())
            file.close()
            assert self._path is not None  # noqa: S101 - it was opened
            if not self.is_unwanted:
                self._folders.place(self._path, self._folders.root / self._key)
        return StoredBlob(self._key, self._bytes, self._digest.hexdigest())

    def discard(self) -> None:
        """Close and remove the partial file, if there is one."""
        if self._file is not None:
            self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _add(self, group: Sequence[bytes]) -> FileIO:
        file = self._opened()
        # One piece: each call below lets go of the interpreter lock, and getting
        # it back from a busy event loop takes long.
        data = group[0] if len(group) == 1 else b"".join(group)
        self._digest.update(data)
        self._bytes += len(data)
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]
        return file

    def _push_out(self, file: FileIO) -> None:
        """Have the disk begin with what was written, so that the sync finds little left to do.

        It makes nothing durable. Linux, told that whole pages are not needed, begins to
        write them; it would drop those that are written already, which none of these is yet.
        """
        if sys.platform != "linux":
            return
        end = self._bytes - self._bytes % PAGE_BYTES
        os.posix_fadvise(file.fileno(), self._pushed, end - self._pushed, os.POSIX_FADV_DONTNEED)
        self._pushed = end

    def _opened(self) -> FileIO:
        if self._file is None:
            self._path = self._partials.new_path()
            self._file = FileIO(self._path, "xb")
        return self._file


class LocalWriter:
    """A blob that is being written; see the port. For one task at a time.

    After an error or a cancelled call only ``abort`` makes sense.
    """

    def __init__(self, file: PartialFile, threads: Executor) -> None:
        self._file = file
        self._threads = threads
        self._group: list[bytes] = []
        self._group_bytes = 0
        self._in_flight: asyncio.Future[None] | asyncio.Future[StoredBlob] | None = None
        self._committed = False

    async def write(self, data: bytes) -> None:
        """Append ``data``; raises StorageFull, maybe for what an earlier call brought."""
        self._group.append(data)
        self._group_bytes += len(data)
        if self._group_bytes >= GROUP_BYTES:
            await self._landed()
            self._in_flight = self._start(self._file.append, self._take_group())

    async def commit(self) -> StoredBlob:
        """Make the blob durable under its key; raises StorageFull and then leaves nothing."""
        await self._landed()
        finishing = self._start(self._file.finish, self._take_group())
        self._in_flight = finishing
        stored = await asyncio.shield(finishing)
        self._committed = True
        return stored

    async def abort(self) -> None:
        """Leave nothing behind; harmless after ``commit``."""
        if self._committed:
            return
        self._file.is_unwanted = True
        if self._in_flight is not None:
            await asyncio.wait([self._in_flight])
        await asyncio.shield(self._start(self._file.discard))

    async def _landed(self) -> None:
        # The shield keeps a cancelled caller from tearing a hole into the file:
        # a group that was handed over is written, or its error is kept.
        if self._in_flight is not None:
            await asyncio.shield(self._in_flight)

    def _take_group(self) -> Sequence[bytes]:
        group, self._group, self._group_bytes = self._group, [], 0
        return group

    def _start(self, step: Callable[..., Answer], *args: object) -> asyncio.Future[Answer]:
        return asyncio.get_running_loop().run_in_executor(self._threads, step, *args)


@contextmanager
def _undoing(undo: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        undo()
        raise
