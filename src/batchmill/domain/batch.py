"""The life of a batch: statuses, events, the transition table, ``advance``.

Everything that decides which status follows which stands in ``TABLE``. The
picture in ARCHITECTURE.md is drawn from it. A status never goes back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from batchmill.domain.account import OPERATOR_WORKSPACE
from batchmill.domain.ledger import Payer
from batchmill.domain.pricing import NO_PRICES
from batchmill.domain.usage import ZERO, Usage


class Status(StrEnum):
    """The eight public statuses; they are also what is stored."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing follows this status."""
        return self in TERMINAL


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.EXPIRED, Status.CANCELLED})


class Event(StrEnum):
    """What can happen to a batch: facts, in the past tense."""

    PLANNED = "planned"
    REJECTED = "rejected"
    SETTLED = "settled"
    CANCEL_REQUESTED = "cancel_requested"
    DEADLINE_PASSED = "deadline_passed"
    HALTED = "halted"
    DELIVERED = "delivered"
    BROKE = "broke"


class Halt(StrEnum):
    """Which limit of spending ended a batch before all of its lines were sent."""

    BUDGET = "budget"
    ACCOUNT = "account"
    WORKSPACE = "workspace"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class LineError:
    """Why a line is not acceptable. ``line`` counts from 1; None is the whole file."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """How many lines there are and what became of them."""

    total: int = 0
    completed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """One run of an input file against one endpoint, with a deadline.

    All times are Unix seconds. ``expires_at`` is the deadline; ``verdict`` is
    the terminal status that a stopping batch is bound for. ``resent`` counts
    lines that went to the upstream again because their first answer was lost.

    ``allowed_models`` None allows all. Prices are those of the table
    ``price_version`` at the time of creation; ``list_price`` and ``price`` are
    units of ``currency`` (see ``money``), which is None where nothing is
    priced. ``budget`` is the most that may be spent, in units; ``halt`` says
    which limit ended the batch.
    """

    id: str
    account: str
    input_file_id: str
    endpoint: str
    completion_window: str
    status: Status
    created_at: float
    expires_at: float
    workspace: str = OPERATOR_WORKSPACE
    key_id: str | None = None
    allowed_models: tuple[str, ...] | None = None
    metadata: Mapping[str, str] | None = None
    output_expires_after: int | None = None
    verdict: Status | None = None
    model: str | None = None
    errors: tuple[LineError, ...] = ()
    counts: Counts = field(default_factory=Counts)
    usage: Usage = ZERO
    resent: int = 0
    price_version: str = NO_PRICES.version
    currency: str | None = None
    list_price: int = 0
    price: int = 0
    budget: int | None = None
    halt: Halt | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: float | None = None
    finalizing_at: float | None = None
    completed_at: float | None = None
    failed_at: float | None = None
    expired_at: float | None = None
    cancelling_at: float | None = None
    cancelled_at: float | None = None

    @property
    def ended_at(self) -> float:
        """When it came to its end; raises ValueError before that."""
        ends = (self.completed_at, self.failed_at, self.expired_at, self.cancelled_at)
        return max(end for end in ends if end is not None)

    @property
    def has_settled(self) -> bool:
        """Whether it is bound for completion because every shard of it was done."""
        return self.verdict is Status.COMPLETED and self.halt is None

    @property
    def payer(self) -> Payer:
        """Whose bill it goes on."""
        return Payer(self.account, self.workspace, self.key_id)


@dataclass(frozen=True, slots=True)
class Move:
    """A cell of the table: the status that follows, and the verdict it is bound for.

    ``to`` None means the stored verdict; ``same`` leaves the batch as it is.
    """

    to: Status | None = None
    verdict: Status | None = None
    same: bool = False


UNCHANGED = Move(same=True)
BROKEN = Move(Status.FAILED)

TABLE: Mapping[Status, Mapping[Event, Move]] = {
    Status.VALIDATING: {
        Event.PLANNED: Move(Status.IN_PROGRESS),
        Event.REJECTED: Move(Status.FAILED),
        Event.CANCEL_REQUESTED: Move(Status.CANCELLING, Status.CANCELLED),
        Event.DEADLINE_PASSED: Move(Status.EXPIRED),
        Event.BROKE: BROKEN,
    },
    Status.IN_PROGRESS: {
        Event.SETTLED: Move(Status.FINALIZING, Status.COMPLETED),
        Event.CANCEL_REQUESTED: Move(Status.CANCELLING, Status.CANCELLED),
        Event.DEADLINE_PASSED: Move(Status.FINALIZING, Status.EXPIRED),
        Event.HALTED: Move(Status.FINALIZING, Status.COMPLETED),
        Event.BROKE: BROKEN,
    },
    Status.FINALIZING: {Event.DELIVERED: Move(), Event.BROKE: BROKEN},
    Status.CANCELLING: {
        Event.CANCEL_REQUESTED: UNCHANGED,
        Event.DELIVERED: Move(),
        Event.BROKE: BROKEN,
    },
    Status.COMPLETED: {},
    Status.FAILED: {},
    Status.EXPIRED: {},
    Status.CANCELLED: {Event.CANCEL_REQUESTED: UNCHANGED},
}


class IllegalEvent(Exception):
    """The event cannot happen to a batch in this status."""

    def __init__(self, status: Status, event: Event) -> None:
        super().__init__(f"'{event}' cannot happen to a batch with status '{status}'")
        self.status = status
        self.event = event


def advance(batch: Batch, event: Event, now: float) -> Batch:
    """The batch after ``event``: its status moved, its verdict set, its time stamped.

    Raises IllegalEvent where the table has no cell.
    """
    move = TABLE[batch.status].get(event)
    if move is None:
        raise IllegalEvent(batch.status, event)
    if move.same:
        return batch
    to = move.to if move.to is not None else batch.verdict
    if to is None:
        raise IllegalEvent(batch.status, event)
    stamp: dict[str, Any] = {f"{to}_at": now}
    return replace(batch, status=to, verdict=move.verdict, **stamp)
