"""Drafts: the bytes of a file on their way in, before there is a File.

A draft that is not committed leaves nothing behind. The rule of this house
starts here: a File row exists only after its blob is durable.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_bytes

from batchmill import faultpoint
from batchmill.domain import ids
from batchmill.domain.limits import Limits
from batchmill.ports import Blobs, BlobWriter, StoredBlob
from batchmill.service.intake import Intake
from batchmill.service.room import Room


class Draft:
    """The bytes of a file-to-be, checked and written as they come.

    ``room`` None: what they need is taken already, by the upload of these parts.
    """

    def __init__(self, file_id: str, writer: BlobWriter, intake: Intake, room: Room | None) -> None:
        self.file_id = file_id
        self.room = room
        self._writer = writer
        self._intake = intake

    async def write(self, block: bytes) -> None:
        """Append; raises TooLarge, InvalidRequest, QuotaExceeded and StorageFull."""
        self._intake.feed(block)
        if self.room is not None:
            await self.room.cover(self._intake.size)
        await self._writer.write(block)

    async def commit(self) -> StoredBlob:
        """Check the whole and make it durable; raises InvalidRequest and StorageFull."""
        self._intake.finish()
        faultpoint.passed("upload.before_blob")
        stored = await self._writer.commit()
        faultpoint.passed("upload.after_blob")
        return stored


@asynccontextmanager
async def begin_draft(
    blobs: Blobs, limits: Limits, room: Room | None = None
) -> AsyncIterator[Draft]:
    """A new draft; what was not committed when the block ends is gone."""
    file_id = ids.input_file_id(token_bytes(12)) if room is None else room.file_id
    writer = await blobs.create(blob_key(file_id))
    try:
        yield Draft(file_id, writer, Intake(limits), room)
    finally:
        await writer.abort()


def blob_key(file_id: str) -> str:
    """Where a file's bytes lie: spread over 256 folders."""
    name = file_id.rpartition("-")[2]
    return f"files/{name[:2]}/{name}"
