"""Amounts: exact whatever is done with them, rounded only to be read."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.money import (
    UNITS,
    decimal_of,
    parse_amount,
    rounded,
    text_of,
    units_per_token,
)

UNIT_COUNTS = st.integers(min_value=-(10**27), max_value=10**27)


@given(UNIT_COUNTS)
def test_an_amount_as_text_is_the_amount(units: int) -> None:
    assert Decimal(text_of(units)) == decimal_of(units) == Decimal(units) * Decimal("1e-15")
    assert "E" not in text_of(units)


@given(st.integers(min_value=0, max_value=10**27 - 1))
def test_what_was_written_can_be_read_again(units: int) -> None:
    assert parse_amount(text_of(units)) == units


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("20.00", 20 * UNITS),
        ("0", 0),
        ("0.000000000000001", 1),
        ("999999999999", 999999999999 * UNITS),
    ],
)
def test_amounts_that_are_read(text: str, units: int) -> None:
    assert parse_amount(text) == units


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "1e3",
        "1,5",
        ".5",
        "5.",
        "0.0000000000000001",
        "1000000000000",
        " 1",
        "NaN",
        "\u0661",
    ],
)
def test_what_is_no_amount(text: str) -> None:
    assert parse_amount(text) is None


def test_a_price_of_six_decimals_is_exact_and_a_seventh_is_refused() -> None:
    assert units_per_token(Decimal("0.000001")) == 1_000
    assert units_per_token(Decimal("1.60")) * 1_000_000 == Decimal("1.6") * UNITS
    with pytest.raises(ValueError, match="1E-7"):
        units_per_token(Decimal("0.0000001"))


@given(st.decimals(min_value=0, max_value=10**6, places=6))
def test_a_million_tokens_cost_the_price(price: Decimal) -> None:
    assert decimal_of(units_per_token(price) * 1_000_000) == price


def test_a_person_reads_two_decimals_half_to_even() -> None:
    half_a_cent = UNITS // 200
    assert [rounded(half_a_cent), rounded(3 * half_a_cent), rounded(UNITS, 0)] == [
        "0.00",
        "0.02",
        "1",
    ]
