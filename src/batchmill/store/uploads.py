"""Rows of multipart uploads and their parts. An upload leaves ``pending`` once."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from batchmill.domain.file import File, Purpose, Upload, UploadPart, UploadStatus
from batchmill.ports import Quota
from batchmill.store.database import QUOTA, Database
from batchmill.store.files import add_within_quota
from batchmill.store.quota import Room, take
from batchmill.store.tables import upload_parts, uploads


class SqlUploads:
    """See the port UploadStore; each verb is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, upload: Upload, quota: Quota) -> None:
        """Store a new upload, which takes the room of its declared size; raises QuotaReached."""
        room = Room(upload.id, upload.account, upload.bytes)
        async with self._database.write() as connection:
            await self._database.serialize(connection, QUOTA, upload.account)
            await take(connection, room, quota, now=upload.created_at)
            await connection.execute(insert(uploads), [_row_of(upload)])

    async def get(self, account: str, upload_id: str) -> Upload | None:
        """The upload, if it is the account's."""
        own = (uploads.c.account == account, uploads.c.id == upload_id)
        async with self._database.read() as connection:
            row = (await connection.execute(select(uploads).where(*own))).mappings().one_or_none()
        return None if row is None else _upload_of(row)

    async def add_part(self, part: UploadPart) -> bool:
        """Store a part if the upload is still pending; whether it was."""
        # locked against the end of the upload, not against its other parts
        pending = select(uploads.c.id).where(*_pending(part.upload_id)).with_for_update(read=True)
        async with self._database.write() as connection:
            if (await connection.execute(pending)).one_or_none() is None:
                return False
            await connection.execute(insert(upload_parts), [_row_of_part(part)])
        return True

    async def parts(self, upload_id: str) -> Sequence[UploadPart]:
        """The parts in the order in which they were stored."""
        stored = select(upload_parts).where(upload_parts.c.upload_id == upload_id)
        async with self._database.read() as connection:
            result = await connection.execute(stored.order_by(upload_parts.c.seq))
        return [_part_of(row) for row in result.mappings()]

    async def complete(self, upload: Upload, file: File, quota: Quota) -> bool:
        """Store the file and close the upload, if it was still pending; raises QuotaReached."""
        async with self._database.write() as connection:
            await self._database.serialize(connection, QUOTA, file.account)
            was_pending = await _close(connection, upload)
            if was_pending:
                await add_within_quota(connection, file, quota)
        return was_pending

    async def close(self, upload: Upload) -> bool:
        """Store the upload's terminal status, if it was still pending; whether it was."""
        async with self._database.write() as connection:
            return await _close(connection, upload)

    async def overdue(self, now: float, limit: int) -> Sequence[Upload]:
        """Pending uploads whose hour is over, the longest overdue first."""
        due = (
            select(uploads)
            .where(uploads.c.status == UploadStatus.PENDING.value, uploads.c.expires_at <= now)
            .order_by(uploads.c.expires_at)
            .limit(limit)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(due)).mappings().all()
        return [_upload_of(row) for row in rows]


async def _close(connection: AsyncConnection, upload: Upload) -> bool:
    closing = update(uploads).where(*_pending(upload.id))
    values = {"status": upload.status.value, "file_id": upload.file_id}
    return (await connection.execute(closing.values(values))).rowcount == 1


def _pending(upload_id: str) -> tuple[Any, Any]:
    return uploads.c.id == upload_id, uploads.c.status == UploadStatus.PENDING.value


def _upload_of(row: RowMapping) -> Upload:
    return Upload(
        id=row["id"],
        account=row["account"],
        purpose=Purpose(row["purpose"]),
        filename=row["filename"],
        bytes=row["bytes"],
        mime_type=row["mime_type"],
        status=UploadStatus(row["status"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        file_expires_after=row["file_expires_after"],
        file_id=row["file_id"],
    )


def _row_of(upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.id,
        "account": upload.account,
        "purpose": upload.purpose.value,
        "filename": upload.filename,
        "bytes": upload.bytes,
        "mime_type": upload.mime_type,
        "status": upload.status.value,
        "created_at": upload.created_at,
        "expires_at": upload.expires_at,
        "file_expires_after": upload.file_expires_after,
        "file_id": upload.file_id,
    }


def _part_of(row: RowMapping) -> UploadPart:
    return UploadPart(
        id=row["id"],
        upload_id=row["upload_id"],
        bytes=row["bytes"],
        blob=row["blob"],
        created_at=row["created_at"],
    )


def _row_of_part(part: UploadPart) -> dict[str, Any]:
    return {
        "id": part.id,
        "upload_id": part.upload_id,
        "bytes": part.bytes,
        "blob": part.blob,
        "created_at": part.created_at,
    }
