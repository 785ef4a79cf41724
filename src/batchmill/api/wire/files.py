"""Files and uploads as clients see them."""

from typing import Literal

from pydantic import Field

from batchmill.api.wire.shape import ExpiresAfter, Shape, ends_of, seconds_of
from batchmill.domain.file import File, UploadPart
from batchmill.ports import Page
from batchmill.service.uploads import UploadState


class CreateUpload(Shape):
    """The body of `POST /uploads`."""

    filename: str = Field(description="A label; it is never used as a path.")
    purpose: str = Field(description="`batch`.")
    bytes: int = Field(description="The size of the whole file.")
    mime_type: str = Field(description="For example `application/jsonl`.")
    expires_after: ExpiresAfter | None = None


class CompleteUpload(Shape):
    """The body of `POST /uploads/{upload_id}/complete`."""

    part_ids: list[str] = Field(description="Every part, in the order of the file.")
    md5: str | None = Field(default=None, description="Of the whole file, in hex.")


class FileObject(Shape):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: None = None


class FileList(Shape):
    """A page of files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(Shape):
    """A file is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class UploadObject(Shape):
    """An upload; `file` is null until it is completed."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: FileObject | None


class UploadPartObject(Shape):
    """A part of an upload."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


def file_object(file: File) -> FileObject:
    """A file as clients see it."""
    return FileObject(
        id=file.id,
        bytes=file.bytes,
        created_at=int(file.created_at),
        expires_at=seconds_of(file.expires_at),
        filename=file.filename,
        purpose=file.purpose,
    )


def file_list(page: Page[File]) -> FileList:
    """A page of files as clients see it."""
    data = [file_object(file) for file in page.items]
    first, last = ends_of(one.id for one in data)
    return FileList(data=data, first_id=first, last_id=last, has_more=page.has_more)


def upload_object(state: UploadState) -> UploadObject:
    """An upload as clients see it."""
    upload = state.upload
    return UploadObject(
        id=upload.id,
        bytes=upload.bytes,
        created_at=int(upload.created_at),
        expires_at=int(upload.expires_at),
        filename=upload.filename,
        purpose=upload.purpose,
        status=upload.status.value,
        file=None if state.file is None else file_object(state.file),
    )


def part_object(part: UploadPart) -> UploadPartObject:
    """A part as clients see it."""
    return UploadPartObject(id=part.id, created_at=int(part.created_at), upload_id=part.upload_id)
