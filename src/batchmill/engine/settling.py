"""Settling: what became of lines goes to their shards, and is counted for the metrics."""

from collections import defaultdict
from collections.abc import Sequence

from batchmill.domain.ledger import is_thinking
from batchmill.domain.results import UPSTREAM_CODE, Answer, error_line, output_line
from batchmill.domain.usage import ZERO, Usage
from batchmill.engine.active import ActiveShard, Job
from batchmill.ports import Clock, Record
from batchmill.telemetry import LaneMetrics

# A line, its line of the result files, and the tokens that it used where it succeeded.
Result = tuple[Job, bytes, Usage | None]


class Settler:
    """Settles the lines of a model."""

    def __init__(self, model: str, clock: Clock, metrics: LaneMetrics) -> None:
        self._model = model
        self._clock = clock
        self._metrics = metrics
        self._durations = metrics.answer_seconds.of(model)
        self._completed = 0
        self._failed = 0

    def observe(self) -> None:
        """Bring the metrics up to date: to count a line there costs more than to queue it."""
        settled, model = self._metrics.settled, self._model
        settled.labels(model=model, outcome="completed").inc(self._completed)
        settled.labels(model=model, outcome="failed").inc(self._failed)
        self._completed = self._failed = 0

    def fail(self, job: Job, answer: Answer) -> None:
        """The line has failed by this answer, which is at fault or has a status of failure."""
        if answer.fault is not None:
            self.give_up(job, f"The upstream sent {answer.fault}.")
            return
        self.settle([(job, output_line(job.id, job.request.custom_id, answer, job.region), None)])

    def give_up(self, job: Job, message: str) -> None:
        """The line has failed without an answer; ``message`` says why."""
        line = error_line(job.id, job.request.custom_id, code=UPSTREAM_CODE, message=message)
        self.settle([(job, line, None)])

    def settle(self, results: Sequence[Result]) -> None:
        """Hand lines their results, whatever shards they are of: once a turn, hence the loop."""
        now, seconds = self._clock.now(), list[float]()
        by_shard = defaultdict[ActiveShard, tuple[list[Job], list[Record]]](lambda: ([], []))
        for job, line, used in results:
            tries = job.tries
            took = now - job.sent_at
            if took < 0:  # the clock was set
                took = 0.0
            # By position: by name it would take half as long again.
            record = Record(
                job.number,
                used is not None,
                used or ZERO,
                line,
                job.model,
                used is not None and is_thinking(used, asked=job.request.thinks),
                int(took * 1000),
                tries.rejections,
                tries.faults + tries.rejections,
                job.region,
            )
            seconds.append(took)
            jobs, records = by_shard[job.active]
            jobs.append(job)
            records.append(record)
        self._durations.note(*seconds)
        for active, (jobs, records) in by_shard.items():
            completed = sum([record.ok for record in records])
            self._completed += completed
            self._failed += len(records) - completed
            active.settle(jobs, records)
