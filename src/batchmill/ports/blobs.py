"""Blobs: the bytes behind files."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A durable blob: its size and the SHA-256 of its bytes in hex."""

    key: str
    bytes: int
    digest: str


class BlobMissing(Exception):
    """There are no bytes under this key."""


class BlobWriter(Protocol):
    """A blob that is being written. It appears under its key at ``commit``, whole and durable."""

    async def write(self, data: bytes) -> None:
        """Append ``data``; raises StorageFull."""
        ...

    async def commit(self) -> StoredBlob:
        """Make the blob durable under its key; raises StorageFull."""
        ...

    async def abort(self) -> None:
        """Leave nothing behind; harmless after ``commit``."""
        ...


class Blobs(Protocol):
    """Bytes, addressed by key."""

    async def create(self, key: str) -> BlobWriter:
        """Begin to write; a blob that stands under ``key`` is replaced at commit."""
        ...

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Bytes ``[start, end)`` in chunks of about 1 MiB; raises BlobMissing."""
        ...

    async def open(self, key: str) -> BinaryIO | None:
        """The blob as an open file, None where it is no file of this machine.

        It is the caller's to close. Raises BlobMissing.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove the blob; without one, do nothing."""
        ...

    async def sweep_partials(self) -> int:
        """Remove what writers in dead processes left unfinished; how many blobs it was."""
        ...
