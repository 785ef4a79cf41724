"""The cluster: where workers live, and what they run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from batchmill.domain.ledger import Terms
from batchmill.domain.shards import Shard
from batchmill.domain.sharing import Grant, Load


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
    terms: Terms


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


@dataclass(frozen=True, slots=True)
class Orders:
    """What the dispatcher tells a worker every second.

    ``grant`` are the slots that it may use, and until when. ``broke`` are the
    batches of which nothing more may be sent, since a limit of spending is used up.
    """

    grant: Grant
    broke: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RunKey:
    """Which attempt at which shard."""

    batch_id: str
    index: int
    attempt: int


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker answers to its orders, as it stands once they are carried out.

    ``settled`` says of each run under way how many of its lines are durably
    settled, by earlier attempts too.
    """

    load: Load
    settled: Mapping[RunKey, int] = field(default_factory=dict)


class LeasedWorker(Worker, Protocol):
    """A worker in a process of its own, which may use only the slots that it was granted.

    It sends nothing before its first grant, and nothing once its lease has run out.
    """

    def obey(self, orders: Orders) -> WorkerReport:
        """Carry out orders at once, unless later ones came before; what is so now."""
        ...

    async def mind_lease(self) -> None:
        """Stop every run whose lines may no longer be in flight: to be called twice a second.

        They end STOPPED. Nothing happens while the lease is good, or has not
        been out for long.
        """
        ...


class Cluster(Protocol):
    """Where workers live. It runs shards on them and tells how each ended."""

    async def attach(self, on_end: Callable[[Shard, ShardEnd], None]) -> Sequence[Shard]:
        """The shards that workers are running already, for a dispatcher that is gone.

        Asked once, before anything else. ``on_end`` is called for each, later.
        """
        ...

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
