"""Durations that others note: read as the library's own histogram would have them."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from batchmill.telemetry.durations import DurationHistogram, Durations

BOUNDS = (0.01, 0.5, 1.0, 60.0)


def text_of(registry: CollectorRegistry) -> list[str]:
    """An exposition, without the times at which the library's own began."""
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 100) | st.sampled_from(BOUNDS))))
def test_it_reads_as_the_librarys_own_histogram(noted: Sequence[tuple[str, float]]) -> None:
    own, other = CollectorRegistry(), CollectorRegistry()
    mine = DurationHistogram("batchmill_x_seconds", "Told", "m", bounds=BOUNDS, registry=own)
    theirs = Histogram("batchmill_x_seconds", "Told", ("m",), buckets=BOUNDS, registry=other)
    for value, seconds in noted:
        mine.of(value).note(seconds)
        theirs.labels(value).observe(seconds)
    assert text_of(own) == text_of(other)


@pytest.mark.parametrize(("seconds", "bucket"), [(0.5, "0.5"), (0.500001, "1.0"), (61.0, "+Inf")])
def test_a_duration_counts_in_the_first_bucket_that_holds_it(seconds: float, bucket: str) -> None:
    durations = Durations(BOUNDS)
    durations.note(seconds)
    buckets, total = durations.read()
    assert next(name for name, count in buckets if count) == bucket
    assert total == seconds


def test_the_durations_of_a_value_are_the_same_whoever_asks() -> None:
    histogram = DurationHistogram("x", "Told", "m", bounds=BOUNDS, registry=CollectorRegistry())
    assert histogram.of("a") is histogram.of("a")
    assert histogram.of("a") is not histogram.of("b")


def test_a_histogram_has_its_name_to_itself() -> None:
    registry = CollectorRegistry()
    DurationHistogram("x", "Told", "m", bounds=BOUNDS, registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Histogram("x", "Told", registry=registry)
