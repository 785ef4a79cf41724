"""Request rates: at most so many requests in any span of so many seconds. Pure.

The window slides: what counts is how many requests were admitted in the last
``seconds``, so that no boundary lets twice as many through.
"""

from dataclasses import dataclass
from enum import StrEnum


class RateRule(StrEnum):
    """What is counted together, per account."""

    BATCH_CREATE = "batch_create"
    BATCH_RETRIEVE = "batch_retrieve"
    BATCH_LIST = "batch_list"
    BATCH_CANCEL = "batch_cancel"
    FILE_UPLOAD = "file_upload"
    FILE_OTHER = "file_other"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``limit`` requests in any ``seconds``."""

    limit: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether a request may pass, and what is left: ``reset_after`` seconds until all is free.

    ``retry_after`` is None for an admitted request, else the seconds until
    the next one is.
    """

    rate: Rate
    remaining: int
    reset_after: float
    retry_after: float | None = None

    @property
    def is_admitted(self) -> bool:
        """Whether the request may pass."""
        return self.retry_after is None


def judge_rate(
    rate: Rate, *, admitted: int, oldest: float | None, newest: float | None, now: float
) -> Ruling:
    """Rule on a request at ``now``, given those admitted in the last ``rate.seconds``."""
    if admitted < rate.limit:
        return Ruling(rate, rate.limit - admitted - 1, rate.seconds)
    first_free = (oldest if oldest is not None else now) + rate.seconds - now
    all_free = (newest if newest is not None else now) + rate.seconds - now
    return Ruling(rate, 0, max(all_free, 0.0), retry_after=max(first_free, 0.0))
