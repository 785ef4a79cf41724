"""An unfinished batch as the dispatcher sees it: state in memory, gone with the process."""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from batchmill.domain.batch import Batch, Counts, Status
from batchmill.domain.ledger import Terms
from batchmill.domain.schedule import Candidate
from batchmill.domain.shards import Shard, ShardStatus
from batchmill.engine.planning import Plan
from batchmill.engine.rate import Rate
from batchmill.ports import ShardSum


@dataclass(slots=True)
class BatchRun:
    """An unfinished batch as the dispatcher sees it.

    ``job`` is the one task that plans, stops or delivers it now; after a
    failure the next one begins at ``not_before``. ``is_fresh`` says that
    ``batch`` was read after the last job ended, or is what that job made of it. ``plan`` is
    what the store holds of the shards, from the end of planning until they are known.

    Of the shards that are not done, ``running`` are with a worker, ``lost``
    are those that a worker could not end and that wait again after a pause,
    ``waiting`` come next, and ``unread`` more are in the store alone, from
    index ``next_index`` on; some of the running and lost ones may be counted
    among them. ``has_begun`` says that a shard was handed out, now or before a
    restart. ``lines_left`` and ``bytes_left`` are sums by model over all
    that are not done.
    """

    batch: Batch
    is_fresh: bool = True
    job: asyncio.Task[None] | None = None
    failures: int = 0
    not_before: float = 0.0
    is_stopped: bool = False
    plan: Plan | None = None
    shards_known: bool = False
    input_blob: str = ""
    terms: Terms | None = None
    waiting: deque[Shard] = field(default_factory=deque)
    running: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)
    unread: int = 0
    next_index: int = 0
    lines_left: Counter[str] = field(default_factory=Counter)
    bytes_left: Counter[str] = field(default_factory=Counter)
    has_begun: bool = False
    served: int = -1
    done: int = 0
    under_way: int = 0
    rate: Rate = field(default_factory=Rate)

    @property
    def has_waiting(self) -> bool:
        """Whether shards may wait for a worker, in memory or in the store alone."""
        return bool(self.waiting or self.unread)

    @property
    def is_ready(self) -> bool:
        """Whether its next shard may be handed out, as far as the batch itself goes."""
        is_open = self.batch.status is Status.IN_PROGRESS and self.is_fresh and self.shards_known
        return is_open and self.has_waiting

    @property
    def candidate(self) -> Candidate:
        """What the schedule must know of it."""
        return Candidate(
            self.batch.id, self.batch.expires_at, self.batch.created_at, served=self.served
        )

    @property
    def next_models(self) -> tuple[str, ...]:
        """What the next shard asks for: until it was read, anything that is left."""
        return self.waiting[0].models if self.waiting else tuple(self.lines_left)

    @property
    def counts(self) -> Counts:
        """How far it is: ``done`` shards and what workers told of those ``under_way``.

        Lines that failed count as completed. What the store counts is exact;
        this is for rates and outlooks, and asks nobody.
        """
        if not self.shards_known:
            return self.batch.counts
        total = self.batch.counts.total
        return Counts(total, min(total, self.done + self.under_way))

    def learn(self, sums: Sequence[ShardSum]) -> None:
        """Begin anew with what the shards come to; those that wait are read later."""
        undone = [one for one in sums if one.status is not ShardStatus.DONE]
        self.done = sum(one.lines for one in sums) - sum(one.lines for one in undone)
        self.unread = sum(one.shards for one in undone)
        self.next_index = 0
        self.waiting.clear()
        self.has_begun = self.has_begun or any(one.attempts for one in sums)
        self.lines_left.clear()
        self.bytes_left.clear()
        for one in undone:
            self._count(one.models, one.lines, one.bytes)
        self.shards_known = True

    def take(self, window: Sequence[Shard], *, is_last: bool) -> None:
        """Shards from ``next_index`` on were read; those that are under way do not wait."""
        held = self.running | self.lost
        self.waiting.extend(one for one in window if one.index not in held)
        if window:
            self.next_index = window[-1].index + 1
        self.unread = 0 if is_last else max(1, self.unread - len(window))

    def give_back(self, shard: Shard) -> None:
        """A lost shard waits again, here or by being read in its turn."""
        self.lost.discard(shard.index)
        if self.batch.status is Status.IN_PROGRESS and shard.index < self.next_index:
            self.waiting.append(shard)

    def finish(self, shard: Shard) -> None:
        """The shard is done."""
        self.done += shard.lines
        self._count(shard.models, -shard.lines, shard.start - shard.end)

    def _count(self, models: Sequence[str], lines: int, size: int) -> None:
        """A shard of several models counts whole for each of them."""
        for model in models:
            self.lines_left[model] += lines
            self.bytes_left[model] += size
