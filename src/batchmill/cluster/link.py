"""The way between a dispatcher and the workers of other processes, whatever carries it.

A worker outlives the dispatcher that made it, and a dispatcher may be gone
without knowing it. So every call names the caller's epoch, and the process
that is meant: a worker obeys the newest epoch alone, and a process that took
another's place has other runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from batchmill.domain.shards import Shard
from batchmill.ports import Orders, RunKey, ShardEnd, ShardRun, WorkerReport


def key_of(shard: Shard) -> RunKey:
    """What a run is known by."""
    return RunKey(shard.batch_id, shard.index, shard.attempt)


class Unreachable(Exception):
    """The worker did not answer; whether it heard is unknown. It may answer again."""


class Gone(Exception):
    """The worker is gone for good; another one may come to its place."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Which dispatcher speaks, and to which process."""

    epoch: int
    process: str


@dataclass(frozen=True, slots=True)
class Letter:
    """What a dispatcher says in a beat.

    The ends of ``told`` runs were heard; the runs of ``drop`` belong to others now.
    """

    orders: Orders
    told: tuple[RunKey, ...] = ()
    drop: tuple[RunKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Word:
    """What a worker answers: the shards of its runs, ended ones whose end nobody heard as well."""

    report: WorkerReport
    held: tuple[Shard, ...] = ()

    @property
    def process(self) -> str:
        """Which process it is."""
        return self.report.load.process


class Link(Protocol):
    """A worker process, as a dispatcher reaches it.

    Everything raises Unreachable, Gone, and Superseded where a later
    dispatcher has spoken to the worker.
    """

    async def beat(self, letter: Letter) -> Word:
        """Say something; how the worker is."""
        ...

    async def run(self, caller: Caller, run: ShardRun) -> ShardEnd:
        """Start a run, or join it where it was started; how it ended."""
        ...

    async def join(self, caller: Caller, key: RunKey) -> ShardEnd:
        """How a run ends; lost where there is none."""
        ...

    async def cancel(self, caller: Caller, batch_id: str, grace: float) -> None:
        """As ``Worker.cancel``."""
        ...

    async def stop(self, caller: Caller, grace: float) -> None:
        """As ``Worker.stop``; every run has ended when it returns."""
        ...

    async def kill(self, *, for_good: bool) -> None:
        """End the process at once; unless ``for_good`` another takes its place. Never raises."""
        ...


class Fleet(Protocol):
    """The workers that there are: one in each place that can have one."""

    async def links(self, *, make: bool) -> Mapping[str, Link]:
        """The worker of each place by name; ``make`` one where there is none.

        Raises Unreachable where nobody can say.
        """
        ...

    async def forget(self, name: str) -> None:
        """The worker of that name is gone: make another when ``links`` is asked again."""
        ...


class Register(Protocol):
    """The processes that may hold a lease, written down for the next dispatcher.

    Each write proves that this dispatcher still leads: it raises Superseded
    otherwise, and what the store raises where it cannot be asked.
    """

    async def read(self) -> frozenset[str]:
        """What was written last, by whichever dispatcher."""
        ...

    async def write(self, processes: frozenset[str]) -> None:
        """Replace it; raises Superseded, and what the store raises."""
        ...
