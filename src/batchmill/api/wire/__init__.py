"""Public JSON: the only folder that knows the shapes that clients see, a module a noun.

Requests are read strictly (a number in quotes is no number) and unknown fields
are ignored. In answers every key is always there, null where there is nothing;
times are whole Unix seconds, rounded down; amounts of money are decimal text.
"""

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel

from batchmill.api.wire.accounts import (
    AccountList,
    AccountObject,
    AuditList,
    CreateAccount,
    CreateKey,
    CreateWorkspace,
    KeyList,
    KeyObject,
    NewKeyObject,
    WorkspaceList,
    WorkspaceObject,
    account_list,
    account_object,
    audit_list,
    key_list,
    key_object,
    new_key_object,
    workspace_list,
    workspace_object,
)
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
    *(AccountList, AccountObject, AuditList, CreateAccount, CreateKey),
    *(CreateWorkspace, KeyList, KeyObject, NewKeyObject, WorkspaceList, WorkspaceObject),
    *(CreateBatch, CreateUpload, CompleteUpload, ErrorBody, FileObject, FileList, FileDeleted),
    *(UploadObject, UploadPartObject, BatchObject, BatchList, ModelObject, ModelList, Health),
)

__all__ = [
    "SHAPES",
    "AccountList",
    "AccountObject",
    "AuditList",
    "BatchList",
    "BatchObject",
    "CompleteUpload",
    "CreateAccount",
    "CreateBatch",
    "CreateKey",
    "CreateUpload",
    "CreateWorkspace",
    "ErrorBody",
    "Fault",
    "FileDeleted",
    "FileList",
    "FileObject",
    "Health",
    "KeyList",
    "KeyObject",
    "ModelList",
    "ModelObject",
    "NewKeyObject",
    "UploadObject",
    "UploadPartObject",
    "WorkspaceList",
    "WorkspaceObject",
    "account_list",
    "account_object",
    "answer",
    "audit_list",
    "batch_list",
    "batch_object",
    "file_list",
    "file_object",
    "key_list",
    "key_object",
    "model_list",
    "model_object",
    "new_key_object",
    "part_object",
    "upload_object",
    "workspace_list",
    "workspace_object",
]
