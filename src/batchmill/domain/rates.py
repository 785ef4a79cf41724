"""Request rates: at most so many requests in any span of so many seconds. Pure.

The window slides: what counts is how many requests were admitted in the last
``seconds``, so that no boundary lets twice as many through.
"""

from dataclasses import dataclass
from enum import StrEnum

LONGEST_SECONDS = 86_400.0  # no rate looks further back


class RateRule(StrEnum):
    """What is counted together: per account, and signing in per address."""

    BATCH_CREATE = "batch_create"
    BATCH_RETRIEVE = "batch_retrieve"
    BATCH_LIST = "batch_list"
    BATCH_CANCEL = "batch_cancel"
    FILE_UPLOAD = "file_upload"
    FILE_OTHER = "file_other"
    SIGN_IN = "sign_in"


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
    rate: Rate, *, admitted: int, newest: float | None, leaving: float | None, now: float
) -> Ruling:
    """Rule on a request at ``now``, given those admitted in the ``rate.seconds`` before.

    ``newest`` is when the last of them was admitted; ``leaving`` when the one was
    that must leave the window before there is room, asked for where there is none.
    """
    if admitted < rate.limit:
        return Ruling(rate, rate.limit - admitted - 1, rate.seconds)
    all_free = _until_out(rate, newest, now)
    return Ruling(rate, 0, all_free, retry_after=_until_out(rate, leaving, now))


def _until_out(rate: Rate, at: float | None, now: float) -> float:
    """Seconds until a request that was admitted ``at`` has left the window."""
    return max((now if at is None else at) + rate.seconds - now, 0.0)
