"""Rejections that no smaller window avoids: when they are known, how many are borne, how long."""

from dataclasses import replace

import pytest

from batchmill.domain.noise import (
    BELIEVED_SECONDS,
    BELIEVED_TIMES,
    COST,
    CUT,
    FEWEST_OUTCOMES,
    FEWEST_REJECTIONS,
    IN_VAIN,
    MOST,
    MOST_OUTCOMES,
    OF_USE,
    SLACK,
    TALLY_SECONDS,
    Noise,
    with_beat,
    with_rejection,
    with_tally_anew,
)

NOW = 1000.0
LATER = NOW + TALLY_SECONDS


def tallied(
    noise: Noise,
    *,
    window: int,
    answered: int,
    rejected: int,
    hungry: int = 0,
    seconds: float = TALLY_SECONDS,
) -> Noise:
    """After a beat that begins a tally under this window, and one at its end."""
    noise = with_tally_anew(noise, NOW, window=window)
    for _ in range(rejected):
        noise = with_rejection(noise)
    return with_beat(noise, NOW + seconds, window=window, answered=answered, hungry=hungry)


def known(share: float, until: float = NOW + BELIEVED_SECONDS) -> Noise:
    return with_tally_anew(Noise(share, until), NOW, window=100)


LARGER = tallied(Noise(), window=200, answered=150, rejected=50)


# --- what is noise ---


def test_a_cut_that_cost_throughput_and_left_as_large_a_part_rejected_found_noise() -> None:
    noise = tallied(LARGER, window=100, answered=75, rejected=25)
    assert noise.share == 0.25
    assert noise.until == LATER + BELIEVED_SECONDS


def test_what_took_long_to_learn_is_believed_longer() -> None:
    noise = tallied(LARGER, window=100, answered=75, rejected=25, seconds=60.0)
    assert noise.until == NOW + 60.0 + BELIEVED_TIMES * 60.0


@pytest.mark.parametrize(
    ("changed", "is_noise"),
    [
        ({"window": int(CUT * 200)}, True),
        ({"window": int(CUT * 200) + 1}, False),
        ({"answered": int(COST * 150), "rejected": 40}, True),
        ({"answered": int(COST * 150) + 1, "rejected": 40}, False),
        ({"answered": 85, "rejected": 15}, True),
        ({"answered": 86, "rejected": 14}, False),
        ({"hungry": 37}, True),
        ({"hungry": 38}, False),
    ],
)
def test_on_both_sides_of_each_limit(changed: dict[str, int], is_noise: bool) -> None:
    assert pytest.approx(0.15) == IN_VAIN * 0.25
    usual = {"window": 100, "answered": 75, "rejected": 25, "hungry": 0}
    assert bool(tallied(LARGER, **(usual | changed)).share) is is_noise


def test_a_cut_that_cost_nothing_or_was_of_use_is_what_the_next_is_compared_to() -> None:
    cost_nothing = tallied(LARGER, window=100, answered=150, rejected=50)
    assert cost_nothing.larger is not None
    assert cost_nothing.larger.window == 100
    of_use = tallied(LARGER, window=100, answered=1000 - 74, rejected=74, seconds=10.0)
    assert of_use.larger is not None
    assert (of_use.larger.window, of_use.larger.share < OF_USE * 0.25) == (100, True)
    unclear = tallied(LARGER, window=100, answered=1000 - 76, rejected=76, seconds=10.0)
    assert unclear.larger == LARGER.larger


def test_a_window_that_has_grown_is_compared_to_from_then_on() -> None:
    grown = tallied(LARGER, window=201, answered=150, rejected=50)
    assert grown.larger is not None
    assert grown.larger.window == 201


def test_more_than_half_is_never_borne() -> None:
    larger = tallied(Noise(), window=200, answered=40, rejected=160)
    assert tallied(larger, window=100, answered=20, rejected=80).share == MOST


# --- how long a tally is ---


def begun(rejected: int) -> Noise:
    noise = with_tally_anew(known(0.2), NOW, window=100)
    for _ in range(rejected):
        noise = with_rejection(noise)
    return noise


@pytest.mark.parametrize(
    ("answered", "rejected", "seconds", "is_enough"),
    [
        (FEWEST_OUTCOMES, 0, TALLY_SECONDS, True),
        (FEWEST_OUTCOMES - 1, 0, TALLY_SECONDS, False),
        (FEWEST_OUTCOMES, 0, TALLY_SECONDS - 0.01, False),
        (FEWEST_OUTCOMES - FEWEST_REJECTIONS, FEWEST_REJECTIONS, TALLY_SECONDS, True),
        (FEWEST_OUTCOMES, FEWEST_REJECTIONS - 1, TALLY_SECONDS, False),
        (MOST_OUTCOMES - 2, 1, TALLY_SECONDS, False),
        (MOST_OUTCOMES - 1, 1, TALLY_SECONDS, True),
    ],
)
def test_a_tally_is_as_long_as_it_takes_to_tell_something(
    answered: int, rejected: int, seconds: float, is_enough: bool
) -> None:
    seen = {"window": 100, "answered": answered, "hungry": 0}
    after = with_beat(begun(rejected), NOW + seconds, **seen)
    assert (after.tally.since == NOW + seconds) is is_enough
    assert is_enough or after.tally.outcomes == answered + rejected


def test_a_tally_begins_with_the_first_beat() -> None:
    noise = with_beat(Noise(), NOW, window=7, answered=500, hungry=0)
    assert (noise.tally.since, noise.tally.window, noise.tally.outcomes) == (NOW, 7, 0)


# --- what is borne ---


def test_without_noise_nothing_is_borne() -> None:
    assert not with_rejection(Noise()).bears(1000)


def test_a_share_and_half_of_it_and_a_few_are_borne() -> None:
    noise = known(0.5)
    for _ in range(SLACK + 15):
        noise = with_rejection(noise)
        assert noise.bears(10)
    assert not with_rejection(noise).bears(10)
    assert with_rejection(noise).bears(11)


def test_what_is_no_longer_rejected_is_no_longer_borne() -> None:
    noise = known(0.2)
    shares = [noise.share]
    while noise.share:
        noise = tallied(noise, window=100, answered=80, rejected=0)
        shares.append(noise.share)
        assert noise.share < shares[-2]
    assert 4 < len(shares) < 20


def test_it_is_learnt_anew_in_the_end() -> None:
    assert with_beat(known(0.2), NOW + BELIEVED_SECONDS - 1, window=9, answered=0, hungry=0).share
    ended = with_beat(known(0.2), NOW + BELIEVED_SECONDS, window=9, answered=0, hungry=0)
    assert not ended.share


def test_only_a_larger_share_is_learnt_while_one_is_known() -> None:
    larger = replace(known(0.3), larger=LARGER.larger)
    assert tallied(larger, window=100, answered=75, rejected=25).share == 0.3
    smaller = replace(known(0.1), larger=LARGER.larger)
    assert tallied(smaller, window=100, answered=75, rejected=25).share == 0.25
