"""A shard that is being run: which of its lines are out, which are settled.

The counts of ``ActiveShard`` move only when the journal says that a record is
durable. A job holds its share of the bytes budget from feeding to the end.
"""

import asyncio
from collections.abc import Sequence

from batchmill.domain.ids import line_id
from batchmill.domain.retry import Tries
from batchmill.domain.usage import ZERO, Usage
from batchmill.engine.budget import Budget
from batchmill.ports import Record, Segment, Settled, ShardRun, ShardTally

FRESH = Tries()


class Job:
    """One line on its way: mutable, since the hot path allocates one for each."""

    __slots__ = ("active", "body", "custom_id", "id", "is_plain", "number", "task", "tries")

    def __init__(
        self,
        active: "ActiveShard",
        number: int,
        custom_id: bytes,
        body: bytes,
        *,
        is_plain: bool = False,
    ) -> None:
        self.active = active
        self.id = line_id(active.batch_id, number)
        self.number = number
        self.custom_id = custom_id
        self.body = body
        self.is_plain = is_plain
        self.tries = FRESH
        self.task: asyncio.Task[None] | None = None


class ActiveShard:
    """The state of one attempt at a shard.

    ``pending`` counts lines that were fed and are not over, ``in_flight``
    those of them that are at an upstream. ``over`` is set when nothing more
    will happen: all lines are over, or the shard was stopped and none is in
    flight.
    """

    def __init__(self, run: ShardRun, before: Settled, budget: Budget) -> None:
        self.run = run
        self.batch_id = run.shard.batch_id
        self.deadline = run.deadline
        self.path = run.endpoint.removeprefix("/v1")
        self.done_before = frozenset(before.records)
        self.segment: Segment
        self.is_stopped = False
        self.over = asyncio.Event()
        self.in_flight: set[Job] = set()
        self.budget = budget
        self._pending = 0
        self._is_fed = False
        self._completed = 0
        self._failed = 0
        self._usage = ZERO
        self._resent = 0
        self._doubtful = set(before.sent - before.records.keys())
        self.note_durable(list(before.records.values()))

    @property
    def settled(self) -> int:
        """How many of the shard's lines are durably settled, by any attempt."""
        return self._completed + self._failed

    def tally(self) -> ShardTally:
        """What is durable by now."""
        shard = self.run.shard
        return ShardTally(
            batch_id=shard.batch_id,
            index=shard.index,
            attempt=shard.attempt,
            completed=self._completed,
            failed=self._failed,
            usage=self._usage,
            resent=self._resent,
        )

    def note_durable(self, records: Sequence[Record]) -> None:
        """Count records that the journal has made durable."""
        good = sum(record.ok for record in records)
        self._completed += good
        self._failed += len(records) - good
        usage = self._usage
        used = [record.usage for record in records if record.usage is not ZERO]
        self._usage = Usage(
            usage.input + sum(one.input for one in used),
            usage.output + sum(one.output for one in used),
            usage.cached + sum(one.cached for one in used),
            usage.reasoning + sum(one.reasoning for one in used),
        )

    def feed(self) -> None:
        """A line is ready to be sent."""
        self._pending += 1

    def feeding_ended(self) -> None:
        """No more lines will be fed."""
        self._is_fed = True
        self._check_over()

    def begin(self, job: Job) -> bool:
        """The line goes to an upstream now; whether an earlier attempt had sent it already."""
        self.in_flight.add(job)
        self.segment.mark_sent(job.number)
        if job.number not in self._doubtful:
            return False
        self._doubtful.discard(job.number)
        self._resent += 1
        return True

    def settle(self, job: Job, record: Record) -> None:
        """The line has its result."""
        self.segment.append(record)
        self.end(job)

    def end(self, job: Job) -> None:
        """The line is over for this attempt, with a record or without."""
        self.in_flight.discard(job)
        self._pending -= 1
        self.budget.release(len(job.body))
        self._check_over()

    def rest(self, job: Job) -> None:
        """The line is back from the upstream and will be sent again."""
        self.in_flight.discard(job)
        self._check_over()

    def stop(self) -> None:
        """Send nothing more; what is in flight may end."""
        self.is_stopped = True
        self._check_over()

    def abort(self) -> None:
        """Abort what is in flight."""
        for job in list(self.in_flight):
            if job.task is not None:
                job.task.cancel()

    def _check_over(self) -> None:
        all_over = self._is_fed and not self._pending
        if not self.in_flight and (all_over or self.is_stopped):
            self.over.set()
