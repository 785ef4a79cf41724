"""Public JSON: the only file that knows the shapes that clients see.

Requests are read strictly (a number in quotes is no number) and unknown fields
are ignored. In answers every key is always there, null where there is nothing;
times are whole Unix seconds, rounded down.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from batchmill.domain.batch import Batch
from batchmill.domain.file import File, UploadPart
from batchmill.ports import Page
from batchmill.service.batches import BatchState
from batchmill.service.models import Model
from batchmill.service.uploads import UploadState


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


# --- Requests ---


class ExpiresAfter(_Shape):
    """How long a file lives."""

    anchor: Literal["created_at"] = Field(description="What the life is counted from.")
    seconds: int = Field(description="3600 (an hour) to 2592000 (30 days).")


class CreateBatch(_Shape):
    """The body of `POST /batches`."""

    input_file_id: str = Field(description="The id of an uploaded file.")
    endpoint: str = Field(description="The `url` of every line of the file.")
    completion_window: str = Field(
        description="How long the batch may take, from its creation: `24h` to `14d`, or `24h` "
        "alone in the openai profile."
    )
    metadata: dict[str, str] | None = Field(
        default=None,
        description="Up to you. `ds_name`, `ds_description` and `ds_batch_finish_callback` are "
        "known to the qwen profile.",
    )
    output_expires_after: ExpiresAfter | None = Field(
        default=None, description="How long the result files live, from when they are made."
    )
    idempotency_key: str | None = Field(
        default=None, description="The same as the header `Idempotency-Key`."
    )


class CreateUpload(_Shape):
    """The body of `POST /uploads`."""

    filename: str = Field(description="A label; it is never used as a path.")
    purpose: str = Field(description="`batch`.")
    bytes: int = Field(description="The size of the whole file.")
    mime_type: str = Field(description="For example `application/jsonl`.")
    expires_after: ExpiresAfter | None = None


class CompleteUpload(_Shape):
    """The body of `POST /uploads/{upload_id}/complete`."""

    part_ids: list[str] = Field(description="Every part, in the order of the file.")
    md5: str | None = Field(default=None, description="Of the whole file, in hex.")


# --- Answers ---


class Fault(_Shape):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(_Shape):
    """The body of every answer with a status from 400."""

    error: Fault


class FileObject(_Shape):
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


class FileList(_Shape):
    """A page of files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(_Shape):
    """A file is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class UploadObject(_Shape):
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


class UploadPartObject(_Shape):
    """A part of an upload."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


class BatchErrorObject(_Shape):
    """One fault of an input file; `line` counts from 1 and is null for the whole file."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrors(_Shape):
    """The faults of an input file."""

    object: Literal["list"] = "list"
    data: list[BatchErrorObject]


class RequestCounts(_Shape):
    """How many lines there are, and what became of them."""

    total: int
    completed: int
    failed: int


class InputDetails(_Shape):
    """A part of the input tokens."""

    cached_tokens: int


class OutputDetails(_Shape):
    """A part of the output tokens."""

    reasoning_tokens: int


class BatchUsage(_Shape):
    """The tokens of a batch's successful lines."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class ProgressObject(_Shape):
    """How a batch gets on; null where it cannot be told."""

    lines_per_second: float | None
    eta_seconds: int | None
    queue_position: int | None


class Additions(_Shape):
    """What batchmill adds to a batch."""

    progress: ProgressObject
    resent_lines: int
    deadline_risk: bool | None


class BatchObject(_Shape):
    """A batch."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: Literal[
        "validating",
        "failed",
        "in_progress",
        "finalizing",
        "completed",
        "expired",
        "cancelling",
        "cancelled",
    ]
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None
    batchmill: Additions


class BatchList(_Shape):
    """A page of batches."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ModelObject(_Shape):
    """A model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["batchmill"] = "batchmill"


class ModelList(_Shape):
    """The models."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


class Health(_Shape):
    """The server answers."""

    status: Literal["ok"] = "ok"


SHAPES: Final[Sequence[type[BaseModel]]] = (
    *(CreateBatch, CreateUpload, CompleteUpload, ErrorBody, FileObject, FileList, FileDeleted),
    *(UploadObject, UploadPartObject, BatchObject, BatchList, ModelObject, ModelList, Health),
)


# --- From values to shapes ---


def answer(shape: BaseModel, status: int = 200) -> Response:
    """The shape as a response."""
    return Response(shape.model_dump_json(), status, media_type="application/json")


def file_object(file: File) -> FileObject:
    """A file as clients see it."""
    return FileObject(
        id=file.id,
        bytes=file.bytes,
        created_at=int(file.created_at),
        expires_at=_seconds(file.expires_at),
        filename=file.filename,
        purpose=file.purpose,
    )


def file_list(page: Page[File]) -> FileList:
    """A page of files as clients see it."""
    data = [file_object(file) for file in page.items]
    first, last = _ends(one.id for one in data)
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


def batch_object(state: BatchState) -> BatchObject:
    """A batch as clients see it."""
    batch = state.batch
    return BatchObject(
        id=batch.id,
        endpoint=batch.endpoint,
        model=batch.model,
        errors=_errors(batch),
        input_file_id=batch.input_file_id,
        completion_window=batch.completion_window,
        status=batch.status.value,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        created_at=int(batch.created_at),
        in_progress_at=_seconds(batch.in_progress_at),
        expires_at=int(batch.expires_at),
        finalizing_at=_seconds(batch.finalizing_at),
        completed_at=_seconds(batch.completed_at),
        failed_at=_seconds(batch.failed_at),
        expired_at=_seconds(batch.expired_at),
        cancelling_at=_seconds(batch.cancelling_at),
        cancelled_at=_seconds(batch.cancelled_at),
        request_counts=_counts(batch),
        usage=_usage(batch),
        metadata=None if batch.metadata is None else dict(batch.metadata),
        batchmill=_additions(state),
    )


def batch_list(page: Page[BatchState]) -> BatchList:
    """A page of batches as clients see it."""
    data = [batch_object(state) for state in page.items]
    first, last = _ends(one.id for one in data)
    return BatchList(data=data, first_id=first, last_id=last, has_more=page.has_more)


def model_object(model: Model) -> ModelObject:
    """A model as clients see it."""
    return ModelObject(id=model.id, created=int(model.created))


def model_list(models: Sequence[Model]) -> ModelList:
    """The models as clients see them."""
    return ModelList(data=[model_object(model) for model in models])


def _seconds(time: float | None) -> int | None:
    return None if time is None else int(time)


def _ends(ids: Iterable[str]) -> tuple[str | None, str | None]:
    listed = list(ids)
    return (listed[0], listed[-1]) if listed else (None, None)


def _errors(batch: Batch) -> BatchErrors | None:
    if not batch.errors:
        return None
    data = [
        BatchErrorObject(code=one.code, message=one.message, param=one.param, line=one.line)
        for one in batch.errors
    ]
    return BatchErrors(data=data)


def _counts(batch: Batch) -> RequestCounts:
    counts = batch.counts
    return RequestCounts(total=counts.total, completed=counts.completed, failed=counts.failed)


def _usage(batch: Batch) -> BatchUsage:
    usage = batch.usage
    return BatchUsage(
        input_tokens=usage.input,
        input_tokens_details=InputDetails(cached_tokens=usage.cached),
        output_tokens=usage.output,
        output_tokens_details=OutputDetails(reasoning_tokens=usage.reasoning),
        total_tokens=usage.total,
    )


def _additions(state: BatchState) -> Additions:
    outlook = state.outlook
    progress = ProgressObject(
        lines_per_second=outlook.lines_per_second,
        eta_seconds=_seconds(outlook.eta_seconds),
        queue_position=outlook.queue_position,
    )
    return Additions(
        progress=progress,
        resent_lines=state.batch.resent,
        deadline_risk=outlook.deadline_risk,
    )
