"""Scripts and the dice that decide by them."""

from collections import Counter
from hashlib import blake2b

import pytest

from batchmill.domain.errors import ConfigError
from batchmill.upstream.mock.script import RATES, Dice, Fate, Fault, Script


def digest(number: int) -> bytes:
    return blake2b(b"%d" % number, digest_size=16).digest()


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ({"rate_429": 1.0}, {"rate_429": 1.01}),
        ({"rate_reset": 0.0}, {"rate_reset": -0.01}),
        ({"rate_429": 0.5, "rate_cut": 0.5}, {"rate_429": 0.5, "rate_cut": 0.6}),
        ({"tail_share": 1.0}, {"tail_share": 1.1}),
        ({"latency": 0.0}, {"latency": -0.1}),
        ({"tail_latency": 0.0}, {"tail_latency": float("inf")}),
        ({"close_delay": 0.0}, {"close_delay": -1.0}),
        ({"slots": 1}, {"slots": 0}),
        ({"queue": 0}, {"queue": -1}),
        ({"retry_after": 0.0}, {"retry_after": -1.0}),
        ({"close_after": 1}, {"close_after": 0}),
        ({"fail_first": 0}, {"fail_first": -1}),
        ({"status_5xx": 599}, {"status_5xx": 600}),
        ({"status_5xx": 500}, {"status_5xx": 499}),
        ({"oversized_bytes": 64}, {"oversized_bytes": 63}),
        ({"count_lines": False}, {"count_lines": False, "fail_first": 1}),
        ({"count_lines": False, "tail_share": 0.5}, {"count_lines": False, "rate_cut": 0.1}),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused(good: dict[str, float], bad: dict[str, float]) -> None:
    Script(**good)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        Script(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", list(Fault))
def test_each_fault_has_a_rate_of_its_own(fault: Fault) -> None:
    dice = Dice(Script(**{RATES[fault]: 1.0}))  # type: ignore[arg-type]
    assert {dice.draw(digest(line), 1).fault for line in range(50)} == {fault}


def test_the_same_request_meets_the_same_fate() -> None:
    script = Script(rate_429=0.2, rate_cut=0.2, tail_share=0.3, tail_latency=2.0, seed=7)
    first, second = Dice(script), Dice(script)
    fates = [first.draw(digest(line), hit) for line in range(100) for hit in (1, 2)]
    assert fates == [second.draw(digest(line), hit) for line in range(100) for hit in (1, 2)]


@pytest.mark.parametrize("change", ["seed", "line", "hit"])
def test_another_seed_line_or_hit_is_another_throw(change: str) -> None:
    before = Dice(Script(rate_429=0.5))
    after = Dice(Script(rate_429=0.5, seed=1)) if change == "seed" else before
    pairs = [
        (
            before.draw(digest(line), 1),
            after.draw(digest(line + 1000 * (change == "line")), 2 if change == "hit" else 1),
        )
        for line in range(100)
    ]
    assert any(one != other for one, other in pairs)


def test_rates_are_met_in_the_long_run() -> None:
    dice = Dice(Script(rate_429=0.25, rate_5xx=0.25, rate_hang=0.1))
    counts = Counter(dice.draw(digest(line), 1).fault for line in range(10_000))
    assert 2300 < counts[Fault.RATE_LIMITED] < 2700
    assert 2300 < counts[Fault.SERVER_ERROR] < 2700
    assert 850 < counts[Fault.HANG] < 1150


def test_the_first_hits_of_each_line_fail_and_no_later_one() -> None:
    dice = Dice(Script(fail_first=2, fail_with=Fault.RESET))
    fates = [dice.draw(digest(1), hit).fault for hit in (1, 2, 3, 4)]
    assert fates == [Fault.RESET, Fault.RESET, None, None]


def test_the_slow_tail_is_slow_around_its_median() -> None:
    dice = Dice(Script(latency=0.1, tail_share=0.5, tail_latency=10.0))
    latencies = sorted(dice.draw(digest(line), 1).latency for line in range(2000))
    slow = [latency for latency in latencies if latency != 0.1]
    assert 900 < len(slow) < 1100
    assert 9 < slow[len(slow) // 2] < 11
    assert slow[0] < 5 < 20 < slow[-1]


def test_a_script_without_faults_throws_no_dice() -> None:
    assert Dice(Script(latency=0.5)).draw(b"", 0) == Fate(None, 0.5)
