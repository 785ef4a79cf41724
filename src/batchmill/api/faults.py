"""Examples of the errors that the operations share, for their descriptions."""

from typing import Final

from batchmill.api import docs
from batchmill.api.docs import Sample
from batchmill.api.errors import SERVER

FILE_UNKNOWN: Final = Sample(
    404, "file_unknown", "No such File object: file-batch-64f0c2a19b3d4e5f60718293", "id"
)
INPUT_UNKNOWN: Final = Sample(
    404,
    "input_unknown",
    "No such File object: file-batch-64f0c2a19b3d4e5f60718293",
    "input_file_id",
)
FILE_CURSOR_UNKNOWN: Final = Sample(
    404, "after_unknown", "No such File object: file-batch-64f0c2a19b3d4e5f60718293", "after"
)
FILE_IN_USE: Final = Sample(
    409,
    "file_in_use",
    "File 'file-batch-64f0c2a19b3d4e5f60718293' is the input of batch "
    "'batch_3f6d1c52-8a0e-4a67-9d35-2b7f5a1c9e44', which is not finished: cancel that batch or "
    "wait for its end before you delete the file.",
    "id",
    "file_in_use",
)
NOT_JSONL: Final = Sample(
    400,
    "not_jsonl",
    "Invalid file format for Batch API. Must be .jsonl. Its first line is not JSON.",
)
TOO_LARGE: Final = Sample(400, "too_large", "File is too large. At most 500 MB are accepted.")
PURPOSE: Final = Sample(
    400,
    "purpose",
    "Invalid value: 'fine-tune'. Supported values are: 'batch'.",
    "purpose",
    "invalid_value",
)
FILE_MISSING: Final = Sample(
    400,
    "missing_field",
    "Missing required parameter: 'file'.",
    "file",
    "missing_required_parameter",
)
STALLED: Final = Sample(
    408,
    "stalled",
    "The request stalled: no byte of its body came for 60 seconds. Send it again.",
    code="request_timeout",
)
QUOTA: Final = Sample(
    429,
    "quota",
    "Upload file capacity exceed limit. Delete files that are no longer needed.",
    code="file_quota_exceeded",
    type="insufficient_quota",
)
DISK_FULL: Final = Sample(507, "disk_full", "The disk is full: nothing was stored.", type=SERVER)
BAD_LIMIT: Final = Sample(
    400,
    "bad_limit",
    "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead.",
    "limit",
    "integer_below_min_value",
)
BAD_TIME: Final = Sample(
    400,
    "bad_time",
    "Invalid 'create_after': expected a time such as 20250306123000, '2025-03-06 12:30:00', "
    "2025-03-06 or 20250306, but got 'yesterday' instead.",
    "create_after",
    "invalid_value",
)
BAD_JSON: Final = Sample(
    400,
    "bad_json",
    "The body of the request is not valid JSON: EOF while parsing a value at line 1 column 0.",
)
BAD_TYPE: Final = Sample(
    400,
    "bad_type",
    "Invalid type for 'metadata.tags': expected a string, but got an array instead.",
    "metadata.tags",
    "invalid_type",
)
BAD_ENDPOINT: Final = Sample(
    400,
    "bad_endpoint",
    "Invalid value: '/v1/images'. Supported values are: '/v1/chat/completions'.",
    "endpoint",
    "invalid_value",
)
BAD_WINDOW: Final = Sample(
    400,
    "bad_window",
    "Invalid 'completion_window': expected a whole number with 'h' or 'd' from 24h to 336h, "
    "but got '1h' instead.",
    "completion_window",
    "invalid_value",
)
BATCH_UNKNOWN: Final = Sample(
    404, "batch_unknown", "No batch found with id 'batch_3f6d1c52-8a0e-4a67-9d35-2b7f5a1c9e44'."
)
BATCH_ENDED: Final = Sample(409, "batch_ended", "Cannot cancel a batch with status 'completed'.")
KEY_REUSED: Final = Sample(
    409,
    "key_reused",
    "The idempotency key 'nightly-17' was used before with other parameters: use a new key for "
    "a new batch.",
    "idempotency_key",
    "idempotency_mismatch",
)
TOO_MANY_BATCHES: Final = Sample(
    429,
    "too_many_batches",
    "Too many unfinished batches: there may be at most 1000. Wait for one to end, or cancel one.",
    code="too_many_unfinished_batches",
    type="insufficient_quota",
)
LIMIT_REACHED: Final = Sample(
    429,
    "spending_limit_reached",
    "The monthly limit of this workspace (500 USD) is reached: have it raised, or wait for the "
    "next month.",
    code="spending_limit_reached",
    type="insufficient_quota",
)
BAD_BUDGET: Final = Sample(
    400,
    "bad_budget",
    "Invalid 'batchmill.budget': expected an amount above zero such as '20.00', but got 'much' "
    "instead.",
    "batchmill.budget",
    "invalid_value",
)
UPLOAD_UNKNOWN: Final = Sample(
    404,
    "upload_unknown",
    "No such Upload object: upload_0c4e8a1b2d3f4a5b6c7d8e9f0a1b2c3d",
    "upload_id",
)
UPLOAD_ENDED: Final = Sample(
    400,
    "upload_ended",
    "Upload 'upload_0c4e8a1b2d3f4a5b6c7d8e9f0a1b2c3d' is cancelled: it can no longer be changed.",
    "upload_id",
    "upload_not_pending",
)
PART_UNKNOWN: Final = Sample(
    400,
    "part_unknown",
    "Part 'part_1' is not of this upload, or is named twice.",
    "part_ids",
    "invalid_value",
)
SIZE_MISMATCH: Final = Sample(
    400,
    "size_mismatch",
    "The parts hold 1200 bytes, but the upload was created for 1204: send what is missing, or "
    "name every part.",
    "part_ids",
    "size_mismatch",
)
BAD_CURSOR: Final = Sample(
    400,
    "bad_cursor",
    "Invalid 'after': pass what 'x-next-after' said in an answer for this batch.",
    "after",
    "invalid_cursor",
)
BAD_RANGE: Final = Sample(
    416, "bad_range", "The range begins behind the end of the file, which has 1204 bytes.", "range"
)
MODEL_UNKNOWN: Final = Sample(
    404, "model_unknown", "The model 'gpt-0' does not exist.", "model", "model_not_found"
)
NOT_READY: Final = Sample(
    503, "not_ready", "The engine does not answer.", code="not_ready", type=SERVER
)
UNIDENTIFIED: Final = docs.UNIDENTIFIED
FORBIDDEN: Final = docs.FORBIDDEN
BAD_NAME: Final = Sample(
    400,
    "bad_name",
    "Invalid 'name': expected a string of 1 to 100 characters, but got one of 0.",
    "name",
    "invalid_string_length",
)
BAD_ACCOUNT: Final = Sample(
    400,
    "bad_account",
    "Invalid 'account': the string holds a NUL character.",
    "account",
    "invalid_string",
)
BAD_MODELS: Final = Sample(
    400,
    "bad_models",
    "Invalid 'models': keys of the default workspace can call every model; name another workspace.",
    "models",
    "invalid_value",
)
ACCOUNT_UNKNOWN: Final = Sample(
    404, "account_unknown", "No account found with id 'acct_5c0de1f2a3b4c5d6e7f80912'.", "account"
)
WORKSPACE_UNKNOWN: Final = Sample(
    404,
    "workspace_unknown",
    "No workspace found with id 'ws_0a1b2c3d4e5f60718293a4b5'.",
    "workspace",
)
API_KEY_UNKNOWN: Final = Sample(
    404, "key_unknown", "No key found with id 'key_9e8d7c6b5a49382716f5e4d3'.", "key_id"
)
AUDIT_UNKNOWN: Final = Sample(
    404, "after_unknown", "No audit entry found with id 'deed_1f2e3d4c5b6a798897a6b5c4'.", "after"
)
LAST_ADMIN_KEY: Final = Sample(
    409,
    "last_admin_key",
    "Key 'key_9e8d7c6b5a49382716f5e4d3' is the last usable admin key of its account: make another "
    "first, or revoke it on the server's machine with 'batchmill keys revoke'.",
    "key_id",
    "last_admin_key",
)
BAD_WEBHOOK_URL: Final = Sample(
    400, "bad_url", "Invalid 'url': expected an http or https URL.", "url", "invalid_value"
)
BAD_EVENT_TYPE: Final = Sample(
    400,
    "bad_event_type",
    "Invalid value: 'response.completed'. Supported values are: 'batch.completed', "
    "'batch.failed', 'batch.expired', 'batch.cancelled', and 'spending.threshold_reached'.",
    "event_types",
    "invalid_value",
)
TOO_MANY_WEBHOOKS: Final = Sample(
    429,
    "too_many_webhooks",
    "Too many webhook endpoints: there may be at most 20. Delete one that is no longer needed.",
    code="too_many_webhook_endpoints",
    type="insufficient_quota",
)
WEBHOOK_UNKNOWN: Final = Sample(
    404, "webhook_unknown", "No webhook endpoint found with id 'whe_2b4d6f8091a3b5c7d9e1f203'."
)
WEBHOOK_UNREACHABLE: Final = Sample(
    400,
    "no_answer",
    "The receiver of webhook endpoint 'whe_2b4d6f8091a3b5c7d9e1f203' gave no answer: timeout.",
    code="webhook_receiver_unreachable",
)
WEBHOOK_DELETED: Final = Sample(
    409,
    "webhook_deleted",
    "Webhook endpoint 'whe_2b4d6f8091a3b5c7d9e1f203' was deleted: nothing can be sent to it.",
    code="webhook_endpoint_deleted",
)
DELIVERY_UNKNOWN: Final = Sample(
    404,
    "delivery_unknown",
    "No webhook delivery found with id 'whd_7a1c2e3f4b5d60718293a4b5c6d7e8f9'.",
)
DELIVERY_CURSOR_UNKNOWN: Final = Sample(
    404,
    "after_unknown",
    "No webhook delivery found with id 'whd_7a1c2e3f4b5d60718293a4b5c6d7e8f9'.",
    "after",
)
