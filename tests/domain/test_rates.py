"""The rule of request rates on both its sides."""

from batchmill.domain.rates import Rate, judge_rate

RATE = Rate(3, 60.0)


def test_the_last_free_place_is_given_and_no_other() -> None:
    last = judge_rate(RATE, admitted=2, newest=90.0, leaving=None, now=100.0)
    assert (last.is_admitted, last.remaining, last.reset_after) == (True, 0, 60.0)
    beyond = judge_rate(RATE, admitted=3, newest=90.0, leaving=50.0, now=100.0)
    assert (beyond.is_admitted, beyond.remaining) == (False, 0)
    assert (beyond.retry_after, beyond.reset_after) == (10.0, 50.0)


def test_what_remains_is_counted_down() -> None:
    assert [
        judge_rate(RATE, admitted=n, newest=None, leaving=None, now=0.0).remaining for n in range(3)
    ] == [2, 1, 0]


def test_no_wait_is_negative() -> None:
    late = judge_rate(RATE, admitted=3, newest=10.0, leaving=10.0, now=100.0)
    assert (late.retry_after, late.reset_after) == (0.0, 0.0)
