"""Plots: figures over time in the words that charts.js reads. Pure.

Hours are told in the visitor's zone, days and months in UTC, as they are
counted. What is drawn is approximate; a page tells the exact figures beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from batchmill.domain.money import decimal_of
from batchmill.domain.periods import Bucket

_SPELLINGS: Final = {Bucket.HOUR: "%Y-%m-%d %H:%M", Bucket.DAY: "%Y-%m-%d", Bucket.MONTH: "%Y-%m"}


@dataclass(frozen=True, slots=True)
class Series:
    """A row of figures under a name; None is a gap. ``tone`` is "failed" or "rest", or nothing."""

    name: str
    values: Sequence[float | None]
    kind: str = "bar"
    unit: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """The begins of periods, in Unix seconds; ``zone`` is the visitor's."""

    starts: Sequence[float]
    bucket: Bucket
    zone: tzinfo

    @property
    def names(self) -> Sequence[str]:
        """The periods as a table names them."""
        return [period_name(start, self.bucket, self.zone) for start in self.starts]


def bars(axis: Axis, series: Sequence[Series]) -> dict[str, Any]:
    """A chart of amounts that stand on top of each other, and come to a sum."""
    return {**_plot(axis, series), "stacked": True, "sums": True}


def lines(axis: Axis, series: Sequence[Series]) -> dict[str, Any]:
    """A chart of figures that rise and fall."""
    return _plot(axis, series)


def period_name(start: float, bucket: Bucket, zone: tzinfo) -> str:
    """A period by its begin: ``2026-11-22 14:00``, ``2026-11-22`` or ``2026-11``."""
    own = zone if bucket is Bucket.HOUR else UTC
    return f"{datetime.fromtimestamp(start, own):{_SPELLINGS[bucket]}}"


def money(units: int) -> float:
    """An amount as it is drawn: near enough for a picture."""
    return float(decimal_of(units))


def _plot(axis: Axis, series: Sequence[Series]) -> dict[str, Any]:
    zone = {} if axis.bucket is Bucket.HOUR else {"zone": "UTC"}
    return {
        "x": list(axis.starts),
        "period": axis.bucket.value,
        **zone,
        "series": [_row(one) for one in series],
    }


def _row(series: Series) -> dict[str, Any]:
    row = {"name": series.name, "values": list(series.values), "kind": series.kind}
    return {**row, "unit": series.unit, "tone": series.tone}
