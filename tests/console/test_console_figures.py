"""How figures look."""

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from batchmill.console.view import figures
from batchmill.domain.money import UNITS


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "—"), (0, "0"), (12_345, "12,345"), (0.04, "0.0"), (1234.56, "1,234.6")],
)
def test_numbers_have_their_thousands_apart(value: float | None, shown: str) -> None:
    assert figures.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "—"),
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1,023 bytes"),
        (1024, "1.0 KB"),
        (1024 * 1024 - 1, "1,024.0 KB"),
        (1024 * 1024, "1.0 MB"),
        (500 * 1024 * 1024, "500.0 MB"),
        (100 * 1024**3, "100.0 GB"),
        (5_000 * 1024**4, "5,000.0 TB"),
    ],
)
def test_sizes_are_in_the_units_of_the_limits(value: int | None, shown: str) -> None:
    assert figures.size(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "—"),
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (10.0, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60.0, "1 min"),
        (65.0, "1 min 5 s"),
        (3599.6, "1 h"),
        (3600.0, "1 h"),
        (3660.0, "1 h 1 min"),
        (86_399.9, "1 d"),
        (86_400.0, "1 d"),
        (90_000.0, "1 d 1 h"),
        (-65.0, "-1 min 5 s"),
    ],
)
def test_durations_have_their_two_largest_units(seconds: float | None, shown: str) -> None:
    assert figures.duration(seconds) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(None, "—"), (0.0, "0.0 %"), (0.0001, "< 0.1 %"), (0.0005, "0.1 %"), (0.5, "50.0 %"),
     (0.99999, "> 99.9 %"), (1.0, "100.0 %")],
)  # fmt: skip
def test_a_share_that_is_not_nothing_or_all_never_looks_so(share: float | None, shown: str) -> None:
    assert figures.percent(share) == shown


@pytest.mark.parametrize(
    ("units", "currency", "shown"),
    [
        (None, "USD", "—"),
        (0, "USD", "$0.00"),
        (UNITS, "USD", "$1.00"),
        (12_345 * UNITS, "EUR", "€12,345.00"),
        (UNITS // 100, "CNY", "¥0.01"),
        (UNITS // 100 - 1, "USD", "$0.010000"),
        (UNITS // 1_000_000, "USD", "$0.000001"),
        (1, "USD", "< $0.000001"),
        (-UNITS, "USD", "-$1.00"),
        (UNITS, "GBP", "1.00 GBP"),
        (UNITS, None, "1.00"),
    ],
)
def test_amounts_that_are_not_nothing_never_look_so(
    units: int | None, currency: str | None, shown: str
) -> None:
    assert figures.amount(units, currency) == shown


def test_an_exact_amount_has_all_its_digits_and_no_exponent() -> None:
    assert figures.exact(1) == "0.000000000000001"
    assert figures.exact(20 * UNITS) == "20"


def test_times_are_shown_in_the_zone_that_is_asked_for() -> None:
    assert figures.instant(None, UTC) == "—"
    assert figures.instant(0.0, UTC) == "1970-01-01 00:00:00"
    assert figures.instant(0.0, ZoneInfo("Asia/Shanghai")) == "1970-01-01 08:00:00"
    assert figures.machine_time(0.0, UTC) == "1970-01-01T00:00:00+00:00"
