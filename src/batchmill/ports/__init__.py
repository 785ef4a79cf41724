"""The seams of the house: what the rules above need from the world, and the values that cross.

Implementations live in ``store``, ``blobs``, ``journal``, ``upstream``,
``cluster`` and ``webhooks``; ``wiring`` alone introduces them to their users.
Nothing here does anything. Times are Unix seconds, sizes are bytes.
"""

from typing import Protocol

from batchmill.ports.accounts import AccountStore, AuditStore, KeyStore, WorkspaceStore
from batchmill.ports.blobs import BlobMissing, Blobs, BlobWriter, StoredBlob
from batchmill.ports.clock import Clock
from batchmill.ports.cluster import (
    Cluster,
    LeasedWorker,
    Orders,
    RunKey,
    ShardEnd,
    ShardRun,
    Worker,
    WorkerReport,
)
from batchmill.ports.journal import Journal, Record, Sealed, Segment, Settled
from batchmill.ports.leadership import Bell, Leadership
from batchmill.ports.money import (
    BatchSpent,
    CapStore,
    LedgerStore,
    Milestone,
    PriceStore,
    RateStore,
    Standing,
)
from batchmill.ports.secrets import SecretStore
from batchmill.ports.signs import Sign, SignStore
from batchmill.ports.store import (
    BatchQuery,
    BatchStore,
    CursorUnknown,
    FileQuery,
    FileRole,
    FileStore,
    FileUse,
    Idempotency,
    IdempotencyMismatch,
    Kept,
    Page,
    Progress,
    Quota,
    QuotaReached,
    Reservation,
    ShardStore,
    ShardSum,
    ShardTally,
    TooManyUnfinished,
    UnfinishedCap,
    UploadStore,
)
from batchmill.ports.transport import (
    AskingTransport,
    CoroutineTransport,
    Exchange,
    FaultKind,
    Identity,
    Outcome,
    Proxy,
    Reply,
    Target,
    Transport,
    TransportFault,
)
from batchmill.ports.usage import (
    Busy,
    Dimension,
    Group,
    Place,
    SpendingLine,
    Spent,
    UsageFilter,
    UsageLine,
    UsageQuery,
    UsageStore,
)
from batchmill.ports.webhooks import (
    Backlog,
    Due,
    PostFault,
    PostFaultKind,
    Postman,
    TooManyEndpoints,
    WebhookStore,
)


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
    @property
    def accounts(self) -> AccountStore: ...
    @property
    def workspaces(self) -> WorkspaceStore: ...
    @property
    def keys(self) -> KeyStore: ...
    @property
    def audit(self) -> AuditStore: ...
    @property
    def prices(self) -> PriceStore: ...
    @property
    def ledger(self) -> LedgerStore: ...
    @property
    def caps(self) -> CapStore: ...
    @property
    def usage(self) -> UsageStore: ...
    @property
    def rates(self) -> RateStore: ...
    @property
    def webhooks(self) -> WebhookStore: ...
    @property
    def signs(self) -> SignStore: ...
    @property
    def secrets(self) -> SecretStore: ...
    @property
    def leadership(self) -> Leadership: ...
    @property
    def bell(self) -> Bell: ...

    async def ping(self) -> None:
        """Return if the database answers; raises otherwise."""
        ...

    async def close(self) -> None: ...


__all__ = [
    "AccountStore",
    "AskingTransport",
    "AuditStore",
    "Backlog",
    "BatchQuery",
    "BatchSpent",
    "BatchStore",
    "Bell",
    "BlobMissing",
    "BlobWriter",
    "Blobs",
    "Busy",
    "CapStore",
    "Clock",
    "Cluster",
    "CoroutineTransport",
    "CursorUnknown",
    "Dimension",
    "Due",
    "Exchange",
    "FaultKind",
    "FileQuery",
    "FileRole",
    "FileStore",
    "FileUse",
    "Group",
    "Idempotency",
    "IdempotencyMismatch",
    "Identity",
    "Journal",
    "Kept",
    "KeyStore",
    "Leadership",
    "LeasedWorker",
    "LedgerStore",
    "Milestone",
    "Orders",
    "Outcome",
    "Page",
    "Place",
    "PostFault",
    "PostFaultKind",
    "Postman",
    "PriceStore",
    "Progress",
    "Proxy",
    "Quota",
    "QuotaReached",
    "RateStore",
    "Record",
    "Reply",
    "Reservation",
    "RunKey",
    "Sealed",
    "SecretStore",
    "Segment",
    "Settled",
    "ShardEnd",
    "ShardRun",
    "ShardStore",
    "ShardSum",
    "ShardTally",
    "Sign",
    "SignStore",
    "SpendingLine",
    "Spent",
    "Standing",
    "Store",
    "StoredBlob",
    "Target",
    "TooManyEndpoints",
    "TooManyUnfinished",
    "Transport",
    "TransportFault",
    "UnfinishedCap",
    "UploadStore",
    "UsageFilter",
    "UsageLine",
    "UsageQuery",
    "UsageStore",
    "WebhookStore",
    "Worker",
    "WorkerReport",
    "WorkspaceStore",
]
