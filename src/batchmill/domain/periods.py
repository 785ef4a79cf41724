"""Periods: hours, days and months in UTC, counted by whole numbers. Pure.

The ledger knows hours; longer periods are sums of them. A period's number is
made of the hour's by whole-number arithmetic alone, so that a database can do
the same sum: what computes numbers elsewhere is held against this page.
"""

from datetime import UTC, datetime
from enum import StrEnum

HOUR = 3600
# Behind it the arithmetic of months would meet a year that is no leap year though 4 divides it.
LATEST = datetime(2100, 1, 1, tzinfo=UTC).timestamp()

_DAY = 24 * HOUR
_FIRST_YEAR = 1968


class Bucket(StrEnum):
    """How finely time is divided."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    def number_of(self, at: float) -> int:
        """The number of the period that ``at`` (Unix seconds, before ``LATEST``) lies in."""
        if self is Bucket.MONTH:
            when = datetime.fromtimestamp(at, UTC)
            return (when.year - _FIRST_YEAR) * 12 + when.month - 1
        return int(at // (HOUR if self is Bucket.HOUR else _DAY))

    def start_of(self, number: int) -> float:
        """When the period began, in Unix seconds."""
        if self is Bucket.MONTH:
            years, months = divmod(number, 12)
            return datetime(_FIRST_YEAR + years, months + 1, 1, tzinfo=UTC).timestamp()
        return float(number * (HOUR if self is Bucket.HOUR else _DAY))

    def end_of(self, number: int) -> float:
        """When the next period began."""
        return self.start_of(number + 1)
