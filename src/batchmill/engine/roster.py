"""The roster: every unfinished batch that the dispatcher knows, and which to look at next.

A look compares ids and statuses with the store; rows are read only of batches
that are new, or that somebody moved. A batch is stepped when something
happened to it or when its time has come, and left alone otherwise: what is
unfinished and waits costs nothing.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from batchmill.domain.batch import Batch, Status
from batchmill.domain.errors import StorageFull, Superseded
from batchmill.domain.ranking import Ranking
from batchmill.engine.batch_run import BatchRun
from batchmill.ports import BatchStore, Clock
from batchmill.telemetry import Fact, get_logger

log = get_logger()

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
# Below the number of parameters that any supported database takes in a statement.
_ROWS_AT_ONCE = 500


class Roster:
    """The runs by batch id. Raises what the store raises."""

    def __init__(self, batches: BatchStore, clock: Clock) -> None:
        self._batches = batches
        self._clock = clock
        self.runs: dict[str, BatchRun] = {}
        self.successor: Superseded | None = None
        # Shards of a dispatcher that is gone, until their batch is known here.
        self.adopted: dict[str, set[int]] = {}
        # In the order in which they came; the values mean nothing.
        self._stale: dict[str, None] = {}
        self._touched: dict[str, None] = {}
        self._agenda: Ranking[float] = Ranking()
        self._ended: list[str] = []

    # --- what the store says ---

    async def look(self) -> list[BatchRun]:
        """See what is new, what was moved and what is gone; the runs that are."""
        standing = await self._batches.standing()
        for batch_id, status in standing.items():
            run = self.runs.get(batch_id)
            if run is None or run.batch.status is not status:
                self._stale[batch_id] = None
        return [
            gone for batch_id in self.runs.keys() - standing.keys() for gone in self._drop(batch_id)
        ]

    async def read(self) -> list[BatchRun]:
        """Read the rows of batches that are new or were moved; the runs that are gone."""
        ended, self._ended = self._ended, []
        left = [run for batch_id in ended for run in self._drop(batch_id)]
        # A job's batch is read when it has ended: its end says so.
        due = [one for one in self._stale if one not in self.runs or not self.runs[one].job]
        found: dict[str, Batch] = {}
        for start in range(0, len(due), _ROWS_AT_ONCE):
            some = due[start : start + _ROWS_AT_ONCE]
            found |= {batch.id: batch for batch in await self._batches.unfinished(some)}
        for batch_id in due:
            self._stale.pop(batch_id, None)
        # Whoever is met first is the first to be handed out.
        for batch in sorted(found.values(), key=lambda one: one.expires_at):
            self.renew(batch)
        gone = [batch_id for batch_id in due if batch_id not in found]
        return left + [run for batch_id in gone for run in self._drop(batch_id)]

    def renew(self, batch: Batch) -> None:
        """The batch is as the store has it: it is to be stepped, or forgotten at its end."""
        run = self.runs.get(batch.id)
        if run is None:
            run = BatchRun(batch, running=self.adopted.pop(batch.id, set()))
            self.runs[batch.id] = run
        run.batch = batch
        run.is_fresh = True
        if batch.status.is_terminal:
            self._ended.append(batch.id)
        else:
            self.touch(batch.id)

    def _drop(self, batch_id: str) -> Iterator[BatchRun]:
        """Forget a batch that is at its end, unless something of it goes on here."""
        run = self.runs.get(batch_id)
        if run is not None and run.job is None and not run.running:
            del self.runs[batch_id]
            self._agenda.discard(batch_id)
            yield run

    def reread(self, run: BatchRun) -> None:
        """What is known of the batch is out of date: nothing is done with it before it is read."""
        run.is_fresh = False
        self._stale[run.batch.id] = None

    @property
    def has_stale(self) -> bool:
        """Whether a batch waits to be read, or to be forgotten."""
        return bool(self._stale or self._ended)

    # --- what to look at ---

    def touch(self, batch_id: str) -> None:
        """Something happened to the batch: it is to be stepped."""
        self._touched[batch_id] = None

    def next(self, most: int) -> Sequence[BatchRun]:
        """Up to ``most`` batches that were touched or are due; each is told of once."""
        now = self._clock.now()
        while (first := self._agenda.first()) is not None and first[0] <= now:
            self._agenda.discard(first[1])
            self.touch(first[1])
        chosen = list(self._touched)[:most] if len(self._touched) > most else list(self._touched)
        for batch_id in chosen:
            del self._touched[batch_id]
        return [self.runs[batch_id] for batch_id in chosen if batch_id in self.runs]

    @property
    def has_touched(self) -> bool:
        """Whether a batch waits to be stepped."""
        return bool(self._touched)

    def plan(self, run: BatchRun) -> None:
        """Note when the batch is due by itself: after a pause, or at its deadline."""
        at = _due(run, self._clock.now())
        if at < math.inf:
            self._agenda.put(run.batch.id, at)
        else:
            self._agenda.discard(run.batch.id)

    @property
    def next_due(self) -> float:
        """When the next batch is due by itself; infinite if none is."""
        first = self._agenda.first()
        return math.inf if first is None else first[0]

    # --- trouble ---

    def put_off(self, run: BatchRun, error: Exception) -> None:
        """What was to be done failed: again after a pause that grows; or never, by this engine."""
        if isinstance(error, Superseded):
            self.successor = error
            return
        run.failures += 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(run.failures - 1, 10))
        run.not_before = self._clock.now() + pause
        self.plan(run)
        fact = Fact.STORAGE_FULL if isinstance(error, StorageFull) else Fact.STEP_FAILED
        log.error(
            fact,
            batch_id=run.batch.id,
            status=run.batch.status,
            wait=pause,
            exc_info=error,
        )


def _due(run: BatchRun, now: float) -> float:
    """Never while a job runs, nor at the deadline once the batch stops."""
    if run.job is not None:
        return math.inf
    if run.not_before > now:
        return run.not_before
    is_bound = run.batch.status in (Status.VALIDATING, Status.IN_PROGRESS)
    return run.batch.expires_at if is_bound else math.inf
