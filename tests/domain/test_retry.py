"""What follows a fault: again at a time, or settled; each limit on both its sides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.retry import (
    Again,
    RetryPolicy,
    Tries,
    after_fault,
    backoff,
    is_retried_status,
)

POLICY = RetryPolicy(max_attempts=3, max_rejections=4, backoff_base=1.0, backoff_cap=8.0)
NOW = 1000.0
FRESH = Tries()


def after(
    tries: Tries = FRESH,
    *,
    status: int | None = 500,
    retry_after: float | None = None,
    deadline: float = 1e9,
    jitter: float = 0.5,
) -> Again | None:
    return after_fault(
        POLICY,
        tries,
        status=status,
        retry_after=retry_after,
        now=NOW,
        deadline=deadline,
        jitter=jitter,
    )


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529, 599])
def test_these_statuses_are_worth_another_attempt(status: int) -> None:
    assert is_retried_status(status)


@pytest.mark.parametrize("status", [200, 201, 204, 301, 400, 401, 403, 404, 410, 413, 422, 499])
def test_these_are_not(status: int) -> None:
    assert not is_retried_status(status)


@pytest.mark.parametrize("status", [None, 200, 408, 500, 503])
def test_faults_are_tried_max_attempts_times_and_no_more(status: int | None) -> None:
    assert after(Tries(faults=0), status=status) == Again(NOW + 0.5, Tries(faults=1))
    assert after(Tries(faults=1), status=status) == Again(NOW + 1.0, Tries(faults=2))
    assert after(Tries(faults=2), status=status) is None


def test_rejections_have_a_limit_of_their_own() -> None:
    again = after(Tries(faults=2, rejections=2), status=429)
    assert again is not None
    assert again.tries == Tries(faults=2, rejections=3)
    assert after(Tries(rejections=3), status=429) is None
    fault = after(Tries(faults=1, rejections=3), status=500)
    assert fault is not None
    assert fault.tries == Tries(faults=2, rejections=3)


def test_retry_after_is_waited_for_in_full_with_the_jitter_on_top() -> None:
    again = after(status=429, retry_after=30.0, jitter=0.25)
    assert again is not None
    assert again.at == NOW + 30.0 + 0.25


def test_nothing_is_tried_at_or_past_the_deadline() -> None:
    assert after(deadline=NOW + 0.5) is None
    assert after(deadline=NOW + 0.51) is not None
    assert after(status=429, retry_after=10.0, deadline=NOW + 10.0) is None
    assert after(jitter=0.0, deadline=NOW) is None


def test_the_backoff_doubles_up_to_the_cap() -> None:
    whole = [backoff(POLICY, count, 1.0) for count in range(1, 7)]
    assert whole == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_very_long_row_of_failures_does_not_overflow() -> None:
    assert backoff(POLICY, 100_000, 1.0) == POLICY.backoff_cap


@given(
    st.integers(1, 5_000),
    st.floats(0, 1, exclude_max=True),
    st.floats(0.001, 100),
    st.floats(0.001, 1000),
)
def test_full_jitter_lies_between_nothing_and_the_grown_bound(
    count: int, jitter: float, base: float, cap: float
) -> None:
    policy = RetryPolicy(backoff_base=base, backoff_cap=cap)
    bound = min(cap, base * 2.0 ** min(count - 1, 32))
    assert 0 <= backoff(policy, count, jitter) <= bound
    assert backoff(policy, count, 0.0) == 0.0


@given(
    st.builds(Tries, st.integers(0, 6), st.integers(0, 6)),
    st.sampled_from([None, 408, 429, 500, 503]),
    st.one_of(st.none(), st.floats(0, 1e6)),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 2000),
)
def test_whatever_happened_the_next_attempt_is_not_early_and_before_the_deadline(
    tries: Tries, status: int | None, retry_after: float | None, jitter: float, deadline: float
) -> None:
    again = after(tries, status=status, retry_after=retry_after, jitter=jitter, deadline=deadline)
    if again is None:
        return
    assert NOW + (retry_after or 0.0) <= again.at < deadline
    spent, had = again.tries, tries
    assert spent.faults + spent.rejections == had.faults + had.rejections + 1
    assert spent.faults < POLICY.max_attempts or status == 429
    assert spent.rejections < POLICY.max_rejections or status != 429
