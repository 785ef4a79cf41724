"""Allowances: never more under way than allowed but for a lone large batch; nobody starves."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.allowance import (
    BYTES_PER_TOKEN,
    Allowance,
    Claim,
    Load,
    Measure,
    admit,
    estimate_tokens,
)

M = "qwen-plus"
TEN = {M: Allowance(lines=10)}


def claim(name: str, lines: int, *, at: float = 0.0, **changes: object) -> Claim:
    return replace(Claim(name, "acme", at, {M: Load(lines, lines * 100)}), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("lines", "runs"), [(4, True), (5, False)])
def test_lines_fit_up_to_the_allowance_and_not_beyond(lines: int, runs: bool) -> None:
    ruled = admit([claim("a", 6, has_begun=True), claim("b", lines)], TEN)
    assert ("b" in ruled.running) is runs
    assert ("b" in ruled.waiting) is not runs


@pytest.mark.parametrize(("allowed", "runs"), [(1000, True), (999, False)])
def test_tokens_fit_up_to_the_allowance_and_not_beyond(allowed: int, runs: bool) -> None:
    claims = [claim("a", 6, has_begun=True), claim("b", 4)]
    ruled = admit(claims, {M: Allowance(lines=10, tokens=allowed)})
    assert ("b" in ruled.running) is runs
    if not runs:
        wait = ruled.waiting["b"]
        assert (wait.measure, wait.allowed, wait.under_way) == (Measure.TOKENS, 999, 600)
        assert wait.sentence == (
            "Your account may have 999 unfinished input tokens (estimated) of model 'qwen-plus' "
            "under way, and has 600: this batch with its 400 waits until there is room."
        )


def test_a_wait_says_what_it_waits_for() -> None:
    ruled = admit([claim("a", 6), claim("b", 5, at=1.0), claim("c", 1, at=2.0)], TEN)
    assert ruled.running == {"a"}
    assert ruled.waiting["b"].sentence == (
        "Your account may have 10 unfinished lines of model 'qwen-plus' under way, and has 6: "
        "this batch with its 5 waits until there is room."
    )
    assert ruled.waiting["c"].is_behind
    assert ruled.waiting["c"].sentence == (
        "Your account may have 10 unfinished lines of model 'qwen-plus' under way, and has 6: "
        "this batch with its 1 waits behind one that came before it."
    )


def test_who_came_first_goes_first_and_nobody_overtakes() -> None:
    claims = [claim("late", 1, at=3.0), claim("large", 10, at=2.0), claim("early", 1, at=1.0)]
    ruled = admit(claims, TEN)
    assert ruled.running == {"early"}
    assert set(ruled.waiting) == {"large", "late"}


def test_one_that_has_begun_goes_on_whatever_the_allowance_has_become() -> None:
    begun = [claim("a", 8, at=5.0, has_begun=True), claim("b", 8, at=6.0, has_begun=True)]
    ruled = admit([*begun, claim("first", 1)], TEN)
    assert ruled.running == {"a", "b"}
    assert ruled.waiting["first"].under_way == 16


def test_a_batch_larger_than_the_allowance_runs_alone() -> None:
    assert admit([claim("large", 11)], TEN).running == {"large"}
    assert admit([claim("large", 11), claim("small", 1, at=1.0)], TEN).running == {"large"}
    assert admit([claim("small", 1), claim("large", 11, at=1.0)], TEN).running == {"small"}


def test_accounts_and_models_do_not_share_an_allowance() -> None:
    other = claim("other", 10, account="other")
    free = claim("free", 999, loads={"free": Load(999, 1)})
    ruled = admit([claim("a", 10), other, free], {**TEN, "free": Allowance()})
    assert ruled.running == {"a", "other", "free"}


def test_what_is_finished_of_a_batch_makes_room() -> None:
    assert admit([claim("a", 0, has_begun=True), claim("b", 10)], TEN).running == {"a", "b"}


def test_a_batch_of_two_models_waits_for_both_and_is_not_overtaken_at_either() -> None:
    both = claim("both", 0, at=1.0, loads={M: Load(10, 0), "n": Load(1, 0)})
    behind = claim("behind", 0, at=2.0, loads={"n": Load(1, 0)})
    ruled = admit([claim("a", 1), both, behind], {**TEN, "n": Allowance(tokens=5)})
    assert ruled.running == {"a"}
    assert (ruled.waiting["both"].model, ruled.waiting["behind"].model) == (M, "n")
    assert ruled.waiting["behind"].measure is Measure.TOKENS


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (4000, 1000)])
def test_tokens_are_estimated_from_bytes(size: int, tokens: int) -> None:
    assert BYTES_PER_TOKEN == 4
    assert estimate_tokens(size) == tokens


NAMES = st.sampled_from(["m", "n", "free"])
LOADS = st.dictionaries(NAMES, st.builds(Load, st.integers(0, 12), st.integers(0, 40)), max_size=3)
CLAIMS = st.lists(
    st.builds(
        Claim,
        st.uuids().map(str),
        st.sampled_from(["acme", "other"]),
        st.integers(0, 3).map(float),
        LOADS,
    ),
    max_size=8,
    unique_by=lambda one: one.batch_id,
)
AMOUNTS = st.none() | st.integers(1, 15)
ALLOWANCES = st.fixed_dictionaries(
    {"m": st.builds(Allowance, AMOUNTS, AMOUNTS), "n": st.builds(Allowance, AMOUNTS, AMOUNTS)}
)


def assert_within(running: list[Claim], allowances: Mapping[str, Allowance]) -> None:
    """No account has more of a model under way than allowed, unless it is one batch alone."""
    for account in {one.account for one in running}:
        for model, allowance in allowances.items():
            loads = [
                one.loads[model] for one in running if one.account == account and model in one.loads
            ]
            busy = [load for load in loads if load.lines]
            for measure in allowance.measures:
                allowed = allowance.of(measure)
                assert allowed is not None
                assert len(busy) <= 1 or sum(load.of(measure) for load in busy) <= allowed


@given(claims=CLAIMS, allowances=ALLOWANCES, data=st.data())
def test_never_more_than_allowed_and_everyone_comes_to_run(
    claims: list[Claim], allowances: dict[str, Allowance], data: st.DataObject
) -> None:
    """Batches run, shrink and end in any order; new snapshots are ruled on in between."""
    left = {one.batch_id: one for one in claims}
    begun: list[str] = []
    while left:
        ruled = admit(left.values(), allowances)
        assert ruled.running | set(ruled.waiting) == set(left)
        assert not ruled.running & set(ruled.waiting)
        assert {name for name in begun if name in left} <= ruled.running
        assert_within([left[name] for name in ruled.running], allowances)
        assert ruled.running, "nobody runs, so nobody will ever come to run"
        begun += sorted(ruled.running - set(begun))
        left = {name: replace(one, has_begun=name in ruled.running) for name, one in left.items()}
        name = data.draw(st.sampled_from(sorted(ruled.running)))
        _shrink(left, name, ends=data.draw(st.booleans()))
    assert sorted(begun) == sorted(one.batch_id for one in claims)


def _shrink(left: dict[str, Claim], name: str, *, ends: bool) -> None:
    """A line of each model of the batch is done; or all are, and it is gone."""
    loads = {
        model: Load(load.lines - 1, max(0, load.tokens - 1))
        for model, load in left[name].loads.items()
        if load.lines > 1
    }
    if ends or not loads:
        del left[name]
    else:
        left[name] = replace(left[name], loads=loads)


@given(claims=CLAIMS, allowances=ALLOWANCES)
def test_batches_of_one_account_and_model_run_in_the_order_in_which_they_came(
    claims: list[Claim], allowances: dict[str, Allowance]
) -> None:
    ruled = admit(claims, allowances)
    for name in ruled.waiting:
        waits = next(one for one in claims if one.batch_id == name)
        assert ruled.waiting[name].sentence
        for one in claims:
            shares = one.account == waits.account and any(
                load.lines and waits.loads.get(model, Load()).lines and allowances[model].measures
                for model, load in one.loads.items()
                if model in allowances
            )
            if shares and (one.created_at, one.batch_id) > (waits.created_at, name):
                assert one.batch_id in ruled.waiting
