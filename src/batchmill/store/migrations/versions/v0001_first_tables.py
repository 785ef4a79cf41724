"""Files, uploads, batches, shards."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from batchmill.store.migrations import TEXT

revision = "0001"
down_revision = None

SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def words(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=nullable) for name in names]


def numbers(*names: str, nullable: bool = False) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=nullable) for name in names]


def times(*names: str, nullable: bool = False) -> list[sa.Column[float]]:
    return [sa.Column(name, sa.Double(), nullable=nullable) for name in names]


def sums() -> list[sa.Column[int]]:
    tokens = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    return numbers("completed", "failed", "resent", *tokens)


def create(name: str, *columns: sa.Column[Any] | sa.Constraint) -> None:
    seq = sa.Column("seq", SEQ, primary_key=True, autoincrement=True)
    identity = sa.Column("id", TEXT, nullable=False, unique=True)
    op.create_table(name, seq, identity, *columns, sqlite_autoincrement=True)


def upgrade() -> None:
    create_files()
    create_uploads()
    create_batches()
    create_shards()


def create_files() -> None:
    create(
        "files",
        *words("account", "purpose", "filename"),
        *numbers("bytes"),
        *words("digest", "blob"),
        *times("created_at"),
        *times("expires_at", nullable=True),
    )
    op.create_index("ix_files_newest", "files", ["account", "created_at", "seq"])
    newest_of_purpose = ["account", "purpose", "created_at", "seq"]
    op.create_index("ix_files_newest_of_purpose", "files", newest_of_purpose)
    op.create_index("ix_files_quota", "files", ["account", "bytes"])
    op.create_index("ix_files_expiry", "files", ["expires_at"])


def create_uploads() -> None:
    create(
        "uploads",
        *words("account", "purpose", "filename"),
        *numbers("bytes"),
        *words("mime_type", "status"),
        *times("created_at", "expires_at"),
        *numbers("file_expires_after", nullable=True),
        *words("file_id", nullable=True),
    )
    op.create_index("ix_uploads_overdue", "uploads", ["status", "expires_at"])
    create(
        "upload_parts",
        sa.Column("upload_id", TEXT, sa.ForeignKey("uploads.id"), nullable=False),
        *numbers("bytes"),
        *words("blob"),
        *times("created_at"),
    )
    op.create_index("ix_upload_parts_upload", "upload_parts", ["upload_id", "seq"])


def create_batches() -> None:
    create(
        "batches",
        *words("account", "input_file_id", "endpoint", "completion_window", "status"),
        *words("verdict", "model", "name", "metadata", "errors", nullable=True),
        *numbers("output_expires_after", nullable=True),
        *numbers("total"),
        *sums(),
        *words("output_file_id", "error_file_id", nullable=True),
        *times("created_at", "expires_at"),
        *times("in_progress_at", "finalizing_at", "completed_at", "failed_at", nullable=True),
        *times("expired_at", "cancelling_at", "cancelled_at", nullable=True),
        *words("idempotency_key", "idempotency_fingerprint", nullable=True),
    )
    op.create_index("ix_batches_newest", "batches", ["account", "created_at", "seq"])
    op.create_index("ix_batches_status", "batches", ["status", "account", "endpoint"])
    op.create_index("ix_batches_input", "batches", ["input_file_id", "status"])
    idempotency = ["account", "idempotency_key"]
    op.create_index("ix_batches_idempotency", "batches", idempotency, unique=True)


def create_shards() -> None:
    batch = sa.Column("batch_id", TEXT, sa.ForeignKey("batches.id"), primary_key=True)
    position = sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False)
    op.create_table(
        "shards",
        batch,
        position,
        *numbers("byte_start", "byte_end", "first_line", "lines"),
        *words("models", "status"),
        *numbers("attempt"),
        *sums(),
        sqlite_with_rowid=False,
    )
    running = sa.text("status = 'running'")
    op.create_index(
        "ix_shards_running", "shards", ["status"], sqlite_where=running, postgresql_where=running
    )
