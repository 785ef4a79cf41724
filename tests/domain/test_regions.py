"""Where lines may be computed: the rule against what it says, word by word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.regions import allows_nothing, is_region, is_rule_word, may_compute

NAMES = ["cn", "eu", "eu-west", "us"]
names = st.sampled_from(NAMES)
words = st.one_of(st.just("*"), names, names.map(lambda name: f"!{name}"))
rules = st.lists(words, min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        (["*"], ["", "cn", "eu", "eu-west", "us"]),
        (["*", "!cn"], ["eu", "eu-west", "us"]),
        (["!cn", "*"], ["eu", "eu-west", "us"]),
        (["!cn"], ["eu", "eu-west", "us"]),
        (["cn"], ["cn"]),
        (["eu", "us"], ["eu", "us"]),
        (["eu", "us", "!us"], ["eu"]),
        (["eu", "!cn"], ["eu"]),
        (["*", "eu"], ["", "cn", "eu", "eu-west", "us"]),
        (["cn", "!cn"], []),
        ([], []),
    ],
)
def test_a_rule_allows_what_it_says(rule: list[str], allowed: list[str]) -> None:
    assert [name for name in ("", *NAMES) if may_compute(rule, name)] == allowed


@given(rules, names, st.randoms())
def test_order_and_repetition_mean_nothing(rule: list[str], name: str, chance: object) -> None:
    other = [*rule, *rule]
    chance.shuffle(other)  # type: ignore[attr-defined]
    assert may_compute(rule, name) == may_compute(other, name) == may_compute(set(rule), name)


@given(rules, names)
def test_what_is_excluded_is_out_whatever_else_is_said(rule: list[str], name: str) -> None:
    assert not may_compute([*rule, f"!{name}"], name)


@given(rules, names, names)
def test_an_exclusion_takes_nothing_else_away(rule: list[str], name: str, other: str) -> None:
    if other != name and any(not word.startswith("!") for word in rule):
        assert may_compute([*rule, f"!{other}"], name) == may_compute(rule, name)


@given(rules)
def test_a_place_without_a_name_is_allowed_where_every_place_is(rule: list[str]) -> None:
    """It may be the very one that is excluded."""
    everywhere = all(may_compute(rule, name) for name in (*NAMES, "mars"))
    assert may_compute(rule, "") == everywhere


@given(rules)
def test_a_rule_that_allows_nothing_is_known(rule: list[str]) -> None:
    assert allows_nothing(rule) == (not any(may_compute(rule, one) for one in (*NAMES, "mars")))


@pytest.mark.parametrize("name", ["a", "cn", "eu-west-1", "1", "a-", "a" * 63])
def test_names_are_small_letters_digits_and_hyphens(name: str) -> None:
    assert is_region(name)
    assert is_rule_word(name)
    assert is_rule_word(f"!{name}")


@pytest.mark.parametrize(
    "name", ["", "-a", "EU", "eu west", "eu_west", "ü", "a\n", "a" * 64, "!a", "*"]
)
def test_what_cannot_name_a_region(name: str) -> None:
    assert not is_region(name)
    assert not is_rule_word(f"!{name}")


def test_every_region_cannot_be_excluded_in_one_word() -> None:
    assert is_rule_word("*")
    assert not is_rule_word("!*")
    assert not is_rule_word("!!cn")
