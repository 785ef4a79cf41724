"""Public JSON: the only folder that knows the shapes that clients see, a module a noun.

Requests are read strictly (a number in quotes is no number) and unknown fields
are ignored. In answers every key is always there, null where there is nothing;
times are whole Unix seconds, rounded down; amounts of money are decimal text.
"""

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel

from batchmill.api.wire.batches import (
    BatchList,
    BatchObject,
    CreateBatch,
    batch_list,
    batch_object,
)
from batchmill.api.wire.files import (
    CompleteUpload,
    CreateUpload,
    FileDeleted,
    FileList,
    FileObject,
    UploadObject,
    UploadPartObject,
    file_list,
    file_object,
    part_object,
    upload_object,
)
from batchmill.api.wire.models import ModelList, ModelObject, model_list, model_object
from batchmill.api.wire.shape import ErrorBody, Fault, Health, answer

SHAPES: Final[Sequence[type[BaseModel]]] = (
    *(CreateBatch, CreateUpload, CompleteUpload, ErrorBody, FileObject, FileList, FileDeleted),
    *(UploadObject, UploadPartObject, BatchObject, BatchList, ModelObject, ModelList, Health),
)

__all__ = [
    "SHAPES",
    "BatchList",
    "BatchObject",
    "CompleteUpload",
    "CreateBatch",
    "CreateUpload",
    "ErrorBody",
    "Fault",
    "FileDeleted",
    "FileList",
    "FileObject",
    "Health",
    "ModelList",
    "ModelObject",
    "UploadObject",
    "UploadPartObject",
    "answer",
    "batch_list",
    "batch_object",
    "file_list",
    "file_object",
    "model_list",
    "model_object",
    "part_object",
    "upload_object",
]
