"""The tables: what is stored, for every database. No queries here.

``seq`` orders rows that were created in the same instant; cursors are pairs of
``created_at`` and ``seq``. A change here needs a new migration in
``migrations/versions``, which a test holds against this page.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from batchmill.domain.batch import TERMINAL, Status
from batchmill.domain.shards import ShardStatus

# SQLite counts up its rows by itself only where the key is called INTEGER.
_SEQ = BigInteger().with_variant(Integer(), "sqlite")

UNFINISHED = tuple(status.value for status in Status if status not in TERMINAL)


class Words(TypeDecorator[str]):
    """Text as clients send it. What no database takes (NUL, lone surrogates) becomes U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(
        self,
        value: str | None,
        dialect: Dialect,  # noqa: ARG002 - a part of the signature that SQLAlchemy calls
    ) -> str | None:
        """``value`` as it can be stored."""
        if value is None or (value.isascii() and "\0" not in value):
            return value
        cleaned = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in value)
        return cleaned.replace("\0", "\ufffd")


def _seq() -> Column[int]:
    return Column("seq", _SEQ, primary_key=True, autoincrement=True)


def _id() -> Column[str]:
    return Column("id", Words, nullable=False, unique=True)


def _words(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Words, nullable=nullable)


def _number(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> Column[float]:
    return Column(name, Double, nullable=nullable)


_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
# An amount is its whole millionths of the currency and the rest in units of 10^-15 of it: two
# columns that every database sums exactly, and that no sum overflows.
_MONEY = ("list_millionths", "list_rest", "price_millionths", "price_rest")


def _sums() -> list[Column[Any]]:
    return [_number(name) for name in ("completed", "failed", "resent", *_TOKENS)]


def _money(*, nullable: bool = False) -> list[Column[Any]]:
    return [_number(name, nullable=nullable) for name in _MONEY]


def _entry() -> list[Column[Any]]:
    """Which lines a row of the ledger is about."""
    return [
        Column("batch_id", Words, ForeignKey("batches.id"), primary_key=True),
        Column("position", Integer, primary_key=True, autoincrement=False),
        Column("model", Words, primary_key=True),
        Column("region", Words, primary_key=True, server_default=""),
    ]


def _metered() -> list[Column[Any]]:
    """What a shard's lines of one model and region used, for whom, and when."""
    return [
        *_entry(),
        _words("account"),
        _words("workspace"),
        _words("key_id", nullable=True),
        _time("at"),
        _number("hour"),
        _words("price_version"),
        _words("currency", nullable=True),
        *(_number(name) for name in ("calls", "failures", "rejections", "millis", *_TOKENS)),
        *_money(),
        _number("retries"),
    ]


metadata = MetaData()

files = Table(
    "files",
    metadata,
    _seq(),
    _id(),
    _words("account"),
    _words("purpose"),
    _words("filename"),
    _words("folded"),  # the name as it is searched
    _number("bytes"),
    _words("digest"),
    _words("blob"),
    _time("created_at"),
    _time("expires_at", nullable=True),
    Index("ix_files_newest", "account", "created_at", "seq"),
    Index("ix_files_newest_of_purpose", "account", "purpose", "created_at", "seq"),
    Index("ix_files_quota", "account", "bytes"),
    Index("ix_files_expiry", "expires_at"),
    sqlite_autoincrement=True,
)

uploads = Table(
    "uploads",
    metadata,
    _seq(),
    _id(),
    _words("account"),
    _words("purpose"),
    _words("filename"),
    _number("bytes"),
    _words("mime_type"),
    _words("status"),
    _time("created_at"),
    _time("expires_at"),
    _number("file_expires_after", nullable=True),
    _words("file_id", nullable=True),
    Index("ix_uploads_overdue", "status", "expires_at"),
    sqlite_autoincrement=True,
)

upload_parts = Table(
    "upload_parts",
    metadata,
    _seq(),
    _id(),
    Column("upload_id", Words, ForeignKey("uploads.id"), nullable=False),
    _number("bytes"),
    _words("blob"),
    _time("created_at"),
    Index("ix_upload_parts_upload", "upload_id", "seq"),
    sqlite_autoincrement=True,
)

# The sums (total to price_rest) are zero until the batch is terminal: until
# then what counts is the sum over its shards.
batches = Table(
    "batches",
    metadata,
    _seq(),
    _id(),
    _words("account"),
    _words("workspace"),
    _words("key_id", nullable=True),
    _words("allowed_models", nullable=True),
    _words("input_file_id"),
    _words("endpoint"),
    _words("completion_window"),
    _words("status"),
    _words("verdict", nullable=True),
    _words("model", nullable=True),
    _words("name", nullable=True),
    _words("metadata", nullable=True),
    _words("errors", nullable=True),
    _number("output_expires_after", nullable=True),
    _words("price_version"),
    _words("currency", nullable=True),
    _words("budget", nullable=True),
    _words("halt", nullable=True),
    _number("total"),
    *_sums(),
    *_money(),
    _words("output_file_id", nullable=True),
    _words("error_file_id", nullable=True),
    _time("created_at"),
    _time("expires_at"),
    *(
        _time(f"{status}_at", nullable=True)
        for status in (
            Status.IN_PROGRESS,
            Status.FINALIZING,
            Status.COMPLETED,
            Status.FAILED,
            Status.EXPIRED,
            Status.CANCELLING,
            Status.CANCELLED,
        )
    ),
    _words("idempotency_key", nullable=True),
    _words("idempotency_fingerprint", nullable=True),
    Index("ix_batches_newest", "account", "created_at", "seq"),
    Index("ix_batches_newest_of_workspace", "account", "workspace", "created_at", "seq"),
    Index("ix_batches_status", "status", "account", "endpoint"),
    Index("ix_batches_input", "account", "input_file_id", "status"),
    Index("ix_batches_output", "account", "output_file_id"),
    Index("ix_batches_error", "account", "error_file_id"),
    Index("ix_batches_idempotency", "account", "idempotency_key", unique=True),
    sqlite_autoincrement=True,
)

shards = Table(
    "shards",
    metadata,
    Column("batch_id", Words, ForeignKey("batches.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _number("byte_start"),
    _number("byte_end"),
    _number("first_line"),
    _number("lines"),
    _words("models"),
    _words("status"),
    _number("attempt"),
    *_sums(),
    # A batch's shards lie side by side, so that its sums read few pages.
    sqlite_with_rowid=False,
)
# The migration says the same to PostgreSQL; to name that here would load its dialect
# into every process, for 2.5 MB and a tenth of a second.
Index(
    "ix_shards_running",
    shards.c.status,
    sqlite_where=shards.c.status == ShardStatus.RUNNING.value,
)

accounts = Table(
    "accounts",
    metadata,
    _seq(),
    _id(),
    _words("name"),
    _time("created_at"),
    sqlite_autoincrement=True,
)

workspaces = Table(
    "workspaces",
    metadata,
    _seq(),
    _id(),
    Column("account", Words, ForeignKey("accounts.id"), nullable=False),
    _words("name"),
    _number("is_default"),
    _time("created_at"),
    Index("ix_workspaces_account", "account", "seq"),
    sqlite_autoincrement=True,
)

api_keys = Table(
    "api_keys",
    metadata,
    _seq(),
    _id(),
    Column("account", Words, ForeignKey("accounts.id"), nullable=False),
    Column("workspace", Words, ForeignKey("workspaces.id"), nullable=False),
    _words("name"),
    _words("role"),
    Column("prefix", Words, nullable=False, unique=True),
    _words("digest"),
    _words("models", nullable=True),
    _time("created_at"),
    _time("expires_at", nullable=True),
    _time("revoked_at", nullable=True),
    _time("last_used_at", nullable=True),
    Index("ix_api_keys_account", "account", "seq"),
    sqlite_autoincrement=True,
)

audit = Table(
    "audit",
    metadata,
    _seq(),
    _id(),
    _words("account"),
    _words("actor"),
    _words("action"),
    _words("target"),
    _words("detail"),
    _time("created_at"),
    Index("ix_audit_newest", "account", "created_at", "seq"),
    sqlite_autoincrement=True,
)

rate_events = Table(
    "rate_events",
    metadata,
    _seq(),
    _words("account"),
    _words("rule"),
    _time("at"),
    Index("ix_rate_events_rule", "account", "rule", "at"),
)

# Room that uploads under way have taken, until their file is stored or they are given up.
reservations = Table(
    "reservations",
    metadata,
    _seq(),
    _id(),
    _words("account"),
    _number("bytes"),
    _time("expires_at"),
    Index("ix_reservations_account", "account", "expires_at"),
    sqlite_autoincrement=True,
)

price_tables = Table(
    "price_tables",
    metadata,
    _seq(),
    _id(),
    _words("text"),
    _time("created_at"),
    sqlite_autoincrement=True,
)

# Never updated, never deleted: what was charged stays what it was.
ledger = Table(
    "ledger",
    metadata,
    *_metered(),
    Index("ix_ledger_account", "account", "hour"),
    Index("ix_ledger_hour", "hour"),
)

ledger_items = Table(
    "ledger_items",
    metadata,
    *_entry(),
    Column("item", Words, primary_key=True),
    _number("tokens"),
    *_money(),
    # A bill reads them by their entry: so they lie in its order, and once.
    sqlite_with_rowid=False,
)

# What shards that are not closed yet have used so far. A row goes when its shard closes.
meters = Table(
    "meters",
    metadata,
    *_metered(),
    Index("ix_meters_account", "account", "hour"),
)

caps = Table(
    "caps",
    metadata,
    Column("scope", Words, primary_key=True),
    Column("scope_id", Words, primary_key=True),
    Column("currency", Words, primary_key=True),
    _words("account"),
    _words("limit"),
    _number("alert_percent", nullable=True),
    _words("alerted_month", nullable=True),
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    _seq(),
    _id(),
    _words("account"),
    _words("name"),
    _words("url"),
    _words("event_types"),
    _words("secret"),
    _words("old_secret", nullable=True),
    _time("old_secret_until", nullable=True),
    _time("created_at"),
    _time("updated_at"),
    _number("failures"),
    _time("open_until", nullable=True),
    Index("ix_webhook_endpoints_account", "account", "created_at", "seq"),
    sqlite_autoincrement=True,
)

# The outbox: a row an event and receiver, written with what the event tells of.
deliveries = Table(
    "deliveries",
    metadata,
    _seq(),
    _id(),
    _words("account"),
    _words("event_id"),
    _words("event_type"),
    _words("subject"),
    _words("endpoint_id", nullable=True),
    _words("url"),
    _words("payload"),
    _time("created_at"),
    _time("next_at", nullable=True),
    _number("attempts"),
    _time("delivered_at", nullable=True),
    _time("given_up_at", nullable=True),
    _number("last_status", nullable=True),
    _words("last_error", nullable=True),
    Index("ix_deliveries_due", "next_at"),
    Index("ix_deliveries_endpoint", "endpoint_id", "created_at", "seq"),
    Index("ix_deliveries_account", "account", "created_at", "seq"),
    sqlite_autoincrement=True,
)

# One row: how often the right to decide has changed hands, and since when it is where it is.
leadership = Table(
    "leadership",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    _number("epoch"),
    _time("since"),
)

signs = Table(
    "signs",
    metadata,
    Column("name", Words, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    _time("at"),
)

# What all API processes must share, such as the key that sessions are signed with.
secrets = Table(
    "secrets",
    metadata,
    Column("name", Words, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

# One row: the oldest revision whose release may still work on this schema.
schema_terms = Table("schema_terms", metadata, Column("oldest", Words, primary_key=True))
