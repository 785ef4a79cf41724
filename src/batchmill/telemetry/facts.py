"""What a log line may say: the facts that have names, and the fields that they carry.

No other event and no other field ever reaches a log. A new one is added here
after asking whether it could hold a prompt, an answer or a secret.
"""

from enum import StrEnum


class Fact(StrEnum):
    """The events of the log, in the past tense."""

    SERVER_STARTED = "server_started"
    SERVER_STOPPED = "server_stopped"
    STOP_REQUESTED = "stop_requested"
    CHILD_STARTED = "child_started"
    CHILD_DIED = "child_died"
    REQUEST_SERVED = "request_served"  # debug
    REQUEST_REFUSED = "request_refused"  # debug
    REQUEST_FAILED = "request_failed"
    FILE_STORED = "file_stored"
    FILE_DELETED = "file_deleted"
    FILE_EXPIRED = "file_expired"
    UPLOAD_STARTED = "upload_started"
    UPLOAD_COMPLETED = "upload_completed"
    UPLOAD_CANCELLED = "upload_cancelled"
    UPLOAD_EXPIRED = "upload_expired"
    BATCH_CREATED = "batch_created"
    BATCH_PLANNED = "batch_planned"
    BATCH_REJECTED = "batch_rejected"
    BATCH_CANCEL_REQUESTED = "batch_cancel_requested"
    BATCH_MOVED = "batch_moved"
    BATCH_DELIVERED = "batch_delivered"
    BATCH_BROKE = "batch_broke"
    NOTICE_DELIVERED = "notice_delivered"  # debug
    NOTICE_FAILED = "notice_failed"  # debug: a webhook's try, which is repeated
    NOTICE_GIVEN_UP = "notice_given_up"
    NOTICES_GIVEN_UP = "notices_given_up"
    LEADERSHIP_AWAITED = "leadership_awaited"  # another engine leads: this one stands by
    LEADERSHIP_TAKEN = "leadership_taken"
    LEADERSHIP_INTERRUPTED = "leadership_interrupted"  # the connection that held it broke
    LEADERSHIP_LOST = "leadership_lost"  # another engine has taken over
    BELL_FAILED = "bell_failed"  # the engine is not woken: it looks unasked a little later
    SCHEMA_NEWER = "schema_newer"  # a newer release has migrated the database; this one goes on
    ENGINE_STARTED = "engine_started"
    ENGINE_STOPPED = "engine_stopped"
    SHARD_STARTED = "shard_started"  # debug
    SHARD_CLOSED = "shard_closed"  # debug
    SHARD_LOST = "shard_lost"
    WORKER_LOST = "worker_lost"  # its process or its machine is gone; others go on with its shards
    WORKER_BROKE = "worker_broke"  # it could not open what it needs; it tries again
    WORKER_NOT_KILLED = "worker_not_killed"  # its machine cannot be reached
    DISPATCHER_BROKE = "dispatcher_broke"  # it begins anew
    WORKER_FENCED = "worker_fenced"  # silent for too long; others go on with its shards
    LEASE_LAPSED = (
        "lease_lapsed"  # a worker was not heard by the dispatcher: it gives its shards up
    )
    SPENDING_ALERT = "spending_alert"  # the threshold of a monthly limit is passed
    STEP_FAILED = "step_failed"  # a batch's next step failed; it is tried again
    DISPATCH_FAILED = "dispatch_failed"  # the store did not answer; it is asked again
    BEAT_FAILED = "beat_failed"  # a repeated piece of work; the next beat tries again
    SLOT_BROKE = "slot_broke"
    JOURNAL_BROKE = "journal_broke"
    LINE_RETRIED = "line_retried"  # debug
    MODEL_BARRED = "model_barred"  # no upstream is where its lines may be computed
    UPSTREAM_PAUSED = "upstream_paused"
    UPSTREAM_RESUMED = "upstream_resumed"
    MODEL_LOADED = "model_loaded"
    TOKENIZER_FAILED = "tokenizer_failed"  # tokens are estimated by bytes instead
    STORAGE_FULL = "storage_full"
    STORAGE_FREED = "storage_freed"
    STORAGE_AWAY = "storage_away"  # results wait for the bucket; it is tried again
    STORAGE_BACK = "storage_back"
    LIBRARY_SAID = "library_said"  # a line of a library's own log
    UNNAMED = "unnamed"  # someone logged an event that is not listed here


FIELDS = frozenset(
    {
        "account",
        "attempt",
        "attempts",
        "batch_id",
        "blob",
        "bytes",
        "code",
        "completed",
        "count",
        "data_dir",
        "deadline",
        "delivery_id",
        "endpoint",
        "epoch",
        "errno",
        "errors",
        "exit_code",
        "expired",
        "failed",
        "fault",
        "file_id",
        "grace",
        "host",
        "in_flight",
        "line",
        "lines",
        "method",
        "model",
        "models",
        "param",
        "part",
        "pid",
        "port",
        "process",
        "profile",
        "purpose",
        "reason",
        "request_id",
        "resent",
        "restarts",
        "revision",
        "route",
        "scope",
        "seconds",
        "shard",
        "shards",
        "signal",
        "status",
        "tokens",
        "upload_id",
        "upstream",
        "url",
        "verdict",
        "version",
        "wait",
        "window",
        "worker",
    }
)
