"""Spans and plots: how addresses name times, and how periods are called."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.console.view.plots import Axis, Series, bars, lines, money, period_name
from batchmill.console.view.spans import Chosen, billed, latest, read_time, write_day, write_time
from batchmill.domain.money import UNITS
from batchmill.domain.periods import LATEST, Bucket

NOW = datetime(2026, 11, 22, 14, 3, 9, 500_000, tzinfo=UTC).timestamp()
BERLIN = ZoneInfo("Europe/Berlin")


def test_a_span_up_to_now_holds_the_second_that_runs() -> None:
    span = latest(Chosen("hour"), NOW, UTC)
    assert (span.since, span.until) == (NOW + 0.5 - 3600, NOW + 0.5)
    assert span.reaches_now


def test_an_unknown_span_is_the_day_or_the_month() -> None:
    assert latest(Chosen("", "2026-01-01"), NOW, UTC).name == "day"
    assert billed(Chosen("x"), NOW).name == "this-month"


@pytest.mark.parametrize(("until", "goes_on"), [("2026-11-22", True), ("2026-11-21", False)])
def test_days_of_one_s_own_include_the_last(until: str, goes_on: bool) -> None:
    span = billed(Chosen("custom", "2026-11-01", until), NOW)
    assert span.until is not None
    assert write_day(span.until - 1) == until
    assert span.reaches_now is goes_on


def test_twelve_months_begin_with_the_first_of_a_month() -> None:
    since = billed(Chosen("12-months"), NOW).since
    assert since == datetime(2025, 12, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("text", ["", "x", "2026-13-01", "0000-00-00", "9" * 5_000, "2026-11-22T"])
def test_what_is_no_time_is_none(text: str) -> None:
    assert read_time(text, UTC) is None


@given(st.text())
def test_any_text_is_a_time_or_none(text: str) -> None:
    found = read_time(text, BERLIN)
    assert found is None or isinstance(found, float)


@given(st.integers(0, int(LATEST) // 60 - 1))
def test_a_time_is_read_as_it_was_written(minute: int) -> None:
    at = minute * 60.0
    assert read_time(write_time(at, UTC), UTC) == at


def test_times_are_those_of_the_zone() -> None:
    assert read_time("2026-11-22T15:03", BERLIN) == read_time("2026-11-22T14:03", UTC)
    assert write_time(NOW, BERLIN) == "2026-11-22T15:03"


def test_hours_are_told_in_the_visitors_zone_and_days_in_utc() -> None:
    """Days and months are counted in UTC: elsewhere they would begin on the day before."""
    late = datetime(2026, 11, 30, tzinfo=UTC).timestamp()
    west = ZoneInfo("America/New_York")
    assert period_name(late, Bucket.HOUR, west) == "2026-11-29 19:00"
    assert period_name(late, Bucket.DAY, west) == "2026-11-30"
    assert period_name(late, Bucket.MONTH, west) == "2026-11"


def test_bars_are_stacked_and_lines_are_not() -> None:
    axis = Axis([0.0, 86_400.0], Bucket.DAY, BERLIN)
    row = Series("calls", [1, None], tone="failed")
    drawn = bars(axis, [row])
    assert drawn == {
        "x": [0.0, 86_400.0],
        "period": "day",
        "zone": "UTC",
        "series": [
            {"name": "calls", "values": [1, None], "kind": "bar", "unit": "", "tone": "failed"}
        ],
        "stacked": True,
        "sums": True,
    }
    assert not {"stacked", "sums"} & set(lines(axis, [row]))
    assert "zone" not in lines(Axis([0.0], Bucket.HOUR, BERLIN), [row])


def test_money_is_drawn_near_enough() -> None:
    assert money(UNITS * 3 // 2) == 1.5
    assert money(1) == pytest.approx(1e-15)
