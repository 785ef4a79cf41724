"""Files: metadata of stored bytes. The bytes themselves are a blob, elsewhere."""

from dataclasses import dataclass
from enum import StrEnum


class Purpose(StrEnum):
    """What a file is for. Only ``batch`` can be uploaded; ``batch_output`` is ours."""

    BATCH = "batch"
    BATCH_OUTPUT = "batch_output"


@dataclass(frozen=True, slots=True)
class File:
    """Metadata of stored bytes. Its row exists only after its blob is durable.

    ``created_at`` and ``expires_at`` are Unix seconds; ``digest`` is the
    SHA-256 of the bytes in hex; ``blob`` is the key of the bytes.
    """

    id: str
    account: str
    purpose: Purpose
    filename: str
    bytes: int
    digest: str
    blob: str
    created_at: float
    expires_at: float | None = None

    def is_expired(self, now: float) -> bool:
        """Whether the file's life is over at ``now``."""
        return self.expires_at is not None and now >= self.expires_at


class UploadStatus(StrEnum):
    """The life of a multipart upload."""

    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that arrives in parts. ``bytes`` is the total that was declared."""

    id: str
    account: str
    purpose: Purpose
    filename: str
    bytes: int
    mime_type: str
    status: UploadStatus
    created_at: float
    expires_at: float
    file_expires_after: int | None = None
    file_id: str | None = None


@dataclass(frozen=True, slots=True)
class UploadPart:
    """One stored part of an upload."""

    id: str
    upload_id: str
    bytes: int
    blob: str
    created_at: float
