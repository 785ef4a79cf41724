"""The life of a batch as steps: what it went through, where it is, what is ahead. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from batchmill.console.view.figures import duration
from batchmill.domain.batch import Batch


@dataclass(frozen=True, slots=True)
class Step:
    """A point in the life of a batch. ``gap`` is seconds since the one before."""

    name: str
    at: float | None
    gap: float | None = None
    note: str = ""
    look: str = "past"


def life_of(batch: Batch, now: float, eta: float | None) -> Sequence[Step]:
    """What the batch went through, in order, what is ahead of it, and its deadline.

    ``eta`` is seconds from ``now`` until its expected end.
    """
    past = _reached(batch)
    gaps = [None, *(at - before for (_, before), (_, at) in pairwise(past))]
    steps = [Step(name, at, gap) for (name, at), gap in zip(past, gaps, strict=True)]
    if not batch.status.is_terminal:
        last = steps.pop()
        spent = duration(max(0.0, now - past[-1][1]))
        steps.append(Step(last.name, last.at, last.gap, f"for {spent}", "present"))
        steps.append(_end(None if eta is None else now + eta))
    return [*steps, Step("Deadline", batch.expires_at, look="deadline")]


def _end(at: float | None) -> Step:
    return Step("End", at, note="" if at is None else "expected", look="ahead")


def _reached(batch: Batch) -> list[tuple[str, float]]:
    points = (
        ("Created", batch.created_at),
        ("In progress", batch.in_progress_at),
        ("Cancelling", batch.cancelling_at),
        ("Finalizing", batch.finalizing_at),
        ("Completed", batch.completed_at),
        ("Failed", batch.failed_at),
        ("Expired", batch.expired_at),
        ("Cancelled", batch.cancelled_at),
    )
    return sorted(((n, at) for n, at in points if at is not None), key=lambda point: point[1])
