"""Adaptive concurrency: floor and ceiling, one cut a round, regrowth, pauses and probes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.pacing import (
    CUT,
    DOWN_AFTER,
    PAUSE_BASE,
    PAUSE_CAP,
    ROUND_SECONDS,
    Pace,
    on_rejected,
    on_success,
    on_trouble,
    with_ceiling,
)

NOW = 1000.0


def unreachable(pace: Pace, now: float, jitter: float = 1.0) -> Pace:
    return on_trouble(pace, now, is_certain=True, jitter=jitter)


def sign(pace: Pace, now: float) -> Pace:
    return on_trouble(pace, now, is_certain=False, jitter=1.0)


def test_it_begins_at_the_ceiling_and_a_success_changes_nothing_then() -> None:
    pace = Pace.full(256)
    assert (pace.limit, pace.allowed(NOW)) == (256, 256)
    assert pace.is_settled
    assert not pace.is_down


def test_a_rejection_cuts_the_limit_once_a_round() -> None:
    pace = on_rejected(Pace.full(100), NOW)
    assert pace.limit == int(100 * CUT)
    assert on_rejected(pace, NOW + ROUND_SECONDS - 0.01) == pace
    assert on_rejected(pace, NOW + ROUND_SECONDS).limit == int(pace.limit * CUT)


def test_the_floor_is_one() -> None:
    pace = Pace.full(4)
    for n in range(20):
        pace = on_rejected(pace, NOW + n * ROUND_SECONDS)
    assert pace.limit == 1
    assert pace.allowed(NOW) == 1


def test_a_round_of_successes_lets_it_grow_and_the_ceiling_holds() -> None:
    pace = on_rejected(Pace.full(10), NOW)
    assert pace.limit == 7
    for _ in range(6):
        pace = on_success(pace)
    assert pace.limit == 7
    pace = on_success(pace)
    assert pace.limit == 8
    for _ in range(200):
        pace = on_success(pace)
    assert pace.limit == 10
    assert pace.is_settled


def test_a_cut_begins_the_round_of_successes_anew() -> None:
    pace = on_rejected(Pace.full(10), NOW)
    for _ in range(6):
        pace = on_success(pace)
    pace = on_rejected(pace, NOW + ROUND_SECONDS)
    assert on_success(pace).limit == pace.limit


def test_one_refused_connection_is_enough_for_a_pause() -> None:
    pace = unreachable(Pace.full(8), NOW)
    assert pace.is_down
    assert pace.allowed(NOW) == 0
    assert pace.allowed(NOW + PAUSE_BASE - 0.001) == 0
    assert pace.allowed(NOW + PAUSE_BASE) == 1, "after a pause a single line asks"


def test_signs_make_a_pause_only_when_they_are_many_in_a_row() -> None:
    pace = Pace.full(8)
    for _ in range(DOWN_AFTER - 1):
        pace = sign(pace, NOW)
    assert not pace.is_down
    assert sign(pace, NOW).is_down
    assert not sign(on_success(pace), NOW).is_down


def test_once_it_is_down_a_single_sign_pauses_it_again() -> None:
    down = unreachable(Pace.full(8), NOW)
    probed = sign(down, NOW + 1.0)
    assert probed.pauses == 2
    assert probed.allowed(NOW + 1.0) == 0


def test_pauses_double_up_to_the_cap() -> None:
    pace, now, waits = Pace.full(8), NOW, []
    for _ in range(9):
        pace = unreachable(pace, now)
        waits.append(pace.paused_until - now)
        now = pace.paused_until
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, PAUSE_CAP, PAUSE_CAP, PAUSE_CAP]


def test_what_was_in_flight_when_a_pause_began_does_not_lengthen_it() -> None:
    pace = unreachable(Pace.full(8), NOW)
    later = unreachable(unreachable(pace, NOW), NOW + PAUSE_BASE - 0.01)
    assert (later.pauses, later.paused_until) == (1, pace.paused_until)


def test_an_answer_ends_the_trouble() -> None:
    pace = on_success(unreachable(unreachable(Pace.full(8), NOW), NOW + 10))
    assert not pace.is_down
    assert (pace.troubles, pace.pauses) == (0, 0)
    assert pace.allowed(NOW + 10) == pace.limit
    assert unreachable(pace, NOW + 11).paused_until == NOW + 11 + PAUSE_BASE


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_jitter_shortens_a_pause_by_half_at_most(jitter: float) -> None:
    wait = unreachable(Pace.full(8), NOW, jitter).paused_until - NOW
    assert wait == pytest.approx(PAUSE_BASE * (0.5 + jitter / 2))


steps = st.lists(
    st.tuples(st.sampled_from(["ok", "429", "sign", "gone"]), st.floats(0, 5)), max_size=80
)


@given(st.integers(1, 300), steps)
def test_whatever_comes_the_limit_stays_within_floor_and_ceiling(
    ceiling: int, happened: list[tuple[str, float]]
) -> None:
    pace, now = Pace.full(ceiling), NOW
    for what, seconds in happened:
        now += seconds
        before = pace
        if what == "ok":
            pace = on_success(pace)
            assert not pace.is_down
            assert pace.limit >= before.limit
        elif what == "429":
            pace = on_rejected(pace, now)
            assert pace.limit <= before.limit
        else:
            pace = on_trouble(pace, now, is_certain=what == "gone", jitter=0.5)
            assert pace.paused_until - now <= PAUSE_CAP
            assert pace.pauses <= before.pauses + 1
        assert 1 <= pace.limit <= ceiling
        assert pace.allowed(now) in (0, 1, pace.limit)
        assert pace.allowed(now + PAUSE_CAP + 1) >= 1, "it is asked again at some time"


# --- a ceiling that changes ---


def test_a_settled_pace_follows_its_ceiling_down_to_nothing_and_up_again() -> None:
    pace = Pace.full(100)
    for ceiling in (40, 0, 7, 100):
        pace = with_ceiling(pace, ceiling)
        assert (pace.limit, pace.allowed(NOW)) == (ceiling, ceiling)
        assert pace.is_settled


def test_a_cut_pace_keeps_its_part_of_another_ceiling_and_grows_back_to_it() -> None:
    pace = with_ceiling(on_rejected(Pace.full(100), NOW), 50)
    assert (pace.limit, pace.ceiling) == (35, 50)
    pace = with_ceiling(pace, 200)
    assert pace.limit == 140
    for _ in range(2000):
        pace = on_success(pace)
    assert pace.limit == 200
    assert with_ceiling(on_rejected(Pace.full(2), NOW), 1).limit == 1, "one is never cut to none"


def test_nothing_is_sent_without_a_slot_whatever_an_upstream_answers() -> None:
    pace = with_ceiling(Pace.full(8), 0)
    assert on_rejected(pace, NOW).limit == 0
    assert on_success(on_trouble(pace, NOW, is_certain=False, jitter=0.5)).limit == 0
    paused = unreachable(pace, NOW)
    assert paused.allowed(paused.paused_until) == 0, "not even to ask"
    assert with_ceiling(paused, 5).allowed(paused.paused_until) == 1


@given(
    st.lists(
        st.one_of(
            st.integers(0, 300),
            st.sampled_from([on_success, lambda pace: on_rejected(pace, pace.cut_at + 1)]),
        ),
        max_size=60,
    )
)
def test_the_limit_never_exceeds_a_ceiling_that_changes(events: list[object]) -> None:
    pace = Pace.full(64)
    for event in events:
        pace = with_ceiling(pace, event) if isinstance(event, int) else event(pace)  # type: ignore[operator]
        assert min(1, pace.ceiling) <= pace.limit <= pace.ceiling
    for _ in range(3000):
        pace = on_success(pace)
    assert pace.limit == pace.ceiling
