"""Who gets in: every operation of the application, a row or more each.

The things that the paths and bodies name belong to the account ``acme``. A row
says what an operation asks of its caller, and what it answers those who may use
it: ``own`` to acme's keys, ``foreign`` to the keys of another account and of the
operator's, which have no more to do with acme's things than anybody else;
``operator`` where an admin of the operator's account is answered otherwise.
"""

# ruff: noqa: E501 - a row of the table is a line
from dataclasses import dataclass
from typing import Any, Final

from api_house import CHAT, LINE

from batchmill.door.access import Access

OPEN, READ, WRITE = Access.OPEN, Access.READ, Access.WRITE
ADMIN, OPERATOR, OPERATOR_READ = Access.ADMIN, Access.OPERATOR, Access.OPERATOR_READ

# The callers, by what they may use. ``x`` is a key of another account.
LETS_IN: Final = {
    OPEN: "nobody stranger revoked read-only member admin x-read-only x-member x-admin "
    "op-read-only op-member op-admin",
    READ: "read-only member admin x-read-only x-member x-admin op-read-only op-member op-admin",
    WRITE: "member admin x-member x-admin op-member op-admin",
    ADMIN: "admin x-admin op-admin",
    OPERATOR: "op-admin",
    OPERATOR_READ: "op-read-only op-member op-admin",
}
CALLERS: Final = tuple(LETS_IN[OPEN].split())
UNKNOWN: Final = ("nobody", "stranger", "revoked")


@dataclass(frozen=True)
class Row:
    """An operation, as it is asked for in one way."""

    op: str
    method: str
    path: str
    access: Access
    own: int
    foreign: int
    operator: int | None = None
    body: Any = None
    form: Any = None

    def expected(self, caller: str) -> int:
        """The status that the caller is answered."""
        if self.access is OPEN:
            return self.own
        if caller in UNKNOWN:
            return 401
        if caller not in LETS_IN[self.access].split():
            return 403
        if caller == "op-admin" and self.operator is not None:
            return self.operator
        return self.foreign if caller.startswith(("x-", "op-")) else self.own


FORM = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", LINE)}}
PART = {"files": {"data": ("part", LINE)}}
BATCH = {"input_file_id": "{file}", "endpoint": CHAT, "completion_window": "24h"}
UPLOAD = {
    "filename": "a.jsonl",
    "purpose": "batch",
    "bytes": len(LINE),
    "mime_type": "application/jsonl",
}
NEW, NEW_THERE = {"name": "New"}, {"name": "New", "account": "{account}"}
NEW_WITHIN = {"name": "New", "workspace": "{workspace}"}
PARTS, EVENT, NAME = {"part_ids": ["{part}"]}, {"event_type": "batch.completed"}, {"name": "Gong"}
CAP = {"scope": "workspace", "id": "{workspace}", "limit": "5", "currency": "USD"}
CAP_THERE = {**CAP, "account": "{account}"}
CAP_ON_ACCOUNT = {"scope": "account", "id": "{account}", "limit": "5", "currency": "USD"}
HOOK = {"name": "Bell", "url": "https://bell.example/", "event_types": ["batch.completed"]}

# fmt: off
ROWS: Final = (
    # operation, method, path, access, own, foreign
    Row("createFile", "POST", "/v1/files", WRITE, 200, 200, form=FORM),
    Row("listFiles", "GET", "/v1/files", READ, 200, 200),
    Row("listFiles", "GET", "/v1/files?after={file}", READ, 200, 404),
    Row("retrieveFile", "GET", "/v1/files/{file}", READ, 200, 404),
    Row("deleteFile", "DELETE", "/v1/files/{file}", WRITE, 200, 404),
    Row("downloadFile", "GET", "/v1/files/{file}/content", READ, 200, 404),
    Row("headFileContent", "HEAD", "/v1/files/{file}/content", READ, 200, 404),
    Row("createUpload", "POST", "/v1/uploads", WRITE, 200, 200, body=UPLOAD),
    Row("addUploadPart", "POST", "/v1/uploads/{upload}/parts", WRITE, 200, 404, form=PART),
    Row("completeUpload", "POST", "/v1/uploads/{upload}/complete", WRITE, 200, 404, body=PARTS),
    Row("cancelUpload", "POST", "/v1/uploads/{upload}/cancel", WRITE, 200, 404),
    # an input that is missing, or another's, is not refused: the batch fails
    Row("createBatch", "POST", "/v1/batches", WRITE, 200, 200, body=BATCH),
    Row("estimateBatch", "POST", "/v1/batches/estimate", READ, 200, 404, body=BATCH),
    Row("listBatches", "GET", "/v1/batches", READ, 200, 200),
    Row("listBatches", "GET", "/v1/batches?after={batch}", READ, 200, 404),
    Row("retrieveBatch", "GET", "/v1/batches/{batch}", READ, 200, 404),
    Row("cancelBatch", "POST", "/v1/batches/{batch}/cancel", WRITE, 200, 404),
    Row("readBatchResults", "GET", "/v1/batches/{batch}/results", READ, 200, 404),
    Row("listModels", "GET", "/v1/models", READ, 200, 200),
    Row("retrieveModel", "GET", "/v1/models/qwen-plus", READ, 200, 200),
    Row("createAccount", "POST", "/v1/admin/accounts", OPERATOR, 200, 200, body=NEW),
    Row("listAccounts", "GET", "/v1/admin/accounts", OPERATOR, 200, 200),
    Row("createWorkspace", "POST", "/v1/admin/workspaces", ADMIN, 200, 200, body=NEW),
    Row("createWorkspace", "POST", "/v1/admin/workspaces", ADMIN, 200, 404, 200, body=NEW_THERE),
    Row("listWorkspaces", "GET", "/v1/admin/workspaces", ADMIN, 200, 200),
    Row("listWorkspaces", "GET", "/v1/admin/workspaces?account={account}", ADMIN, 200, 404, 200),
    Row("createKey", "POST", "/v1/admin/keys", ADMIN, 200, 200, body=NEW),
    Row("createKey", "POST", "/v1/admin/keys", ADMIN, 200, 404, 200, body=NEW_THERE),
    Row("createKey", "POST", "/v1/admin/keys", ADMIN, 200, 404, body=NEW_WITHIN),
    Row("listKeys", "GET", "/v1/admin/keys", ADMIN, 200, 200),
    Row("listKeys", "GET", "/v1/admin/keys?account={account}", ADMIN, 200, 404, 200),
    Row("retrieveKey", "GET", "/v1/admin/keys/{key}", ADMIN, 200, 404),
    Row("retrieveKey", "GET", "/v1/admin/keys/{key}?account={account}", ADMIN, 200, 404, 200),
    Row("revokeKey", "POST", "/v1/admin/keys/{key}/revoke", ADMIN, 200, 404),
    Row("revokeKey", "POST", "/v1/admin/keys/{key}/revoke?account={account}", ADMIN, 200, 404, 200),
    Row("listAudit", "GET", "/v1/admin/audit", ADMIN, 200, 200),
    Row("listAudit", "GET", "/v1/admin/audit?account={account}", ADMIN, 200, 404, 200),
    Row("listCaps", "GET", "/v1/admin/caps", ADMIN, 200, 200),
    Row("listCaps", "GET", "/v1/admin/caps?account={account}", ADMIN, 200, 404, 200),
    Row("listCaps", "GET", "/v1/admin/caps?account=all", ADMIN, 404, 404, 200),
    Row("setCap", "POST", "/v1/admin/caps", ADMIN, 200, 404, body=CAP),
    Row("setCap", "POST", "/v1/admin/caps", ADMIN, 200, 404, 200, body=CAP_THERE),
    # what an account may spend is the operator's to say
    Row("setCap", "POST", "/v1/admin/caps", ADMIN, 403, 403, 200, body=CAP_ON_ACCOUNT),
    Row("deleteCap", "DELETE", "/v1/admin/caps/workspace/{cap}/USD", ADMIN, 200, 404),
    Row("deleteCap", "DELETE", "/v1/admin/caps/workspace/{cap}/USD?account={account}", ADMIN, 200, 404, 200),
    Row("readUsage", "GET", "/v1/usage", READ, 200, 200),
    Row("readUsage", "GET", "/v1/usage?account={account}", READ, 200, 404, 200),
    Row("readUsage", "GET", "/v1/usage?account=all", READ, 404, 404, 200),
    Row("readSpending", "GET", "/v1/spending", READ, 200, 200),
    Row("readSpending", "GET", "/v1/spending?account={account}", READ, 200, 404, 200),
    Row("readSpending", "GET", "/v1/spending?account=all", READ, 404, 404, 200),
    Row("readMonitoring", "GET", "/v1/monitoring", READ, 200, 200),
    Row("readMonitoring", "GET", "/v1/monitoring?account={account}", READ, 200, 404, 200),
    Row("readMonitoring", "GET", "/v1/monitoring?account=all", READ, 404, 404, 200),
    Row("createWebhookEndpoint", "POST", "/v1/webhook_endpoints", ADMIN, 200, 200, body=HOOK),
    Row("listWebhookEndpoints", "GET", "/v1/webhook_endpoints", READ, 200, 200),
    Row("listWebhookEndpoints", "GET", "/v1/webhook_endpoints?after={hook}", READ, 200, 404),
    Row("retrieveWebhookEndpoint", "GET", "/v1/webhook_endpoints/{hook}", READ, 200, 404),
    Row("updateWebhookEndpoint", "POST", "/v1/webhook_endpoints/{hook}", ADMIN, 200, 404, body=NAME),
    Row("deleteWebhookEndpoint", "DELETE", "/v1/webhook_endpoints/{hook}", ADMIN, 200, 404),
    Row("rotateWebhookEndpointSecret", "POST", "/v1/webhook_endpoints/{hook}/rotate_secret", ADMIN, 200, 404, body={}),
    # the receiver of the test's endpoint has a private address, which is not sent to
    Row("testWebhookEndpoint", "POST", "/v1/webhook_endpoints/{hook}/test", ADMIN, 400, 404, body=EVENT),
    Row("listWebhookEventTypes", "GET", "/v1/webhook_event_types", READ, 200, 200),
    Row("listWebhookDeliveries", "GET", "/v1/webhook_deliveries", READ, 200, 200),
    Row("listWebhookDeliveries", "GET", "/v1/webhook_deliveries?after={delivery}", READ, 200, 404),
    Row("replayWebhookDelivery", "POST", "/v1/webhook_deliveries/{delivery}/replay", ADMIN, 200, 404),
    Row("checkHealth", "GET", "/healthz", OPEN, 200, 200),
    Row("checkReadiness", "GET", "/readyz", OPEN, 200, 200),
    Row("readMetrics", "GET", "/metrics", OPERATOR_READ, 200, 200),
    Row("readDescription", "GET", "/openapi.json", OPEN, 200, 200),
)
# fmt: on
