"""The rate of a batch: none until it goes on, then smoothed."""

from batchmill.domain.batch import Counts
from batchmill.engine.rate import Rate


def test_one_look_tells_nothing() -> None:
    rate = Rate()
    rate.note(Counts(100, 10, 0), 0.0)
    assert rate.lines_per_second is None


def test_two_looks_tell_the_lines_between_them() -> None:
    rate = Rate()
    rate.note(Counts(100, 10, 0), 0.0)
    rate.note(Counts(100, 25, 5), 2.0)
    assert rate.lines_per_second == 10.0


def test_a_batch_that_waits_has_no_rate() -> None:
    rate = Rate()
    rate.note(Counts(100, 0, 0), 0.0)
    rate.note(Counts(100, 0, 0), 2.0)
    assert rate.lines_per_second is None


def test_a_stall_brings_the_rate_down_little_by_little() -> None:
    rate = Rate()
    rate.note(Counts(100, 0, 0), 0.0)
    rate.note(Counts(100, 20, 0), 2.0)
    rate.note(Counts(100, 20, 0), 3.0)
    assert rate.lines_per_second is not None
    assert 0 < rate.lines_per_second < 10.0


def test_looks_that_come_too_close_are_skipped() -> None:
    rate = Rate()
    rate.note(Counts(100, 0, 0), 0.0)
    rate.note(Counts(100, 50, 0), 0.1)
    assert rate.lines_per_second is None
    rate.note(Counts(100, 50, 0), 1.0)
    assert rate.lines_per_second == 50.0
