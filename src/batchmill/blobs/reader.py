"""Reading a range of a blob in chunks. It blocks, and belongs in a thread.

The file stays open from the first chunk to ``close``, so a blob that is
deleted or replaced meanwhile is read on as it was.
"""

import os
import stat
from io import FileIO
from pathlib import Path

from batchmill.ports import BlobMissing

CHUNK_BYTES = 1024 * 1024


class RangeReader:
    """Bytes ``[start, end)`` of the file at ``path``, chunk by chunk."""

    def __init__(self, path: Path, start: int, end: int | None) -> None:
        if start < 0 or (end is not None and end < 0):
            raise ValueError(f"A range of bytes cannot be [{start}, {end}).")
        self._path = path
        self._at = start
        self._end = end
        self._fd: int | None = None

    def next_chunk(self) -> bytes:
        """The next chunk, empty at the end of the range; raises BlobMissing."""
        if self._fd is None:
            self._fd, size = _open(self._path)
            self._end = size if self._end is None else min(self._end, size)
        wanted = max(0, min(CHUNK_BYTES, (self._end or 0) - self._at))
        chunk = os.pread(self._fd, wanted, self._at)
        self._at += len(chunk)
        return chunk

    @property
    def is_over(self) -> bool:
        """Whether the last chunk reached the end of the range."""
        return self._end is not None and self._at >= self._end

    def close(self) -> None:
        """Close the file, if it was opened."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _open(path: Path) -> tuple[int, int]:
    """The descriptor and the size of a blob, in as few steps as can be; raises BlobMissing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BlobMissing(path.name) from error
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        os.close(fd)
        raise BlobMissing(path.name)
    return fd, status.st_size


def open_blob(path: Path) -> FileIO:
    """The blob that is the file at ``path``; raises BlobMissing."""
    fd, _ = _open(path)
    return FileIO(fd)
