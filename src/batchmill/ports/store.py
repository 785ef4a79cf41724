"""The store: the database. One protocol per noun, each verb one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from batchmill.domain.account import Deed
from batchmill.domain.batch import Batch, Status
from batchmill.domain.file import File, Upload, UploadPart
from batchmill.domain.ledger import Entry
from batchmill.domain.shards import Shard, ShardStatus
from batchmill.domain.usage import Usage

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A page of a list, and whether there is more behind it."""

    items: tuple[Item, ...]
    has_more: bool


class CursorUnknown(Exception):
    """The ``after`` of a list names nothing that this account has."""


@dataclass(frozen=True, slots=True)
class FileQuery:
    """Which files to list; ``created_after`` and ``created_before`` are inclusive bounds.

    ``search`` is a part of the file's name or of its id, whatever the case.
    """

    limit: int
    after: str | None = None
    purpose: str | None = None
    descending: bool = True
    created_after: float | None = None
    created_before: float | None = None
    search: str | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """How many files and bytes an account may keep."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Kept:
    """How many files and bytes count against an account's quota."""

    files: int
    bytes: int


class QuotaReached(Exception):
    """Storing the file would exceed the quota; ``of`` is ``files`` or ``bytes``."""

    def __init__(self, of: str) -> None:
        super().__init__(of)
        self.of = of


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room that an upload under way has taken: one file of so many bytes, until ``expires_at``.

    ``id`` is that of the file or the upload that it is taken for.
    """

    id: str
    account: str
    bytes: int
    expires_at: float


class FileStore(Protocol):
    """Rows of files, and the room that is reserved for those to come.

    What counts against a quota are files, reservations that have not expired,
    and pending uploads.
    """

    async def reserve(self, reservation: Reservation, quota: Quota, now: float) -> None:
        """Take room, or change how much is taken and until when; raises QuotaReached."""
        ...

    async def release(self, reservation_id: str) -> None:
        """Give room back; without a reservation, do nothing."""
        ...

    async def drop_stale(self, now: float) -> int:
        """Delete reservations whose time is over; how many there were."""
        ...

    async def add(self, file: File, quota: Quota) -> None:
        """Store the row in the room that was reserved for its id, if any.

        Raises QuotaReached; count and insert are one transaction.
        """
        ...

    async def get(self, account: str, file_id: str) -> File | None: ...

    async def list(self, account: str, query: FileQuery) -> Page[File]:
        """Files by creation time; raises CursorUnknown."""
        ...

    async def kept(self, account: str, now: float) -> Kept:
        """What counts against the account's quota now."""
        ...

    async def delete(self, account: str, file_id: str, deed: Deed | None = None) -> str | None:
        """Delete the row unless an unfinished batch uses the file: then return that batch's id."""
        ...

    async def expired(self, now: float, limit: int) -> Sequence[File]:
        """Files whose life is over and that no unfinished batch uses."""
        ...


class UploadStore(Protocol):
    """Rows of multipart uploads and their parts."""

    async def add(self, upload: Upload, quota: Quota) -> None:
        """Store the row, which takes the room of its declared size; raises QuotaReached."""
        ...

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

    ``name_contains`` is looked for in the metadata value ``ds_name``, ``search``
    there and in the id, both whatever the case. An empty tuple is no condition;
    a batch of several models, or of none yet, has none of ``models``.
    """

    limit: int
    after: str | None = None
    name_contains: str | None = None
    input_file_ids: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = ()
    created_after: float | None = None
    created_before: float | None = None
    search: str | None = None
    workspaces: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


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
    """How far a batch is, as the running engine last wrote it down.

    ``waits_for`` says, in a sentence, which allowance it waits for.
    """

    queue_position: int | None
    lines_per_second: float | None
    waits_for: str | None = None


class FileRole(StrEnum):
    """What a batch has a file for."""

    INPUT = "input"
    OUTPUT = "output"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class FileUse:
    """A batch that a file belongs to; ``name`` is its metadata value ``ds_name``."""

    batch_id: str
    name: str | None
    role: FileRole
    status: Status


class BatchStore(Protocol):
    """Rows of batches. While a batch runs its sums are those over its shards and the ledger.

    A move to a terminal status writes the event of it to the outbox.
    """

    async def create(
        self,
        batch: Batch,
        idempotency: Idempotency | None,
        caps: Sequence[UnfinishedCap],
        deed: Deed | None = None,
    ) -> Batch:
        """Store a new batch, or return the one that this idempotency key made.

        Raises IdempotencyMismatch and TooManyUnfinished; one transaction.
        """
        ...

    async def get(self, account: str, batch_id: str) -> Batch | None: ...

    async def list(self, account: str, query: BatchQuery) -> Page[Batch]:
        """Batches, newest first; raises CursorUnknown."""
        ...

    async def using(
        self, account: str, file_ids: Sequence[str], *, most: int
    ) -> Mapping[str, Sequence[FileUse]]:
        """The account's batches by the files that they use; a file without a use is absent.

        Of each file ``most`` at the most: unfinished ones first, then the newest.
        """
        ...

    async def unfinished(self, only: Sequence[str] | None = None) -> Sequence[Batch]:
        """Every batch in a status that is not terminal, of every account, oldest first.

        With ``only``, those of them that have one of these ids.
        """
        ...

    async def standing(self) -> Mapping[str, Status]:
        """The status of every batch that ``unfinished`` tells, by id, oldest first.

        It reads a row a batch and sums nothing, so that it can be asked all the time.
        """
        ...

    async def move(self, before: Batch, after: Batch, deed: Deed | None = None) -> bool:
        """Store ``after`` if the stored status is still ``before``'s; whether it was."""
        ...

    async def settle(self, before: Batch, after: Batch) -> bool:
        """``move``, if every shard of the batch is done; whether it was."""
        ...

    async def plan(self, before: Batch, after: Batch, shards: Sequence[Shard]) -> bool:
        """``move``, and store the shards in the same transaction."""
        ...

    async def deliver(
        self, before: Batch, after: Batch, files: Sequence[File], entries: Sequence[Entry] = ()
    ) -> bool:
        """``move``, and store the result files in the same transaction.

        ``entries`` are those of the shards that were never closed.
        """
        ...


@dataclass(frozen=True, slots=True)
class ShardTally:
    """What of a shard is durably settled so far, by this attempt and the earlier ones.

    ``at`` is when it was read; ``entries`` hold the same by model, with prices.
    """

    batch_id: str
    index: int
    attempt: int
    completed: int
    failed: int
    usage: Usage
    resent: int
    at: float = 0.0
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class ShardSum:
    """The shards of a batch that ask for the same models and have the same status, together.

    ``attempts`` is the most that one of them has had, ``bytes`` those of the input.
    """

    models: tuple[str, ...]
    status: ShardStatus
    shards: int
    lines: int
    bytes: int
    attempts: int


class ShardStore(Protocol):
    """Rows of shards."""

    async def of_batch(self, batch_id: str) -> Sequence[Shard]:
        """All shards of a batch, by index."""
        ...

    async def undone(self, batch_id: str, start: int, limit: int) -> Sequence[Shard]:
        """The next ``limit`` shards of a batch that are not done, from index ``start`` on."""
        ...

    async def sums(self, batch_id: str) -> Sequence[ShardSum]:
        """What the shards of a batch come to."""
        ...

    async def settled(self) -> Mapping[str, int]:
        """How many lines of running shards are settled, by batch; as last tallied."""
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
        """Set the shard done and write its entries into the ledger.

        Guarded by the attempt number: whether it was this attempt's. One
        transaction, which shards that end at the same time may share; may be
        repeated.
        """
        ...

    async def release(self, held: Sequence[Shard] = ()) -> int:
        """Set every running shard back to waiting; how many there were.

        Those of ``held`` stay, where the stored attempt is the one handed in.
        """
        ...

    async def fence(self, batch_id: str) -> None:
        """Set a batch's running shards back to waiting: which are done can change no more.

        For a batch that hands out nothing any more; a late twin closes nothing.
        """
        ...
