"""The window of an upstream: where it begins, what cuts it, how it doubles back, and pauses."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.noise import MOST, SLACK, Noise, Sample
from batchmill.domain.pacing import (
    ASK_SECONDS,
    BEGIN,
    DOWN_AFTER,
    FEWEST_ANSWERS,
    GAIN,
    HUNGRY_SHARE,
    LOSS,
    PAUSE_BASE,
    PAUSE_CAP,
    QUIET_CAP,
    REST_BASE,
    REST_CAP,
    ROUND_SECONDS,
    TOP,
    Bound,
    Pace,
    bound_of,
    on_beat,
    on_presence,
    on_rejected,
    on_success,
    on_timeout,
    on_trouble,
    with_ceiling,
)

NOW = 1000.0


def unreachable(pace: Pace, now: float, jitter: float = 1.0) -> Pace:
    return on_trouble(pace, now, is_certain=True, jitter=jitter)


def sign(pace: Pace, now: float) -> Pace:
    return on_trouble(pace, now, is_certain=False, jitter=1.0)


def good(pace: Pace, now: float = NOW) -> Pace:
    """After an answer while the window was full."""
    return on_success(pace, now, is_full=True)


def grown(pace: Pace, now: float = NOW) -> Pace:
    """After as many answers as it takes to come to the target."""
    for _ in range(pace.target):
        pace = good(pace, now)
    return pace


def beat(pace: Pace, now: float, answered: int, hungry: int = 0) -> Pace:
    return on_beat(pace, now, answered=answered, hungry=hungry, is_idle=False)


def after_round(pace: Pace, now: float, rate: float) -> tuple[Pace, float]:
    """After a round in which so many answers came a second; and when that is."""
    seconds = max(math.ceil(max(pace.limit, FEWEST_ANSWERS) / rate), 1)
    pace = on_beat(pace, now, answered=0, hungry=0, is_idle=pace.round.since is None)
    if not pace.round.is_measured:
        now += seconds
        pace = beat(pace, now, int(seconds * rate))
    now += seconds
    return beat(pace, now, int(seconds * rate)), now


# --- where it begins ---


def test_a_set_ceiling_is_where_it_begins_and_a_success_changes_nothing_then() -> None:
    pace = Pace.full(256)
    assert (pace.limit, pace.allowed(NOW)) == (256, 256)
    assert pace.is_settled
    assert not pace.is_down
    assert good(pace) is pace


def test_where_nothing_is_set_it_begins_high_and_may_become_higher() -> None:
    pace = Pace.tuned()
    assert (pace.limit, pace.begin, pace.ceiling) == (BEGIN, BEGIN, TOP)
    assert BEGIN >= 512
    assert pace.is_settled


# --- rejections ---


def test_a_rejection_leaves_what_is_in_flight() -> None:
    pace = on_rejected(Pace.full(100), NOW, held=80)
    assert (pace.limit, pace.target) == (80, 80)
    assert on_rejected(pace, NOW, held=79).limit == 79


def test_a_round_of_rejections_halves_the_window_at_most_and_lets_no_more_in_meanwhile() -> None:
    pace = Pace.full(100)
    for held in range(99, 9, -1):
        pace = on_rejected(pace, NOW, held=held)
    assert (pace.limit, pace.target) == (10, 50)
    late = on_rejected(pace, NOW + ROUND_SECONDS - 0.01, held=9)
    assert (late.limit, late.target) == (9, 50)
    next_round = on_rejected(pace, NOW + ROUND_SECONDS, held=9)
    assert (next_round.limit, next_round.target) == (9, 25)


def test_what_a_rejection_left_grows_by_one_for_each_answer_up_to_what_it_is_bound_for() -> None:
    pace = on_rejected(Pace.full(100), NOW, held=10)
    for limit in (11, 12, 13):
        pace = good(pace)
        assert pace.limit == limit
    assert not pace.is_settled
    pace = grown(pace)
    assert (pace.limit, pace.is_settled) == (50, True)


def test_what_is_not_full_does_not_grow() -> None:
    pace = on_rejected(Pace.full(100), NOW, held=10)
    assert on_success(pace, NOW, is_full=False) == pace


def test_the_floor_is_one() -> None:
    pace = Pace.full(4)
    for n in range(20):
        pace = on_rejected(pace, NOW + n * ROUND_SECONDS, held=1)
    assert (pace.limit, pace.target) == (1, 1)


def test_one_that_holds_nothing_is_asked_with_one_line_and_then_has_its_half_at_once() -> None:
    pace = on_rejected(Pace.full(100), NOW, held=0)
    assert pace.allowed(NOW + ASK_SECONDS - 0.01) == 0
    assert pace.allowed(NOW + ASK_SECONDS) == 1
    asked = on_rejected(pace, NOW + ASK_SECONDS, held=0)
    assert asked.target == 50, "the line that asks says nothing of how many would be too many"
    assert asked.allowed(NOW + ASK_SECONDS) == 0
    assert good(asked, NOW + 9).limit == 50


def test_it_is_asked_later_each_time_and_once_a_round_in_the_end() -> None:
    pace, now, waits = Pace.full(100), NOW, []
    for _ in range(6):
        pace = on_rejected(pace, now, held=0)
        waits.append(pace.asks_at - now)
        now = pace.asks_at
    assert waits == pytest.approx([ASK_SECONDS * n for n in (1, 2, 4, 8)] + [ROUND_SECONDS] * 2)
    again = on_rejected(good(pace, now), now, held=0)
    assert again.asks_at - now == pytest.approx(ASK_SECONDS), "one answer, and it begins anew"


def test_nothing_grows_before_retry_after_is_over() -> None:
    pace = on_rejected(Pace.full(100), NOW, held=10, retry_after=7.0)
    assert pace.allowed(NOW) == 10, "what it holds may be replaced"
    assert good(pace, NOW + 6.9) == pace
    assert good(pace, NOW + 7.0).limit == 11
    shorter = on_rejected(pace, NOW + 1, held=9, retry_after=1.0)
    assert shorter.quiet_until == pace.quiet_until


def test_an_upstream_without_lines_is_not_asked_before_retry_after_is_over() -> None:
    pace = on_rejected(Pace.full(100), NOW, held=0, retry_after=7.0)
    assert (pace.allowed(NOW + 6.9), pace.allowed(NOW + 7.0)) == (0, 1)
    day = on_rejected(Pace.full(100), NOW, held=0, retry_after=86_400.0)
    assert (day.allowed(NOW + QUIET_CAP - 0.1), day.allowed(NOW + QUIET_CAP)) == (0, 1)


# --- noise ---


def noisy(pace: Pace, share: float = 0.5) -> Pace:
    return replace(pace, noise=Noise(share, until=math.inf))


def test_noise_cuts_nothing_and_what_goes_beyond_it_does() -> None:
    pace = noisy(Pace.full(100))
    borne = 0
    while (after := on_rejected(pace, NOW, held=80)).limit == 100:
        pace, borne = after, borne + 1
    assert SLACK <= borne <= 2 * SLACK
    assert (after.limit, after.target) == (80, 80)
    assert on_rejected(pace, NOW, held=80, answered=10).limit == 100, "answers bear more of it"


def test_a_trial_goes_on_under_noise() -> None:
    pace, now = tried(noisy(cut_to(50)))
    pace = on_rejected(pace, now, held=50)
    assert pace.is_trying
    assert pace.round.since == now


def test_what_was_cut_for_noise_is_undone_once_it_is_known() -> None:
    pace, now = Pace.full(128), NOW
    pace = beat(pace, now, 0)
    while not pace.noise.share:
        answered = pace.limit - pace.limit // 5
        for n in range(pace.limit // 5):
            pace = on_rejected(pace, now + 0.1, held=pace.limit - 1 - n % 2)
        now += 1.0
        pace = beat(grown(pace, now), now, answered)
        assert pace.target >= 16, "it is found before the window is small"
    assert (pace.target, pace.good) == (128, 128)
    assert grown(pace, now).limit == 128


def test_a_server_that_is_down_or_has_nothing_to_do_tells_nothing_of_noise() -> None:
    pace = on_rejected(beat(Pace.full(100), NOW, 0), NOW, held=90)
    assert beat(pace, NOW + 0.5, 3).noise.tally.outcomes == 4
    idle = on_beat(pace, NOW + 0.5, answered=3, hungry=0, is_idle=True)
    assert idle.noise.tally.outcomes == 0
    assert beat(unreachable(pace, NOW), NOW + 0.5, 3).noise.tally.outcomes == 0


def test_another_ceiling_is_another_window_to_compare_with() -> None:
    pace = replace(Pace.full(100), noise=Noise(0.1, math.inf, larger=Sample(80, 10.0, 0.1)))
    assert with_ceiling(pace, 50).noise == Noise(0.1, math.inf)


# --- rounds and trials ---


def cut_to(window: int, pace: Pace | None = None) -> Pace:
    return on_rejected(pace or Pace.full(100), NOW, held=window)


def test_more_is_tried_after_a_rest_and_a_full_round() -> None:
    pace = cut_to(50)
    early, _ = after_round(pace, NOW - 3, 100.0)
    assert not early.is_trying
    pace, now = after_round(pace, NOW + REST_BASE, 50.0)
    assert (pace.target, pace.good, pace.limit, pace.rate) == (100, 50, 50, 50.0)
    pace = grown(pace, now)
    assert pace.limit == 100


def tried(pace: Pace, now: float = NOW) -> tuple[Pace, float]:
    """A pace in a trial that has come to its target, a long time later."""
    pace, now = after_round(pace, now + REST_CAP, 50.0)
    assert pace.is_trying
    return grown(pace, now), now


def test_up_to_where_it_began_a_trial_stays_unless_it_delivers_less() -> None:
    pace, now = tried(cut_to(50))
    kept, _ = after_round(pace, now, 50.0 * (LOSS + 0.01))
    assert (kept.limit, kept.good, kept.is_trying) == (100, 100, False)
    undone, later = after_round(pace, now, 50.0 * (LOSS - 0.02))
    assert (undone.limit, undone.good, undone.target) == (50, 50, 50)
    assert undone.try_at == later + REST_BASE
    assert undone.rest == 2 * REST_BASE


def test_beyond_where_it_began_a_trial_stays_only_if_it_delivers_more() -> None:
    pace, now = tried(Pace.tuned())
    assert pace.limit == 2 * BEGIN
    kept, _ = after_round(pace, now, 50.0 * (GAIN + 0.02))
    assert (kept.limit, kept.good, kept.target) == (2 * BEGIN, 2 * BEGIN, 4 * BEGIN)
    undone, _ = after_round(pace, now, 50.0 * (GAIN - 0.02))
    assert (undone.limit, undone.target) == (BEGIN, BEGIN)


def test_a_trial_that_is_rejected_ends_at_the_last_good_window_and_the_next_rests_longer() -> None:
    pace, now = tried(cut_to(50))
    waits = []
    for _ in range(6):
        pace = on_rejected(pace, now, held=50)
        assert (pace.limit, pace.target, pace.good) == (50, 50, 50)
        waits.append(pace.try_at - now)
        pace, now = tried(pace, now)
    assert waits == [4.0, 8.0, 16.0, REST_CAP, REST_CAP, REST_CAP]


@pytest.mark.parametrize(("held", "is_slight"), [(95, True), (94, False)])
def test_a_slight_cut_puts_off_no_trial(held: int, is_slight: bool) -> None:
    pace, now = after_round(Pace.full(100), NOW, 50.0)
    cut = on_rejected(pace, now, held=held)
    assert (cut.limit, cut.target, cut.good) == (held, held, held)
    assert (cut.round == pace.round) is is_slight
    assert (cut.try_at == now + REST_BASE) is not is_slight


def test_a_trial_that_is_rejected_further_up_has_found_a_better_window() -> None:
    pace, now = tried(cut_to(50))
    pace = on_rejected(pace, now, held=80)
    assert (pace.limit, pace.good, pace.rest) == (80, 80, REST_BASE)


def test_a_trial_at_a_server_that_asks_for_patience_rests_longer_still() -> None:
    assert on_rejected(Pace.full(100), NOW, held=80, retry_after=2.0).try_at == NOW + 20.0
    assert on_rejected(Pace.full(100), NOW, held=80, retry_after=30.0).try_at == NOW + QUIET_CAP


def test_the_top_is_never_passed() -> None:
    pace, now = Pace.tuned(), NOW
    for n in range(40):
        pace, now = after_round(grown(pace, now), now, 100.0 * (n + 1))
    assert pace.limit == TOP
    assert not pace.is_trying


@pytest.mark.parametrize(("hungry", "is_frozen"), [(0, False), (5, False), (6, True), (50, True)])
def test_a_round_in_which_the_source_was_too_slow_says_nothing(
    hungry: int, is_frozen: bool
) -> None:
    assert HUNGRY_SHARE * 50 == 5
    pace = beat(beat(cut_to(50), NOW, 0), NOW + REST_BASE, 50)
    assert pace.round.is_measured
    after = beat(pace, NOW + REST_BASE + 1, 50, hungry)
    assert after.is_trying is not is_frozen
    if is_frozen:
        assert (after.limit, after.target, after.rate) == (50, 50, pace.rate)


def test_a_round_takes_as_many_answers_as_the_window_holds() -> None:
    pace = beat(beat(cut_to(50), NOW, 0), NOW + 5, 50)
    assert pace.round.is_measured
    assert not beat(pace, NOW + 10, 49).is_trying
    assert beat(pace, NOW + 10, 50).is_trying
    assert not beat(pace, NOW + 5 + ROUND_SECONDS - 0.1, 500).is_trying, "and a second at least"


def test_an_idle_upstream_begins_its_round_anew() -> None:
    pace = beat(beat(cut_to(50), NOW, 0), NOW + 5, 40)
    assert pace.round.answered == 40
    idle = on_beat(pace, NOW + 9, answered=0, hungry=0, is_idle=True)
    assert (idle.round.since, idle.round.answered) == (NOW + 9, 0)


# --- timeouts ---


def timed_out(pace: Pace, now: float, times: int) -> Pace:
    for _ in range(times):
        pace = on_timeout(pace, now)
    return pace


def test_a_window_that_cannot_be_answered_in_time_is_cut_to_what_can() -> None:
    pace = beat(Pace.tuned(patience=600.0), NOW, 0)
    pace = beat(pace, NOW + 600, 60)
    assert timed_out(pace, NOW + 600, DOWN_AFTER - 1).limit == BEGIN
    cut = timed_out(pace, NOW + 600, DOWN_AFTER)
    assert (cut.limit, cut.target, cut.good) == (30, 30, 30), "half of what 600 s suffice for"
    assert timed_out(cut, NOW + 600, 400).limit <= 30


def test_a_few_long_answers_of_a_fast_upstream_cut_nothing() -> None:
    pace = beat(beat(Pace.tuned(patience=600.0), NOW, 0), NOW + 600, 1200)
    pace = beat(pace, NOW + 1200, 1200)
    assert timed_out(pace, NOW + 1200, 100).limit == BEGIN


def test_no_more_is_tried_than_can_be_answered_in_time() -> None:
    for patience, is_trying in ((26.0, False), (28.0, True)):
        pace, _ = after_round(Pace.tuned(patience), NOW, 50.0)
        assert pace.is_trying is is_trying


def test_without_a_limit_of_time_timeouts_cut_nothing() -> None:
    assert timed_out(Pace.full(8), NOW, 50).limit == 8


# --- what keeps the number where it is ---


def test_the_bound_says_why_no_more_is_in_flight() -> None:
    assert bound_of(Pace.full(100), NOW, 100) is Bound.WINDOW
    assert bound_of(Pace.full(100), NOW, 90) is Bound.WINDOW
    assert bound_of(Pace.full(100), NOW, 89) is Bound.SOURCE
    assert bound_of(cut_to(60), NOW, 60) is Bound.UPSTREAM
    assert bound_of(on_rejected(Pace.full(9), NOW, held=0), NOW, 0) is Bound.UPSTREAM
    pace, now = tried(cut_to(50))
    assert bound_of(pace, now, 100) is Bound.TRIAL
    assert bound_of(unreachable(Pace.full(9), NOW), NOW, 9) is Bound.DOWN


# --- an upstream that is down ---


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
    assert not sign(good(pace), NOW).is_down


def test_once_it_is_down_a_single_sign_pauses_it_again() -> None:
    down = unreachable(Pace.full(8), NOW)
    probed = sign(down, NOW + 1.0)
    assert probed.pauses == 2
    assert probed.allowed(NOW + 1.0) == 0


def test_what_one_that_is_down_rejects_cuts_nothing_to_come_back_to() -> None:
    pace = on_rejected(unreachable(Pace.full(8), NOW), NOW + 5, held=3)
    assert (pace.limit, pace.target) == (3, 8)
    assert on_presence(pace).allowed(NOW + 5) == 3
    empty = on_rejected(unreachable(Pace.full(8), NOW), NOW + 5, held=0)
    assert good(empty, NOW + 9).limit == 8, "it comes back as a whole"


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
    pace = good(unreachable(unreachable(Pace.full(8), NOW), NOW + 10))
    assert not pace.is_down
    assert (pace.troubles, pace.pauses) == (0, 0)
    assert pace.allowed(NOW + 10) == pace.limit
    assert unreachable(pace, NOW + 11).paused_until == NOW + 11 + PAUSE_BASE


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_jitter_shortens_a_pause_by_half_at_most(jitter: float) -> None:
    wait = unreachable(Pace.full(8), NOW, jitter).paused_until - NOW
    assert wait == pytest.approx(PAUSE_BASE * (0.5 + jitter / 2))


# --- a ceiling that changes ---


def test_a_settled_pace_follows_its_ceiling_down_to_nothing_and_up_again() -> None:
    pace = Pace.full(100)
    for ceiling in (40, 0, 7, 100):
        pace = with_ceiling(pace, ceiling)
        assert (pace.limit, pace.allowed(NOW)) == (ceiling, ceiling)
        assert pace.is_settled


def test_a_window_that_tunes_itself_begins_with_its_part_of_a_share() -> None:
    pace = Pace.tuned()
    for ceiling, window in ((1024, 128), (0, 0), (1, 1), (4, 1), (TOP, BEGIN)):
        pace = with_ceiling(pace, ceiling)
        assert (pace.limit, pace.begin) == (window, window)


def test_a_cut_pace_keeps_its_part_of_another_ceiling() -> None:
    pace = with_ceiling(cut_to(70), 50)
    assert (pace.limit, pace.ceiling) == (35, 50)
    pace = with_ceiling(pace, 200)
    assert (pace.limit, pace.begin) == (140, 200)
    assert with_ceiling(cut_to(1, Pace.full(2)), 1).limit == 1, "one is never cut to none"


def test_a_trial_goes_on_in_its_part_of_another_ceiling() -> None:
    pace, _ = tried(Pace.tuned())
    pace = with_ceiling(pace, 1024)
    assert (pace.good, pace.limit, pace.rate) == (128, 256, 50.0 / 4)
    assert pace.is_trying


def test_nothing_is_sent_without_a_slot_whatever_an_upstream_answers() -> None:
    pace = with_ceiling(Pace.full(8), 0)
    assert on_rejected(pace, NOW, held=3).limit == 0
    assert good(on_trouble(pace, NOW, is_certain=False, jitter=0.5)).limit == 0
    paused = unreachable(pace, NOW)
    assert paused.allowed(paused.paused_until) == 0, "not even to ask"
    assert with_ceiling(paused, 5).allowed(paused.paused_until) == 1


# --- whatever happens ---

EVENTS = ("ok", "hungry", "429", "patience", "timeout", "sign", "gone", "beat", "idle", "ceiling")

steps = st.lists(
    st.tuples(st.sampled_from(EVENTS), st.floats(0, 40), st.integers(0, 5000)), max_size=80
)


def happen(pace: Pace, what: str, now: float, number: int) -> Pace:
    """The pace after one of ``EVENTS``."""
    if what in ("ok", "hungry"):
        return on_success(pace, now, is_full=what == "ok")
    if what in ("429", "patience"):
        wait = float(number) if what == "patience" else 0.0
        return on_rejected(pace, now, held=number % (pace.limit + 1), retry_after=wait)
    if what == "timeout":
        return on_timeout(pace, now)
    if what == "ceiling":
        return with_ceiling(pace, number)
    if what in ("beat", "idle"):
        return on_beat(pace, now, answered=number, hungry=number // 20, is_idle=what == "idle")
    return on_trouble(pace, now, is_certain=what == "gone", jitter=0.5)


@given(st.sampled_from([Pace.full(1), Pace.full(300), Pace.tuned(), Pace.tuned(600.0)]), steps)
def test_whatever_comes_the_window_stays_within_its_bounds(
    pace: Pace, happened: list[tuple[str, float, int]]
) -> None:
    now = NOW
    for what, seconds, number in happened:
        now += seconds
        before, pace = pace, happen(pace, what, now, number)
        least = min(1, pace.ceiling)
        assert 0 <= pace.limit <= pace.target <= pace.ceiling
        assert least <= pace.good <= pace.target <= 2 * pace.good
        assert pace.allowed(now) in (0, 1, pace.limit)
        assert pace.allowed(now + QUIET_CAP + 1) >= least, "it is asked again at some time"
        if what == "429" and not before.is_asking:
            assert pace.limit <= before.limit
            assert pace.target >= before.target // 2
            assert 0.0 <= pace.noise.share <= MOST
        if what == "ok":
            assert pace.limit >= before.limit
            assert not pace.is_down
        if what == "idle":
            assert (pace.limit, pace.target) == (before.limit, before.target)
