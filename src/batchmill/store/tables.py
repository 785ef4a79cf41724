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


def _sums() -> list[Column[Any]]:
    names = ("completed", "failed", "resent")
    tokens = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    return [_number(name) for name in names + tokens]


metadata = MetaData()

files = Table(
    "files",
    metadata,
    _seq(),
    _id(),
    _words("account"),
    _words("purpose"),
    _words("filename"),
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

# The sums (total to reasoning_tokens) are zero until the batch is terminal: until
# then what counts is the sum over its shards.
batches = Table(
    "batches",
    metadata,
    _seq(),
    _id(),
    _words("account"),
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
    _number("total"),
    *_sums(),
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
    Index("ix_batches_status", "status", "account", "endpoint"),
    Index("ix_batches_input", "input_file_id", "status"),
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
