"""The store's answers about usage and spending: sums over the ledger, by period and by whom.

Usage counts shards that still run too; spending is what was charged, by closed
shards alone. Amounts are in units, and of one currency a line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from batchmill.domain.periods import Bucket
from batchmill.domain.pricing import Item
from batchmill.domain.usage import Usage
from batchmill.ports.store import Page


class Dimension(StrEnum):
    """By what lines are told apart, besides periods and accounts."""

    MODEL = "model"
    WORKSPACE = "workspace"
    KEY = "key"
    BATCH = "batch"
    REGION = "region"


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Whose usage, from ``since`` until just before ``until``; the conditions combine with AND.

    ``account`` None is every account; an empty tuple is no condition.
    """

    account: str | None
    since: float
    until: float
    models: tuple[str, ...] = ()
    workspaces: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    batches: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What to sum. ``after`` is the place of the last line of the page before."""

    where: UsageFilter
    bucket: Bucket
    group_by: tuple[Dimension, ...] = ()
    limit: int = 1000
    after: "Place | None" = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a line stands in its list: its period, and the names that tell it apart."""

    period: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """What a line is the sum of; None for what is not told apart, or has no name."""

    bucket: Bucket
    period: int
    account: str
    model: str | None = None
    workspace: str | None = None
    workspace_name: str | None = None
    key: str | None = None
    key_name: str | None = None
    batch: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class UsageLine:
    """Calls and tokens of a group. ``embedding`` tokens are a part of ``usage.input``."""

    group: Group
    place: Place
    calls: int
    failures: int
    rejections: int
    millis: int
    usage: Usage
    embedding: int


@dataclass(frozen=True, slots=True)
class SpendingLine:
    """What a group was charged for one item; ``currency`` None says that it has no price."""

    group: Group
    place: Place
    item: Item
    tokens: int
    currency: str | None
    list_price: int
    price: int


@dataclass(frozen=True, slots=True)
class Busy:
    """A batch at work on a model: from its begin to the last that is known of it."""

    model: str
    workspace: str
    begun_at: float
    last_at: float


@dataclass(frozen=True, slots=True)
class Spent:
    """What a key has cost: ``charged`` by closed shards, ``running`` by the others so far."""

    account: str
    workspace: str
    key: str | None
    currency: str
    charged: int
    running: int


class UsageStore(Protocol):
    """Sums over the ledger and the shards that run."""

    async def usage(self, query: UsageQuery) -> Page[UsageLine]:
        """Lines in the order of their places, none where nothing was used."""
        ...

    async def spending(self, query: UsageQuery) -> Page[SpendingLine]:
        """Lines in the order of their places, an item a line."""
        ...

    async def busy(self, where: UsageFilter) -> Sequence[Busy]:
        """Every batch and model that anything was used by."""
        ...

    async def spent(self, where: UsageFilter) -> Sequence[Spent]:
        """What was spent, by key, workspace, account and currency."""
        ...

    async def mean_output(self, model: str, account: str | None, since: float) -> float | None:
        """Output tokens of a successful line, on average; None where there was none."""
        ...
