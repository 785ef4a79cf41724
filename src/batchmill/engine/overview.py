"""The overview of all unfinished batches, for the operator's metrics and for the API.

Made of what the dispatcher holds in memory anyhow, once a second, at a cost
that grows with the batches and never with their lines.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping

from batchmill.domain.allowance import Wait
from batchmill.domain.batch import Status
from batchmill.domain.shards import ShardStatus
from batchmill.engine.batch_run import BatchRun
from batchmill.ports import Progress
from batchmill.telemetry import BatchMetrics

SEVERAL_MODELS = "*"


def progress_of(runs: Mapping[str, BatchRun], waits: Mapping[str, Wait]) -> dict[str, Progress]:
    """How fast each batch is, and its place among those that wait for their first turn."""
    waiting = [run.batch for run in runs.values() if run.served < 0]
    waiting.sort(key=lambda batch: (batch.expires_at, batch.created_at))
    places = {batch.id: place for place, batch in enumerate(waiting, start=1)}
    return {
        batch_id: Progress(
            places.get(batch_id),
            run.rate.lines_per_second,
            waits[batch_id].sentence if batch_id in waits else None,
        )
        for batch_id, run in runs.items()
    }


def show(
    runs: Mapping[str, BatchRun], waits: Mapping[str, Wait], metrics: BatchMetrics, now: float
) -> None:
    """Show what there is to do, what waits for an allowance, and what will end late."""
    _show_statuses(runs, metrics)
    _show_waits(runs, waits, metrics)
    _show_outlook(runs, metrics, now)


def _show_statuses(runs: Mapping[str, BatchRun], metrics: BatchMetrics) -> None:
    statuses = Counter(run.batch.status for run in runs.values())
    for status in Status:
        if not status.is_terminal:
            metrics.batches.labels(status=status).set(statuses[status])
    waiting = sum(len(run.waiting) + run.unread for run in runs.values())
    running = sum(len(run.running) for run in runs.values())
    metrics.shards.labels(status=ShardStatus.WAITING).set(waiting)
    metrics.shards.labels(status=ShardStatus.RUNNING).set(running)
    metrics.put_off.set(sum(run.failures > 0 for run in runs.values()))


def _show_waits(
    runs: Mapping[str, BatchRun], waits: Mapping[str, Wait], metrics: BatchMetrics
) -> None:
    models = Counter(wait.model for batch_id, wait in waits.items() if batch_id in runs)
    metrics.waiting.clear()
    for model, count in models.items():
        metrics.waiting.labels(model=model).set(count)


def _show_outlook(runs: Mapping[str, BatchRun], metrics: BatchMetrics, now: float) -> None:
    lines: dict[str, int] = defaultdict(int)
    margins: dict[str, list[float]] = defaultdict(list)
    for run in runs.values():
        if run.batch.status is Status.IN_PROGRESS:
            model = run.batch.model or SEVERAL_MODELS
            lines[model] += _left(run)
            margins[model].append(_margin(run, now))
    metrics.lines_unfinished.clear()
    metrics.deadline_margin.clear()
    for model, count in lines.items():
        metrics.lines_unfinished.labels(model=model).set(count)
        metrics.deadline_margin.labels(model=model).set(min(margins[model]))
    metrics.at_risk.set(sum(margin < 0 for some in margins.values() for margin in some))


def _left(run: BatchRun) -> int:
    counts = run.counts
    return counts.total - counts.completed - counts.failed


def _margin(run: BatchRun, now: float) -> float:
    """Seconds between the expected end and the deadline; at best, where no rate is known yet."""
    rate = run.rate.lines_per_second
    needed = _left(run) / rate if rate else 0.0
    return run.batch.expires_at - now - needed
