"""The examples that the description of the API shows, made of the real shapes."""

from dataclasses import replace
from typing import Any, Final

from batchmill.api import wire
from batchmill.domain.account import Account, Deed, Key, Role, Workspace
from batchmill.domain.batch import Batch, Counts, LineError, Status
from batchmill.domain.estimate import (
    Checked,
    Duration,
    Estimate,
    Method,
    ModelEstimate,
    Output,
    Price,
)
from batchmill.domain.file import File, Purpose, Upload, UploadPart, UploadStatus
from batchmill.domain.pacing import Bound
from batchmill.domain.usage import Usage
from batchmill.domain.webhook import EVENT_TYPES, Delivery, WebhookEndpoint
from batchmill.ports import Page
from batchmill.service.batches import BatchState
from batchmill.service.keys import NewKey
from batchmill.service.models import Model
from batchmill.service.outlook import UNKNOWN, Concurrency, Outlook
from batchmill.service.uploads import UploadState
from batchmill.service.webhooks import TestOutcome

_NOW: Final = 1_760_000_000.0
_HASH: Final = "5f0c9d1f6f5a4bb0a3f3b1c2d4e5f60718293a4b5c6d7e8f9012a3b4c5d6e7f8"

_FILE: Final = File(
    id="file-batch-64f0c2a19b3d4e5f60718293",
    account="default",
    purpose=Purpose.BATCH,
    filename="requests.jsonl",
    bytes=1204,
    digest=_HASH,
    blob="files/64/64f0c2a19b3d4e5f60718293",
    created_at=_NOW,
)
_UPLOAD: Final = Upload(
    id="upload_0c4e8a1b2d3f4a5b6c7d8e9f0a1b2c3d",
    account="default",
    purpose=Purpose.BATCH,
    filename="requests.jsonl",
    bytes=1204,
    mime_type="application/jsonl",
    status=UploadStatus.PENDING,
    created_at=_NOW,
    expires_at=_NOW + 3600,
)
_PART: Final = UploadPart(
    id="part_9f8e7d6c5b4a39281706f5e4d3c2b1a0",
    upload_id=_UPLOAD.id,
    bytes=1204,
    blob="",
    created_at=_NOW + 1,
)


def _batch(status: Status, **more: Any) -> Batch:
    return Batch(
        id="batch_3f6d1c52-8a0e-4a67-9d35-2b7f5a1c9e44",
        account="default",
        input_file_id=_FILE.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        status=status,
        created_at=_NOW,
        expires_at=_NOW + 86_400,
        metadata={"ds_name": "nightly"},
        **more,
    )


_RUNNING: Final = BatchState(
    _batch(
        Status.IN_PROGRESS,
        model="qwen-plus",
        in_progress_at=_NOW + 1,
        counts=Counts(1000, 420, 2),
        usage=Usage(21_000, 84_000),
    ),
    Outlook(
        lines_per_second=12.5,
        eta_seconds=46.2,
        queue_position=None,
        deadline_risk=False,
        concurrency=Concurrency(in_flight=512, limit=512, bound=Bound.WINDOW),
    ),
)
_REJECTED: Final = BatchState(
    _batch(
        Status.FAILED,
        failed_at=_NOW + 1,
        errors=(
            LineError("invalid_json_line", "This line is not parseable as valid JSON.", None, 3),
        ),
    ),
    UNKNOWN,
)

FILE: Final = wire.file_object(_FILE).model_dump()
FILES: Final = wire.file_list(Page((_FILE,), has_more=False)).model_dump()
FILE_DELETED: Final = wire.FileDeleted(id=_FILE.id).model_dump()
UPLOAD: Final = wire.upload_object(UploadState(_UPLOAD)).model_dump()
PART: Final = wire.part_object(_PART).model_dump()
BATCH_NEW: Final = wire.batch_object(BatchState(_batch(Status.VALIDATING), UNKNOWN)).model_dump()
BATCH_RUNNING: Final = wire.batch_object(_RUNNING).model_dump()
BATCH_REJECTED: Final = wire.batch_object(_REJECTED).model_dump()
BATCHES: Final = wire.batch_list(Page((_RUNNING,), has_more=False)).model_dump()
MODEL: Final = wire.model_object(Model("qwen-plus", _NOW)).model_dump()
MODELS: Final = wire.model_list([Model("qwen-plus", _NOW)]).model_dump()
NEW_BATCH: Final = {
    "input_file_id": _FILE.id,
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
    "metadata": {"ds_name": "nightly"},
}
NEW_UPLOAD: Final = {
    "filename": "requests.jsonl",
    "purpose": "batch",
    "bytes": 1204,
    "mime_type": "application/jsonl",
}
COMPLETE: Final = {"part_ids": [_PART.id], "md5": "9e107d9d372bb6826bd81d3542a419d6"}
RESULT_LINE: Final = (
    '{"id":"c308ef7f-0c6b-4d5f-9f0e-6d2f1a7b8c9d","custom_id":"1","response":{"status_code":200,'
    '"request_id":"c308ef7f-0c6b-4d5f-9f0e-6d2f1a7b8c9d","body":{"object":"chat.completion",'
    '"choices":[{"index":0,"message":{"role":"assistant","content":"4"},'
    '"finish_reason":"stop"}],"usage":{"prompt_tokens":14,"completion_tokens":1,'
    '"total_tokens":15}}},"error":null}\n'
)
METRICS: Final = "# TYPE batchmill_http_requests_total counter\n"

_ACCOUNT: Final = Account("acct_5c0de1f2a3b4c5d6e7f80912", "Research", _NOW)
_WORKSPACE: Final = Workspace(
    "ws_0a1b2c3d4e5f60718293a4b5", _ACCOUNT.id, "Nightly", is_default=False, created_at=_NOW
)
_KEY: Final = Key(
    id="key_9e8d7c6b5a49382716f5e4d3",
    account=_ACCOUNT.id,
    workspace=_WORKSPACE.id,
    name="nightly job",
    role=Role.MEMBER,
    prefix="sk-bm-Zx3kT0qA",
    digest=_HASH,
    created_at=_NOW,
    models=("qwen-plus",),
    expires_at=_NOW + 7_776_000,
)
_DEED: Final = Deed(
    id="deed_1f2e3d4c5b6a798897a6b5c4",
    account=_ACCOUNT.id,
    actor="machine",
    action="key.created",
    target=_KEY.id,
    at=_NOW,
    detail="nightly job, member, ws_0a1b2c3d4e5f60718293a4b5",
)
ACCOUNT: Final = wire.account_object(_ACCOUNT).model_dump()
ACCOUNTS: Final = wire.account_list([_ACCOUNT]).model_dump()
WORKSPACE: Final = wire.workspace_object(_WORKSPACE).model_dump()
WORKSPACES: Final = wire.workspace_list([_WORKSPACE]).model_dump()
KEY: Final = wire.key_object(replace(_KEY, last_used_at=_NOW + 60)).model_dump()
KEYS: Final = wire.key_list([_KEY]).model_dump()
KEY_REVOKED: Final = wire.key_object(replace(_KEY, revoked_at=_NOW + 120)).model_dump()
NEW_KEY_MADE: Final = wire.new_key_object(
    NewKey(_KEY, f"{_KEY.prefix}-the-secret-part-is-43-characters")
).model_dump()
AUDIT: Final = wire.audit_list(Page((_DEED,), has_more=False)).model_dump()
NEW_ACCOUNT: Final = {"name": "Research"}
NEW_WORKSPACE: Final = {"name": "Nightly"}
NEW_KEY: Final = {
    "name": "nightly job",
    "role": "member",
    "workspace": _WORKSPACE.id,
    "models": ["qwen-plus"],
    "expires_in": 7_776_000,
}

_WEBHOOK: Final = WebhookEndpoint(
    id="whe_2b4d6f8091a3b5c7d9e1f203",
    account="default",
    name="Nightly",
    url="https://hooks.example.com/batches",
    event_types=EVENT_TYPES[:4],
    secret="whsec_c2FtcGxlIG9mIGEgc2lnbmluZyBzZWNyZXQsIDMyIGI=",  # noqa: S106 - a sample
    created_at=_NOW,
    updated_at=_NOW,
)
_DELIVERY: Final = Delivery(
    id="whd_7a1c2e3f4b5d60718293a4b5c6d7e8f9",
    account="default",
    event_id="evt_0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    event_type="batch.completed",
    subject="batch_3f6d1c52-8a0e-4a67-9d35-2b7f5a1c9e44",
    url=_WEBHOOK.url,
    payload="",
    created_at=_NOW,
    next_at=_NOW + 11,
    endpoint_id=_WEBHOOK.id,
    attempts=1,
    last_status=503,
)
WEBHOOK_ENDPOINT: Final = wire.webhook_endpoint_object(_WEBHOOK).model_dump()
WEBHOOK_ENDPOINT_WITH_SECRET: Final = wire.webhook_endpoint_with_secret(_WEBHOOK).model_dump()
WEBHOOK_ENDPOINTS: Final = wire.webhook_endpoint_list(Page((_WEBHOOK,), False)).model_dump()
WEBHOOK_DELETED: Final = wire.WebhookEndpointDeleted(id=_WEBHOOK.id).model_dump()
WEBHOOK_EVENT_TYPES: Final = wire.webhook_event_type_list().model_dump()
WEBHOOK_TESTED: Final = wire.webhook_test_result(
    TestOutcome(_WEBHOOK.id, "batch.completed", 200)
).model_dump()
WEBHOOK_DELIVERY: Final = wire.webhook_delivery_object(_DELIVERY).model_dump()
WEBHOOK_DELIVERIES: Final = wire.webhook_delivery_list(Page((_DELIVERY,), False)).model_dump()
NEW_WEBHOOK_ENDPOINT: Final = {
    "name": _WEBHOOK.name,
    "url": _WEBHOOK.url,
    "event_types": ["batch.completed", "batch.failed"],
}
_ESTIMATE: Final = Estimate(
    endpoint="/v1/chat/completions",
    window=86_400,
    checked=Checked(1000, 0, ()),
    price_version="9c18739ca9fe7a12",
    models=(
        ModelEstimate(
            model="qwen-plus",
            lines=1000,
            input_tokens=50_000,
            method=Method.SAMPLE,
            currency="USD",
            input=Price(20_000_000_000_000, 10_000_000_000_000),
            expected=Output(80_000, Price(116_000_000_000_000, 58_000_000_000_000)),
            most=Output(512_000, Price(2_068_000_000_000_000, 1_034_000_000_000_000)),
        ),
    ),
    duration=Duration(seconds=120.0, lines_per_second=12.5, lines_ahead=500),
    budget=20_000_000_000_000_000,
)
ESTIMATE: Final = wire.estimate_object(_ESTIMATE, _FILE.id).model_dump()
NEW_ESTIMATE: Final = {"input_file_id": _FILE.id, "batchmill": {"budget": "20.00"}}
