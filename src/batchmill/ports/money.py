"""The store of money: price tables, the ledger, caps; and of request rates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from batchmill.domain.account import Deed
from batchmill.domain.caps import Cap
from batchmill.domain.rates import Rate, RateRule, Ruling
from batchmill.domain.webhook import WebhookEvent


class PriceStore(Protocol):
    """Every price table that was ever in force, by version."""

    async def keep(self, version: str, text: str, now: float) -> None:
        """Store the table; one that is there stays as it is."""
        ...

    async def get(self, version: str) -> str | None:
        """The table's text."""
        ...


@dataclass(frozen=True, slots=True)
class BatchSpent:
    """What a batch has cost, in units: its closed shards together, its open ones by index.

    ``recent`` is the part of ``closed`` since the time that was asked for.
    """

    closed: int = 0
    open: Mapping[int, int] = field(default_factory=dict)
    recent: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.closed + sum(self.open.values())


@dataclass(frozen=True, slots=True)
class Standing:
    """Sums of one instant: of batches by id, and what ``ended`` ones cost under each cap."""

    batches: Mapping[str, BatchSpent]
    ended: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Milestone:
    """What a shard's settled lines came to, over all models, when it was last heard of.

    ``millis`` sums the durations of the requests that settled its ``calls``;
    tokens are those of the successful ones. ``retries`` is how often its lines
    were sent again after a fault of any kind, ``rejections`` how often after a 429.
    """

    at: float
    calls: int
    failures: int
    millis: int
    rejections: int
    input_tokens: int
    output_tokens: int
    retries: int = 0


class LedgerStore(Protocol):
    """What was charged, as the engine asks for it. ``UsageStore`` answers everyone else."""

    async def of_batch(self, batch_id: str) -> BatchSpent:
        """As of one instant: a shard that closes meanwhile is counted once."""
        ...

    async def standing(
        self, batch_ids: Sequence[str], caps: Sequence[Cap] = (), since: float | None = None
    ) -> Standing:
        """What these batches cost, and what batches at their end did under ``caps``.

        All as of one instant; 10,000 batches at the most. ``since`` is a full
        hour, from which on the caps and ``BatchSpent.recent`` count.
        """
        ...

    async def course(self, batch_id: str) -> Sequence[Milestone]:
        """A milestone for each closed shard, and each open one that has settled lines; by time."""
        ...

    async def spent(self, cap: Cap, since: float) -> int:
        """Units charged under a cap since a full hour, by closed shards alone."""
        ...


class CapStore(Protocol):
    """Monthly caps, one per thing and currency."""

    async def put(self, cap: Cap, deed: Deed) -> None:
        """Set or replace a cap; the month of its last alert stays."""
        ...

    async def remove(self, cap: Cap, deed: Deed) -> None: ...

    async def list(self, account: str | None = None) -> Sequence[Cap]:
        """The account's caps, or those of all."""
        ...

    async def alert(self, cap: Cap, month: str, event: WebhookEvent) -> bool:
        """Note that the alert of ``month`` went out, with its event; whether it was the first."""
        ...


class RateStore(Protocol):
    """Requests that were admitted lately, over all processes."""

    async def admit(self, account: str, rule: RateRule, rate: Rate, now: float) -> Ruling:
        """Count a request if it may pass, and rule. A power cut may undo it."""
        ...

    async def forget(self, before: float) -> int:
        """Delete what was admitted before that time; how much there was."""
        ...
