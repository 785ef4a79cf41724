"""How fast a worker settles lines, by reports that come when they like."""

import pytest

from batchmill.cluster.member import Pace


def paced(*looks: tuple[int, float]) -> float:
    """After so many lines in so many seconds, again and again."""
    pace = Pace()
    for lines, seconds in looks:
        pace.add(lines)
        pace.look(seconds)
    return pace.per_second


def test_a_steady_worker_is_known_after_some_seconds() -> None:
    assert paced(*[(40, 1.0)] * 8) == pytest.approx(40, rel=0.02)


def test_a_group_that_comes_with_a_hurried_report_is_not_taken_for_the_pace() -> None:
    """Forty lines a second, settled twice in one; some reports follow upon others at once."""
    half = [(0, 0.45), (20, 0.05)]
    assert 20 < paced(*half * 20) < 60


def test_the_same_time_weighs_the_same_in_one_report_and_in_ten() -> None:
    assert paced((40, 1.0)) == pytest.approx(paced(*[(4, 0.1)] * 10))


def test_a_worker_that_stopped_is_forgotten() -> None:
    assert paced((400, 1.0), *[(0, 1.0)] * 10) < 1
