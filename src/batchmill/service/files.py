"""Files: upload, list, retrieve, delete, read.

A file that is refused leaves nothing behind. Deleting takes the row first and
the bytes after it, so that no row ever stands without its bytes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from batchmill.domain.errors import Conflict, NotFound, StorageFull
from batchmill.domain.file import File, Purpose
from batchmill.domain.limits import Limits
from batchmill.ports import (
    BlobMissing,
    Blobs,
    Clock,
    CursorUnknown,
    FileQuery,
    FileStore,
    Page,
    QuotaReached,
    StoredBlob,
)
from batchmill.service.caller import Caller
from batchmill.service.deeds import deed_of
from batchmill.service.drafts import Draft, begin_draft
from batchmill.service.refusals import (
    invalid_value,
    is_plausible_id,
    quota_reached,
    require_within,
)
from batchmill.service.room import Landlord, open_room, quota_of
from batchmill.service.streams import begin
from batchmill.telemetry import Fact, get_logger

_log = get_logger()

_MAX_NAME_CHARS = 1024


@dataclass(frozen=True, slots=True)
class FileSpec:
    """What the caller says about a file; ``expires_after`` is seconds from its creation."""

    filename: str
    purpose: str
    expires_after: int | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """What an account keeps, and how much it may; uploads under way are among it."""

    files: int
    bytes: int
    max_files: int
    max_bytes: int


class Files:
    """The use-cases of files."""

    def __init__(self, *, store: FileStore, blobs: Blobs, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._limits = limits

    @asynccontextmanager
    async def draft(self, caller: Caller, announced: int | None = None) -> AsyncIterator[Draft]:
        """Begin to take the bytes of a file; raises QuotaExceeded and StorageFull.

        ``announced`` is the size of the request's body, where it is known.
        """
        landlord = Landlord(self._store, self._clock, self._limits)
        async with (
            open_room(landlord, account=caller.account, announced=announced) as room,
            begin_draft(self._blobs, self._limits, room) as draft,
        ):
            yield draft

    async def keep(self, caller: Caller, draft: Draft, spec: FileSpec) -> File:
        """Make a draft a file; raises InvalidRequest, QuotaExceeded and StorageFull."""
        check_spec(spec, self._limits)
        file = new_file(caller, draft, spec, blob=await draft.commit(), now=self._clock.now())
        try:
            await self._store.add(file, quota_of(self._limits))
        except QuotaReached as reached:
            await self._blobs.delete(file.blob)
            raise quota_reached(reached.of) from None
        except StorageFull:
            await self._blobs.delete(file.blob)
            raise
        if draft.room is not None:
            draft.room.settle()
        _log.info(Fact.FILE_STORED, file_id=file.id, bytes=file.bytes)
        return file

    async def retrieve(self, caller: Caller, file_id: str) -> File:
        """The file; raises NotFound, also where its life is over."""
        plausible = is_plausible_id(file_id)
        file = await self._store.get(caller.account, file_id) if plausible else None
        if file is None or file.is_expired(self._clock.now()):
            raise unknown_file(file_id)
        return file

    async def list(self, caller: Caller, query: FileQuery) -> Page[File]:
        """A page of files by time of creation; raises NotFound for an unknown ``after``."""
        try:
            return await self._store.list(caller.account, query)
        except CursorUnknown:
            raise unknown_file(query.after or "", param="after") from None

    async def room(self, caller: Caller) -> Space:
        """How much of its quota the caller's account has used."""
        kept = await self._store.kept(caller.account, self._clock.now())
        quota = quota_of(self._limits)
        return Space(kept.files, kept.bytes, max_files=quota.files, max_bytes=quota.bytes)

    async def delete(self, caller: Caller, file_id: str) -> None:
        """Delete; raises NotFound, and Conflict while an unfinished batch uses the file."""
        file = await self.retrieve(caller, file_id)
        deed = deed_of(caller, "file.deleted", file_id, self._clock.now())
        batch_id = await self._store.delete(caller.account, file_id, deed)
        if batch_id is not None:
            message = (
                f"File '{file_id}' is the input of batch '{batch_id}', which is not finished: "
                "cancel that batch or wait for its end before you delete the file."
            )
            raise Conflict(message, param="id", code="file_in_use")
        await self._blobs.delete(file.blob)
        _log.info(Fact.FILE_DELETED, file_id=file_id)

    async def read(
        self, caller: Caller, file: File, *, start: int, end: int
    ) -> AsyncIterator[bytes]:
        """Bytes ``[start, end)``; raises NotFound before the first if the file went meanwhile."""
        try:
            return await begin(self._blobs.read(file.blob, start, end))
        except BlobMissing:
            await self.retrieve(caller, file.id)
            raise

    async def open(self, caller: Caller, file: File) -> BinaryIO | None:
        """The bytes as an open file, the caller's to close; None where they lie elsewhere.

        Raises NotFound if the file went meanwhile.
        """
        try:
            return await self._blobs.open(file.blob)
        except BlobMissing:
            await self.retrieve(caller, file.id)
            raise


def check_spec(spec: FileSpec, limits: Limits) -> None:
    """Raise InvalidRequest for a purpose or a life that a file cannot have."""
    check_purpose(spec.purpose)
    if spec.expires_after is not None:
        check_expires_after(spec.expires_after, limits, param="expires_after.seconds")


def check_purpose(purpose: str) -> None:
    """Raise InvalidRequest unless files of this purpose can be uploaded."""
    if purpose != Purpose.BATCH:
        raise invalid_value(purpose, [Purpose.BATCH], "purpose")


def check_expires_after(seconds: int, limits: Limits, *, param: str) -> None:
    """Raise InvalidRequest unless a file may live that long."""
    low, high = limits.expires_after_min, limits.expires_after_max
    require_within(seconds, low=low, high=high, param=param)


def new_file(caller: Caller, draft: Draft, spec: FileSpec, *, blob: StoredBlob, now: float) -> File:
    """The File of a committed draft."""
    return File(
        id=draft.file_id,
        account=caller.account,
        purpose=Purpose.BATCH,
        filename=label(spec.filename),
        bytes=blob.bytes,
        digest=blob.digest,
        blob=blob.key,
        created_at=now,
        expires_at=None if spec.expires_after is None else now + spec.expires_after,
    )


def label(filename: str) -> str:
    """The name as it was sent, without control characters: it is shown, never opened."""
    shown = "".join(char for char in filename if char.isprintable())
    return shown[:_MAX_NAME_CHARS] or "file.jsonl"


def unknown_file(file_id: str, param: str = "id") -> NotFound:
    """There is no such file for this caller."""
    return NotFound(f"No such File object: {file_id[:100]}", param=param)
