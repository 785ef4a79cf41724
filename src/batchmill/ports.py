"""The seams of the house: what the rules above need from the world, and the values that cross.

Implementations live in ``store``, ``blobs``, ``journal``, ``upstream`` and
``cluster``; ``wiring`` alone introduces them to their users. Nothing here does
anything. Times are Unix seconds, sizes are bytes.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from batchmill.domain.batch import Batch, Status
from batchmill.domain.file import File, Upload, UploadPart
from batchmill.domain.shards import Shard
from batchmill.domain.usage import Usage

Item = TypeVar("Item")


class Clock(Protocol):
    """Time, so that tests can move it."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` of this clock."""
        ...


# --- Store: the database. One protocol per noun, each verb one transaction. ---


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A page of a list, and whether there is more behind it."""

    items: tuple[Item, ...]
    has_more: bool


class CursorUnknown(Exception):
    """The ``after`` of a list names nothing that this account has."""


@dataclass(frozen=True, slots=True)
class FileQuery:
    """Which files to list; ``created_after`` and ``created_before`` are inclusive bounds."""

    limit: int
    after: str | None = None
    purpose: str | None = None
    descending: bool = True
    created_after: float | None = None
    created_before: float | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """How many files and bytes an account may keep."""

    files: int
    bytes: int


class QuotaReached(Exception):
    """Storing the file would exceed the quota; ``of`` is ``files`` or ``bytes``."""

    def __init__(self, of: str) -> None:
        super().__init__(of)
        self.of = of


class FileStore(Protocol):
    """Rows of files."""

    async def add(self, file: File, quota: Quota) -> None:
        """Store the row, or raise QuotaReached; count and insert are one transaction."""
        ...

    async def get(self, account: str, file_id: str) -> File | None: ...

    async def list(self, account: str, query: FileQuery) -> Page[File]:
        """Files by creation time; raises CursorUnknown."""
        ...

    async def delete(self, account: str, file_id: str) -> str | None:
        """Delete the row unless an unfinished batch uses the file: then return that batch's id."""
        ...

    async def expired(self, now: float, limit: int) -> Sequence[File]:
        """Files whose life is over and that no unfinished batch uses."""
        ...


class UploadStore(Protocol):
    """Rows of multipart uploads and their parts."""

    async def add(self, upload: Upload) -> None: ...

    async def get(self, account: str, upload_id: str) -> Upload | None: ...

    async def add_part(self, part: UploadPart) -> bool:
        """Store a part if the upload is still pending; whether it was."""
        ...

    async def parts(self, upload_id: str) -> Sequence[UploadPart]: ...

    async def complete(self, upload: Upload, file: File, quota: Quota) -> bool:
        """Store the file and close the upload, if it was still pending; raises QuotaReached."""
        ...

    async def close(self, upload: Upload) -> bool:
        """Store ``upload``'s terminal status, if it was still pending."""
        ...

    async def overdue(self, now: float, limit: int) -> Sequence[Upload]:
        """Pending uploads whose hour is over."""
        ...


@dataclass(frozen=True, slots=True)
class BatchQuery:
    """Which batches to list, newest first; the filters combine with AND.

    ``name_contains`` is looked for in the metadata value ``ds_name``.
    """

    limit: int
    after: str | None = None
    name_contains: str | None = None
    input_file_ids: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = ()
    created_after: float | None = None
    created_before: float | None = None


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A client's key and a digest of the parameters that it was first used with."""

    key: str
    fingerprint: str


class IdempotencyMismatch(Exception):
    """The key was used before, with other parameters."""


class TooManyUnfinished(Exception):
    """The account has as many unfinished batches of this kind as it may."""


@dataclass(frozen=True, slots=True)
class UnfinishedCap:
    """At most ``count`` unfinished batches; for ``endpoint`` alone where one is named."""

    count: int
    endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is, as the running engine last wrote it down."""

    queue_position: int | None
    lines_per_second: float | None


class BatchStore(Protocol):
    """Rows of batches. While a batch runs its counts and usage are the sums over its shards."""

    async def create(
        self, batch: Batch, idempotency: Idempotency | None, caps: Sequence[UnfinishedCap]
    ) -> Batch:
        """Store a new batch, or return the one that this idempotency key made.

        Raises IdempotencyMismatch and TooManyUnfinished; one transaction.
        """
        ...

    async def get(self, account: str, batch_id: str) -> Batch | None: ...

    async def list(self, account: str, query: BatchQuery) -> Page[Batch]:
        """Batches, newest first; raises CursorUnknown."""
        ...

    async def unfinished(self) -> Sequence[Batch]:
        """Every batch in a status that is not terminal, of every account, oldest first."""
        ...

    async def move(self, before: Batch, after: Batch) -> bool:
        """Store ``after`` if the stored status is still ``before``'s; whether it was."""
        ...

    async def plan(self, before: Batch, after: Batch, shards: Sequence[Shard]) -> bool:
        """``move``, and store the shards in the same transaction."""
        ...

    async def deliver(self, before: Batch, after: Batch, files: Sequence[File]) -> bool:
        """``move``, and store the result files in the same transaction."""
        ...


@dataclass(frozen=True, slots=True)
class ShardTally:
    """What of a shard is durably settled so far, by this attempt and the earlier ones."""

    batch_id: str
    index: int
    attempt: int
    completed: int
    failed: int
    usage: Usage
    resent: int


class ShardStore(Protocol):
    """Rows of shards."""

    async def of_batch(self, batch_id: str) -> Sequence[Shard]:
        """All shards of a batch, by index."""
        ...

    async def claim(self, shards: Sequence[Shard]) -> Sequence[Shard]:
        """Set shards running, each with its next attempt number; return those.

        Left alone are shards that are done, and those whose stored attempt is
        not the one that is handed in.
        """
        ...

    async def tally(self, tallies: Sequence[ShardTally]) -> None:
        """Write progress of running shards; a tally of another attempt changes nothing."""
        ...

    async def close(self, tally: ShardTally) -> bool:
        """Set the shard done, guarded by the attempt number; whether it was this attempt's."""
        ...

    async def release(self) -> int:
        """Set every running shard back to waiting; how many there were."""
        ...


class Store(Protocol):
    """The database."""

    @property
    def files(self) -> FileStore: ...
    @property
    def uploads(self) -> UploadStore: ...
    @property
    def batches(self) -> BatchStore: ...
    @property
    def shards(self) -> ShardStore: ...

    async def ping(self) -> None:
        """Return if the database answers; raises otherwise."""
        ...

    async def close(self) -> None: ...


# --- Blobs: the bytes behind files. ---


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A durable blob: its size and the SHA-256 of its bytes in hex."""

    key: str
    bytes: int
    digest: str


class BlobMissing(Exception):
    """There are no bytes under this key."""


class BlobWriter(Protocol):
    """A blob that is being written. It appears under its key at ``commit``, whole and durable."""

    async def write(self, data: bytes) -> None:
        """Append ``data``; raises StorageFull."""
        ...

    async def commit(self) -> StoredBlob:
        """Make the blob durable under its key; raises StorageFull."""
        ...

    async def abort(self) -> None:
        """Leave nothing behind; harmless after ``commit``."""
        ...


class Blobs(Protocol):
    """Bytes, addressed by key."""

    async def create(self, key: str) -> BlobWriter:
        """Begin to write; a blob that stands under ``key`` is replaced at commit."""
        ...

    def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Bytes ``[start, end)`` in chunks of about 1 MiB; raises BlobMissing."""
        ...

    async def delete(self, key: str) -> None:
        """Remove the blob; without one, do nothing."""
        ...


# --- Journal: the durable log of results. ---


@dataclass(frozen=True, slots=True)
class Record:
    """One settled line: its number, whether it succeeded, its tokens, its finished file line."""

    number: int
    ok: bool
    usage: Usage
    line: bytes


@dataclass(frozen=True, slots=True)
class Settled:
    """What earlier attempts at a shard left behind, by line number.

    ``sent`` are the lines that went to an upstream, as far as it was written
    down: those of them without a record may be answered twice.
    """

    records: Mapping[int, Record]
    sent: frozenset[int]


class Segment(Protocol):
    """An attempt's open log."""

    def mark_sent(self, number: int) -> None:
        """Note that a line is about to go to an upstream; best effort, for counting."""
        ...

    def append(self, record: Record) -> None:
        """Add a record; it is settled once ``on_durable`` has been told of it."""
        ...

    async def close(self) -> None:
        """Return when everything appended is durable, and close."""
        ...


class Journal(Protocol):
    """Results of running batches, one segment per attempt at a shard."""

    async def open(self, shard: Shard, on_durable: Callable[[Sequence[Record]], None]) -> Segment:
        """Begin the segment of ``shard.attempt``; ``on_durable`` hears of each durable group."""
        ...

    async def roomy(self) -> None:
        """Return while there is room to write; wait while the disk is full or behind."""
        ...

    async def read(self, batch_id: str, index: int) -> Settled:
        """What is durable of a shard, of all attempts; the first record of a line counts."""
        ...

    async def drop(self, batch_id: str) -> None:
        """Remove the batch's segments."""
        ...

    async def held(self) -> Sequence[str]:
        """The ids of the batches that there are segments of."""
        ...


# --- Transport: one request to an upstream. ---


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how to reach a model server.

    ``url`` is its base, such as ``http://10.0.0.5:8000/v1``; ``api_key`` never
    shows in a repr.
    """

    url: str
    api_key: str | None = None
    connect_timeout: float = 10.0
    request_timeout: float = 600.0
    max_answer_bytes: int = 64 * 1024 * 1024

    def __repr__(self) -> str:
        return f"Target({self.url!r})"


@dataclass(frozen=True, slots=True)
class Reply:
    """An upstream's whole answer. ``retry_after`` is its header, in seconds."""

    status: int
    body: bytes
    retry_after: float | None = None


class FaultKind(StrEnum):
    """Why there is no answer."""

    UNREACHABLE = "unreachable"  # no connection came about; nothing was sent
    RESET = "reset"  # the connection ended before the whole answer
    TIMEOUT = "timeout"  # the answer did not come in time
    TOO_LARGE = "too_large"  # the answer is larger than the cap
    GARBLED = "garbled"  # what came is not HTTP


class TransportFault(Exception):
    """No whole answer came; ``detail`` is for logs and holds no content."""

    def __init__(self, kind: FaultKind, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else str(kind))
        self.kind = kind
        self.detail = detail


class Transport(Protocol):
    """Sends one POST to one upstream."""

    async def send(
        self, path: str, body: bytes, idempotency_key: str, timeout: float | None = None
    ) -> Reply:
        """POST ``body`` (JSON) to ``path`` under the target's base.

        ``path`` is the line's url without its ``/v1``, such as
        ``/chat/completions``. ``timeout`` shortens the target's own. Raises
        TransportFault. Cancelling the call aborts the request.
        """
        ...

    async def close(self) -> None:
        """Abort what is in flight and close every connection."""
        ...


# --- Cluster: where workers live. ---


class ShardEnd(StrEnum):
    """How a shard's run ended."""

    FINISHED = "finished"  # every line settled and closed in the store
    STOPPED = "stopped"  # stopped on request; what had settled is durable
    LOST = "lost"  # the worker is gone or broke; the journal says what had settled


@dataclass(frozen=True, slots=True)
class ShardRun:
    """A shard to run: what a worker needs besides the blobs, the journal and the store."""

    shard: Shard
    endpoint: str
    input_blob: str
    deadline: float


class Worker(Protocol):
    """Runs shards: what a cluster hands them to."""

    async def run(self, run: ShardRun) -> ShardEnd:
        """Run a shard to its end; raises what breaks it."""
        ...

    async def cancel(self, batch_id: str, grace: float) -> None:
        """Send nothing more of this batch; abort what is in flight after ``grace`` seconds."""
        ...

    def wanted(self, model: str) -> int:
        """How many more lines this model's slots could use now."""
        ...

    async def stop(self, grace: float) -> None:
        """Stop sending, wait up to ``grace`` for what is in flight, then abort it."""
        ...


class Cluster(Protocol):
    """Where workers live. It runs shards on them and tells how each ended."""

    def run(self, run: ShardRun, on_end: Callable[[Shard, ShardEnd], None]) -> None:
        """Hand a shard to a worker; ``on_end`` is called once, later."""
        ...

    async def cancel(self, batch_id: str, grace: float) -> None:
        """As ``Worker.cancel``, for every worker."""
        ...

    def wanted(self, model: str) -> int:
        """As ``Worker.wanted``, over all workers."""
        ...

    async def stop(self, grace: float) -> None:
        """Stop every worker; each run's ``on_end`` is called before this returns."""
        ...
