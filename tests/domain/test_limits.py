"""Limits and the completion window, on both sides of every edge."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.limits import (
    DAY,
    GB,
    HOUR,
    MB,
    METADATA,
    PROFILES,
    Limits,
    Profile,
    parse_duration,
    parse_window,
)

QWEN, OPENAI = PROFILES[Profile.QWEN], PROFILES[Profile.OPENAI]
# A range that begins below an hour, as a demo sets it.
SHORT = replace(QWEN, completion_window_min=5, completion_window_max=2 * DAY)


def test_the_numbers_of_the_contract() -> None:
    assert (QWEN.max_lines, OPENAI.max_lines) == (50_000, 50_000)
    assert (QWEN.max_file_bytes, OPENAI.max_file_bytes) == (500 * MB, 200 * MB)
    assert (QWEN.max_line_bytes, QWEN.max_files, QWEN.max_total_bytes) == (6 * MB, 10_000, 100 * GB)
    assert (QWEN.completion_window_min, QWEN.completion_window_max) == (24 * HOUR, 14 * DAY)
    test_model = (QWEN.test_model_max_file_bytes, QWEN.test_model_max_lines)
    assert (*test_model, QWEN.test_model_max_unfinished) == (MB, 100, 2)
    assert METADATA[Profile.OPENAI].max_pairs == 16
    assert METADATA[Profile.QWEN].max_pairs is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h", DAY),
        ("1d", DAY),
        ("336h", 14 * DAY),
        ("14d", 14 * DAY),
        ("23h", None),
        ("337h", None),
        ("15d", None),
        ("0h", None),
        ("024h", None),
        ("24H", None),
        (" 24h", None),
        ("24h\n", None),
        ("24", None),
        ("h", None),
        ("", None),
        ("-24h", None),
        ("24.0h", None),
        ("1440m", None),
        ("86400s", None),
        ("٢٤h", None),
        ("9999999999h", None),
    ],
)
def test_the_window_of_the_qwen_profile(text: str, seconds: int | None) -> None:
    assert parse_window(text, Profile.QWEN, QWEN) == seconds


@pytest.mark.parametrize("text", ["1d", "48h", "25h", "24", "24H", "1440m", ""])
def test_the_openai_profile_takes_24h_alone(text: str) -> None:
    assert parse_window("24h", Profile.OPENAI, OPENAI) == DAY
    assert parse_window(text, Profile.OPENAI, OPENAI) is None


@pytest.mark.parametrize("profile", list(Profile))
def test_short_units_are_read_where_the_range_reaches_below_an_hour(profile: Profile) -> None:
    assert parse_window("5s", profile, SHORT) == 5
    assert parse_window("4s", profile, SHORT) is None
    assert parse_window("2m", profile, SHORT) == 120
    assert parse_window("2d", profile, SHORT) == 2 * DAY
    assert parse_window("49h", profile, SHORT) is None


def test_from_an_hour_on_short_units_are_refused() -> None:
    an_hour = replace(SHORT, completion_window_min=HOUR)
    assert parse_window("60m", Profile.QWEN, an_hour) is None
    assert parse_window("1h", Profile.QWEN, an_hour) == HOUR
    just_below = replace(SHORT, completion_window_min=HOUR - 1)
    assert parse_window("60m", Profile.QWEN, just_below) == HOUR


@given(st.integers(1, 999_999_999), st.sampled_from(["s", "m", "h", "d"]))
def test_a_duration_is_its_number_of_units(number: int, unit: str) -> None:
    assert (
        parse_duration(f"{number}{unit}")
        == number * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[unit]
    )


@given(st.text(max_size=12))
def test_whatever_is_written_a_window_is_none_or_within_the_range(text: str) -> None:
    for profile, limits in ((Profile.QWEN, QWEN), (Profile.OPENAI, OPENAI), (Profile.QWEN, SHORT)):
        seconds = parse_window(text, profile, limits)
        low, high = limits.completion_window_min, limits.completion_window_max
        assert seconds is None or low <= seconds <= high


def test_limits_are_the_same_for_both_profiles_but_for_two() -> None:
    changed = {"max_file_bytes": 200 * MB, "completion_window_max": DAY}
    assert replace(Limits(), **changed) == OPENAI
