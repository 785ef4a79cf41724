"""The outlook of a batch: what its progress so far says about its end. Pure."""

from dataclasses import dataclass

from batchmill.domain.batch import Batch, Status
from batchmill.domain.pacing import Bound
from batchmill.ports import Progress


@dataclass(frozen=True, slots=True)
class Concurrency:
    """Requests that a model's upstreams work on now, the most that they may, and why no more do.

    They are those of all batches that ask for the model.
    """

    in_flight: int
    limit: int
    bound: Bound


@dataclass(frozen=True, slots=True)
class Outlook:
    """Every figure is None where it cannot be told. ``eta_seconds`` counts from now.

    ``deadline_risk`` says whether the batch, at this rate, ends after its deadline;
    ``waits_for`` is a sentence on the allowance that it waits for. ``concurrency``
    is told of a batch in progress that asks for one model.
    """

    lines_per_second: float | None = None
    eta_seconds: float | None = None
    queue_position: int | None = None
    deadline_risk: bool | None = None
    waits_for: str | None = None
    concurrency: Concurrency | None = None


UNKNOWN = Outlook()


def foresee(
    batch: Batch, progress: Progress | None, now: float, concurrency: Concurrency | None = None
) -> Outlook:
    """The outlook of ``batch`` at ``now``; a batch at its end has none.

    ``concurrency`` is that of its model.
    """
    if batch.status.is_terminal or progress is None:
        return UNKNOWN
    eta = _eta(batch, progress.lines_per_second)
    return Outlook(
        lines_per_second=progress.lines_per_second,
        eta_seconds=eta,
        queue_position=progress.queue_position,
        waits_for=progress.waits_for,
        deadline_risk=None if eta is None else now + eta > batch.expires_at,
        concurrency=concurrency if batch.status is Status.IN_PROGRESS else None,
    )


def _eta(batch: Batch, rate: float | None) -> float | None:
    if batch.status is not Status.IN_PROGRESS or not rate:
        return None
    return (batch.counts.total - batch.counts.completed - batch.counts.failed) / rate
