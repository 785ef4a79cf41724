"""Uploads: a file that arrives in parts.

Parts are blobs of their own, in any order and in parallel; completing copies
them in the order asked for into one new blob, with the checks of a plain
upload. Only what is pending takes parts, and only until its hour is over.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from secrets import token_bytes

from batchmill.domain import ids
from batchmill.domain.errors import InvalidRequest, NotFound, StorageFull
from batchmill.domain.file import File, Purpose, Upload, UploadPart, UploadStatus
from batchmill.domain.limits import Limits
from batchmill.ports import BlobMissing, Blobs, BlobWriter, Clock, QuotaReached, Store
from batchmill.service.caller import Caller
from batchmill.service.drafts import Draft, begin_draft
from batchmill.service.files import FileSpec, check_spec, label, new_file
from batchmill.service.refusals import (
    is_plausible_id,
    quota_reached,
    require_text,
    require_within,
    shorten,
    too_large,
)
from batchmill.service.room import quota_of
from batchmill.telemetry import Fact, get_logger

_log = get_logger()

_MAX_PARTS = 10_000
_MAX_MIME_CHARS = 255


@dataclass(frozen=True, slots=True)
class UploadSpec:
    """What the caller announces; ``bytes`` is the size of the whole file."""

    file: FileSpec
    bytes: int
    mime_type: str


@dataclass(frozen=True, slots=True)
class UploadState:
    """An upload as it stands now, with its file once it is completed and still there."""

    upload: Upload
    file: File | None = None


class PartDraft:
    """The bytes of one part, on their way in."""

    def __init__(self, upload: Upload, writer: BlobWriter, *, part_id: str, room: int) -> None:
        self.upload = upload
        self.part_id = part_id
        self.writer = writer
        self._room = room
        self._limit = room

    async def write(self, block: bytes) -> None:
        """Append; raises TooLarge and StorageFull."""
        self._room -= len(block)
        if self._room < 0:
            raise too_large(self._limit, param="data")
        await self.writer.write(block)


class Uploads:
    """The use-cases of uploads."""

    def __init__(self, *, store: Store, blobs: Blobs, clock: Clock, limits: Limits) -> None:
        self._rows = store.uploads
        self._files = store.files
        self._blobs = blobs
        self._clock = clock
        self._limits = limits

    async def create(self, caller: Caller, spec: UploadSpec) -> UploadState:
        """Announce a file, which takes its room; raises InvalidRequest, TooLarge, QuotaExceeded."""
        check_spec(spec.file, self._limits)
        require_within(spec.bytes, low=1, high=self._limits.max_upload_bytes, param="bytes")
        require_text(spec.mime_type, low=0, high=_MAX_MIME_CHARS, param="mime_type")
        if spec.bytes > self._limits.max_file_bytes:
            raise too_large(self._limits.max_file_bytes, param="bytes")
        upload = self._new_upload(caller, spec)
        try:
            await self._rows.add(upload, quota_of(self._limits))
        except QuotaReached as reached:
            raise quota_reached(reached.of) from None
        _log.info(Fact.UPLOAD_STARTED, upload_id=upload.id, bytes=upload.bytes)
        return UploadState(upload)

    def _new_upload(self, caller: Caller, spec: UploadSpec) -> Upload:
        now = self._clock.now()
        return Upload(
            id=ids.upload_id(token_bytes(16)),
            account=caller.account,
            purpose=Purpose.BATCH,
            filename=label(spec.file.filename),
            bytes=spec.bytes,
            mime_type=spec.mime_type,
            status=UploadStatus.PENDING,
            created_at=now,
            expires_at=now + self._limits.upload_ttl,
            file_expires_after=spec.file.expires_after,
        )

    @asynccontextmanager
    async def begin_part(self, caller: Caller, upload_id: str) -> AsyncIterator[PartDraft]:
        """Begin to take a part; raises NotFound and InvalidRequest. What is not kept is gone."""
        upload = await self._pending(caller, upload_id)
        part_id = ids.part_id(token_bytes(16))
        room = min(self._limits.max_part_bytes, await self._room(upload))
        writer = await self._blobs.create(f"uploads/{upload.id}/{part_id}")
        try:
            yield PartDraft(upload, writer, part_id=part_id, room=room)
        finally:
            await writer.abort()

    async def _room(self, upload: Upload) -> int:
        """Parts may be sent again, but an upload may not hold more than twice its size."""
        parts = await self._rows.parts(upload.id)
        room = 2 * upload.bytes - sum(part.bytes for part in parts)
        if room <= 0 or len(parts) >= _MAX_PARTS:
            message = f"Upload '{upload.id}' has too many parts: complete it or cancel it."
            raise InvalidRequest(message, param="data")
        return room

    async def keep_part(self, caller: Caller, draft: PartDraft) -> UploadPart:
        """Make a draft a part; raises InvalidRequest where the upload takes no more."""
        stored = await draft.writer.commit()
        now = self._clock.now()
        part = UploadPart(draft.part_id, draft.upload.id, stored.bytes, stored.key, now)
        if not await self._rows.add_part(part):
            await self._blobs.delete(stored.key)
            await self._pending(caller, draft.upload.id)
        return part

    async def complete(
        self, caller: Caller, upload_id: str, part_ids: Sequence[str], md5: str | None
    ) -> UploadState:
        """Make the parts a file, in this order; an upload that is completed stays as it is.

        Raises NotFound, InvalidRequest, QuotaExceeded and StorageFull.
        """
        state = await self.retrieve(caller, upload_id)
        if state.upload.status is UploadStatus.COMPLETED:
            return state
        upload = _require_pending(state.upload)
        parts = _pick(await self._rows.parts(upload.id), part_ids)
        _check_total(upload, parts)
        async with begin_draft(self._blobs, self._limits) as draft:
            try:
                await self._join(parts, draft, md5)
            except BlobMissing:
                return await self._ended_meanwhile(caller, upload.id)
            return await self._close_with_file(caller, upload, draft)

    async def _join(self, parts: Sequence[UploadPart], draft: Draft, md5: str | None) -> None:
        digest = hashlib.md5(usedforsecurity=False)
        for part in parts:
            async for chunk in self._blobs.read(part.blob):
                if md5 is not None:
                    digest.update(chunk)
                await draft.write(chunk)
        if md5 is not None and md5.lower() != digest.hexdigest():
            message = "The md5 of the parts is not the one given: send the damaged part again."
            raise InvalidRequest(message, param="md5", code="md5_mismatch")

    async def _close_with_file(self, caller: Caller, upload: Upload, draft: Draft) -> UploadState:
        spec = FileSpec(upload.filename, upload.purpose, upload.file_expires_after)
        stored = await draft.commit()
        file = new_file(caller, draft, spec, blob=stored, now=self._clock.now())
        done = replace(upload, status=UploadStatus.COMPLETED, file_id=file.id)
        try:
            was_pending = await self._rows.complete(done, file, quota_of(self._limits))
        except QuotaReached as reached:
            await self._blobs.delete(file.blob)
            raise quota_reached(reached.of) from None
        except StorageFull:
            await self._blobs.delete(file.blob)
            raise
        if not was_pending:
            await self._blobs.delete(file.blob)
            return await self._ended_meanwhile(caller, upload.id)
        _log.info(Fact.UPLOAD_COMPLETED, upload_id=upload.id, file_id=file.id, bytes=file.bytes)
        await self._drop_parts(upload.id)
        return UploadState(done, file)

    async def _ended_meanwhile(self, caller: Caller, upload_id: str) -> UploadState:
        """What another request made of the upload: the same file, or none."""
        state = await self.retrieve(caller, upload_id)
        if state.upload.status is UploadStatus.PENDING:
            raise BlobMissing(upload_id)
        if state.upload.status is not UploadStatus.COMPLETED:
            _require_pending(state.upload)
        return state

    async def cancel(self, caller: Caller, upload_id: str) -> UploadState:
        """Give an upload up; raises NotFound, and InvalidRequest where it is completed."""
        upload = (await self.retrieve(caller, upload_id)).upload
        if upload.status is not UploadStatus.CANCELLED:
            cancelled = replace(_require_pending(upload), status=UploadStatus.CANCELLED)
            if await self._rows.close(cancelled):
                _log.info(Fact.UPLOAD_CANCELLED, upload_id=upload.id)
                await self._drop_parts(upload.id)
                return UploadState(cancelled)
            upload = (await self.retrieve(caller, upload_id)).upload
        if upload.status is not UploadStatus.CANCELLED:
            _require_pending(upload)
        return UploadState(upload)

    async def retrieve(self, caller: Caller, upload_id: str) -> UploadState:
        """The upload as it stands now; raises NotFound."""
        plausible = is_plausible_id(upload_id)
        upload = await self._rows.get(caller.account, upload_id) if plausible else None
        if upload is None:
            raise NotFound(f"No such Upload object: {shorten(upload_id)}", param="upload_id")
        is_over = upload.status is UploadStatus.PENDING and self._clock.now() >= upload.expires_at
        if is_over:
            upload = replace(upload, status=UploadStatus.EXPIRED)
        file_id = upload.file_id
        file = await self._files.get(caller.account, file_id) if file_id is not None else None
        return UploadState(upload, file)

    async def _pending(self, caller: Caller, upload_id: str) -> Upload:
        return _require_pending((await self.retrieve(caller, upload_id)).upload)

    async def _drop_parts(self, upload_id: str) -> None:
        for part in await self._rows.parts(upload_id):
            await self._blobs.delete(part.blob)


def _require_pending(upload: Upload) -> Upload:
    if upload.status is not UploadStatus.PENDING:
        message = f"Upload '{upload.id}' is {upload.status}: it can no longer be changed."
        raise InvalidRequest(message, param="upload_id", code="upload_not_pending")
    return upload


def _pick(parts: Sequence[UploadPart], part_ids: Sequence[str]) -> list[UploadPart]:
    """The parts in the order asked for; raises InvalidRequest for unknown and doubled ids."""
    by_id = {part.id: part for part in parts}
    picked: list[UploadPart] = []
    for part_id in part_ids:
        part = by_id.pop(part_id, None)
        if part is None:
            message = f"Part '{shorten(part_id)}' is not of this upload, or is named twice."
            raise InvalidRequest(message, param="part_ids", code="invalid_value")
        picked.append(part)
    return picked


def _check_total(upload: Upload, parts: Sequence[UploadPart]) -> None:
    total = sum(part.bytes for part in parts)
    if total != upload.bytes:
        message = (
            f"The parts hold {total} bytes, but the upload was created for {upload.bytes}: "
            "send what is missing, or name every part."
        )
        raise InvalidRequest(message, param="part_ids", code="size_mismatch")
