"""Sweeping: what nobody needs any more is removed, in steps that may be repeated.

A row goes before its bytes, so that no file is ever listed that cannot be
read. A crash between the two leaves bytes that nothing names.
"""

from dataclasses import replace

from batchmill.domain.file import UploadStatus
from batchmill.domain.rates import LONGEST_SECONDS
from batchmill.ports import Blobs, Clock, Journal, Store
from batchmill.telemetry import Fact, get_logger

log = get_logger()

_AT_ONCE = 100


class Sweeper:
    """Removes expired files, overdue uploads, stale counts, journals of ended batches."""

    def __init__(self, *, store: Store, blobs: Blobs, journal: Journal, clock: Clock) -> None:
        self._store = store
        self._blobs = blobs
        self._journal = journal
        self._clock = clock

    async def sweep(self) -> None:
        """One round of everything. Raises StorageFull."""
        await self._sweep_files()
        await self._sweep_uploads()
        await self._store.files.drop_stale(self._clock.now())
        await self._store.rates.forget(self._clock.now() - LONGEST_SECONDS)
        await self._sweep_journals()

    async def _sweep_files(self) -> None:
        for file in await self._store.files.expired(self._clock.now(), _AT_ONCE):
            if await self._store.files.delete(file.account, file.id) is None:
                await self._blobs.delete(file.blob)
                log.info(Fact.FILE_EXPIRED, file_id=file.id)

    async def _sweep_uploads(self) -> None:
        for upload in await self._store.uploads.overdue(self._clock.now(), _AT_ONCE):
            expired = replace(upload, status=UploadStatus.EXPIRED)
            if await self._store.uploads.close(expired):
                for part in await self._store.uploads.parts(upload.id):
                    await self._blobs.delete(part.blob)
                log.info(Fact.UPLOAD_EXPIRED, upload_id=upload.id)

    async def _sweep_journals(self) -> None:
        held = await self._journal.held()
        if held:
            unfinished = await self._store.batches.standing()
            for batch_id in held:
                if batch_id not in unfinished:
                    await self._journal.drop(batch_id)
