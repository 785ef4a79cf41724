"""Spans of time that an address names: up to now, or as a visitor chose them. Pure.

What cannot be read is as if it were not there; whether a span is too long, or
ends before it begins, is for the services to say.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final

from batchmill.domain.caps import month_start
from batchmill.domain.limits import DAY
from batchmill.domain.periods import HOUR, Bucket

CUSTOM: Final = "custom"
LENGTHS: Final[Mapping[str, float]] = {
    "hour": HOUR,
    "day": DAY,
    "week": 7 * DAY,
    "month": 30 * DAY,
}
MONTHS: Final = ("this-month", "30-days", "12-months")


@dataclass(frozen=True, slots=True)
class Span:
    """From when until just before when, in Unix seconds; None where it was not said.

    ``name`` is how the address calls it; ``reaches_now`` says that it goes on.
    """

    name: str
    since: float | None
    until: float | None
    reaches_now: bool = True


@dataclass(frozen=True, slots=True)
class Chosen:
    """What an address says: the name of a span, and the ends of one of the visitor's own."""

    name: str
    since: str = ""
    until: str = ""


def latest(chosen: Chosen, now: float, zone: tzinfo) -> Span:
    """One of ``LENGTHS`` up to now, the day if it is none; or times of ``zone``, to the minute."""
    if chosen.name == CUSTOM:
        until = read_time(chosen.until, zone)
        goes_on = until is None or until > now
        return Span(CUSTOM, read_time(chosen.since, zone), until, goes_on)
    name = chosen.name if chosen.name in LENGTHS else "day"
    until = math.floor(now) + 1.0
    return Span(name, until - LENGTHS[name], until)


def billed(chosen: Chosen, now: float) -> Span:
    """One of ``MONTHS``, the present month if it is none; or days in UTC, the last included."""
    if chosen.name == CUSTOM:
        until = read_time(chosen.until, UTC)
        end = None if until is None else until + DAY
        return Span(CUSTOM, read_time(chosen.since, UTC), end, end is None or end > now)
    if chosen.name == "30-days":
        today = Bucket.DAY.number_of(now)
        return Span(chosen.name, Bucket.DAY.start_of(today - 29), None)
    if chosen.name == "12-months":
        this_month = Bucket.MONTH.number_of(now)
        return Span(chosen.name, Bucket.MONTH.start_of(this_month - 11), None)
    return Span("this-month", month_start(now), None)


def read_time(text: str, zone: tzinfo) -> float | None:
    """A day or a time such as ``2026-11-22T14:03`` in ``zone``; None for what is none."""
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        return None


def write_time(at: float, zone: tzinfo) -> str:
    """A time as an input of a form holds it: ``2026-11-22T14:03``."""
    return f"{datetime.fromtimestamp(at, zone):%Y-%m-%dT%H:%M}"


def write_day(at: float) -> str:
    """A day in UTC as an input of a form holds it: ``2026-11-22``."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
