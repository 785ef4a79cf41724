"""A shard that is being run: which of its lines are out, which are settled.

The counts of ``ActiveShard`` move only when the journal says that a record is
durable. A job holds its share of the bytes budget from feeding to the end.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import msgspec

from batchmill.domain.ids import line_ids
from batchmill.domain.lines import Request
from batchmill.domain.retry import Tries
from batchmill.domain.usage import ZERO
from batchmill.engine.budget import Budget
from batchmill.engine.metering import Meters, Odometer
from batchmill.engine.purse import Purses
from batchmill.engine.upstream import Upstream
from batchmill.ports import Exchange, Record, Segment, Settled, ShardRun, ShardTally
from batchmill.telemetry import MoneyMetrics

FRESH = Tries()


class Carrier(Protocol):
    """Who brings a line to an upstream."""

    def abort(self, job: "Job") -> None:
        """End the line, which is at an upstream, without an answer."""
        ...


class Job(msgspec.Struct, eq=False):  # a Struct: made once a line, at a tenth of the cost
    """One line on its way. ``model`` is its model's place among those of the shard.

    ``upstream`` is the one that was asked last, in ``region``; ``exchange`` is
    there while it is asked. ``carrier`` is known once the line was offered.
    """

    active: "ActiveShard"
    number: int
    request: Request
    id: str
    model: int = 0
    region: str = ""
    sent_at: float = 0.0
    tries: Tries = FRESH
    carrier: Carrier | None = None
    upstream: Upstream | None = None
    exchange: Exchange | None = None

    def __repr__(self) -> str:
        # The event loop shows what a broken callback was called with.
        return f"Job({self.active.batch_id!r}, {self.number})"


class ActiveShard:
    """The state of one attempt at a shard.

    ``pending`` counts lines that have a job and are not over, ``in_flight``
    those of them that are at an upstream. ``over`` is set when nothing more
    will happen: all lines are over, or the shard was stopped and none is in
    flight.
    """

    def __init__(self, run: ShardRun, before: Settled, budget: Budget, purses: Purses) -> None:
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
        self._line_id = line_ids(self.batch_id)
        self._pending = 0
        self._is_fed = False
        self._purses = purses
        self._meters = Meters(run.terms, run.shard)
        self._tariffs = [run.terms.tariffs.get(model) for model in run.shard.models]
        self._is_charged = any(tariff is not None for tariff in self._tariffs)
        self._resent = 0
        self._doubtful = set(before.sent - before.records.keys())
        self.note_durable(list(before.records.values()))
        self._odometer = Odometer(self._meters)
        purses.note(self.batch_id, run.shard.index, self._meters.price())

    @property
    def settled(self) -> int:
        """How many of the shard's lines are durably settled, by any attempt."""
        return self._meters.calls

    def tally(self, now: float) -> ShardTally:
        """What is durable by now."""
        shard = self.run.shard
        entries = self._meters.read()
        failed = sum(entry.failures for entry in entries)
        return ShardTally(
            batch_id=shard.batch_id,
            index=shard.index,
            attempt=shard.attempt,
            completed=sum(entry.calls for entry in entries) - failed,
            failed=failed,
            usage=sum((entry.usage for entry in entries), ZERO),
            resent=self._resent,
            at=now,
            entries=entries,
        )

    def note_durable(self, records: Sequence[Record]) -> None:
        """Count records that the journal has made durable."""
        self._meters.count(records)

    def observe(self, metrics: MoneyMetrics) -> None:
        """Show what became durable since the last time."""
        self._odometer.tell(self._meters, metrics)

    def jobs(self, requests: Sequence[tuple[int, Request]]) -> list[Job]:
        """Lines that will be sent, by their numbers, and what they need on their way."""
        self._pending += len(requests)
        models, name = self.run.shard.models, self._line_id
        if len(models) == 1:
            return [Job(self, number, request, name(number)) for number, request in requests]
        return [
            Job(self, number, request, name(number), models.index(request.model))
            for number, request in requests
        ]

    @property
    def is_broke(self) -> bool:
        """Whether a limit of spending forbids to send more."""
        return self._purses.is_empty(self.batch_id)

    def feeding_ended(self) -> None:
        """No more lines will be fed."""
        self._is_fed = True
        self._check_over()

    def begin(self, jobs: Sequence[Job]) -> int:
        """Lines go to an upstream now; how many of them an earlier attempt had sent already."""
        numbers = [job.number for job in jobs]
        self.in_flight.update(jobs)
        self.segment.mark_sent(*numbers)
        if not self._doubtful:
            return 0
        again = self._doubtful.intersection(numbers)
        self._doubtful -= again
        self._resent += len(again)
        return len(again)

    def settle(self, jobs: Sequence[Job], records: Sequence[Record]) -> None:
        """Lines have their results, and their prices count from now on."""
        self.segment.append(*records)
        if self._is_charged:
            self._purses.pay(self.batch_id, self.run.shard.index, sum(map(self._price, records)))
        self.end(jobs)

    def _price(self, record: Record) -> int:
        tariff = self._tariffs[record.model]
        if tariff is None or not record.ok:
            return 0
        return tariff.line_price(record.usage, thinks=record.thinks)

    def end(self, jobs: Sequence[Job]) -> None:
        """Lines are over for this attempt, with a record or without."""
        self.in_flight.difference_update(jobs)
        self._pending -= len(jobs)
        self.budget.release(sum([len(job.request.body) for job in jobs]))
        if not self.in_flight:
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
            if job.carrier is not None:
                job.carrier.abort(job)

    def _check_over(self) -> None:
        all_over = self._is_fed and not self._pending
        if not self.in_flight and (all_over or self.is_stopped):
            self.over.set()
