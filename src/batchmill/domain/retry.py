"""After an attempt at a line: settle it, or try again at a time.

Retried are 408, 409, 429, every 5xx, broken and timed-out connections, and a
200 whose body is no answer. A 429 says "not now" and counts apart from the
faults. An upstream that cannot be reached costs the line nothing: its lines
wait for it. No line is tried again at or past the deadline of its batch.
"""

from dataclasses import dataclass

RETRIED_STATUSES = frozenset({408, 409, 429})
TOO_MANY_REQUESTS = 429


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a line is tried. Seconds; full jitter between 0 and the grown backoff."""

    max_attempts: int = 5
    max_rejections: int = 100
    backoff_base: float = 0.5
    backoff_cap: float = 60.0


@dataclass(frozen=True, slots=True)
class Tries:
    """What a line has been through: attempts at fault, and rejections (429)."""

    faults: int = 0
    rejections: int = 0


@dataclass(frozen=True, slots=True)
class Again:
    """Try once more at ``at``, with ``tries`` behind it."""

    at: float
    tries: Tries


def is_retried_status(status: int) -> bool:
    """Whether an answer with this status may be followed by a better one."""
    return status in RETRIED_STATUSES or status >= 500


def after_fault(
    policy: RetryPolicy,
    tries: Tries,
    *,
    status: int | None,
    retry_after: float | None,
    now: float,
    deadline: float,
    jitter: float,
) -> Again | None:
    """When to try again after a fault that is worth it, or None to settle the line.

    ``status`` is the answer's, None where there was none; ``retry_after`` its
    header in seconds, waited for in full; ``jitter`` is uniform in [0, 1).
    """
    if status == TOO_MANY_REQUESTS:
        spent = Tries(tries.faults, tries.rejections + 1)
        exhausted = spent.rejections >= policy.max_rejections
    else:
        spent = Tries(tries.faults + 1, tries.rejections)
        exhausted = spent.faults >= policy.max_attempts
    at = now + (retry_after or 0.0) + backoff(policy, spent.faults + spent.rejections, jitter)
    return None if exhausted or at >= deadline else Again(at, spent)


def backoff(policy: RetryPolicy, count: int, jitter: float) -> float:
    """Seconds to wait after the ``count``-th failure in a row: full jitter, doubling to the cap."""
    grown = policy.backoff_base * 2.0 ** min(count - 1, 32)
    return min(policy.backoff_cap, grown) * jitter
