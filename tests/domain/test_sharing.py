"""Slots shared over processes: fair to the last one, lowered at once, raised into what is free."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.pacing import BEGIN, TOP, Pace, with_ceiling
from batchmill.domain.sharing import Grant, Grants, Load, Outlet, fill, outlets, toward

UP = Outlet("m", "up")
NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
COUNTS = st.dictionaries(NAMES, st.integers(0, 600))

LEASE, PATIENCE = 5.0, 3.0
SILENCE = LEASE + PATIENCE
STRANGERS = 9.0


def a_load(process: str, lines: int, clock: float = 0.0, **changes: object) -> Load:
    return Load(process, clock, outstanding={"m": lines}, **changes)  # type: ignore[arg-type]


def some_grants(cap: int = 10, *, is_first: bool = True, **caps: int) -> Grants:
    named = {Outlet("m", name): most for name, most in caps.items()} or {UP: cap}
    grants = Grants(named, epoch=1, lease=LEASE, patience=PATIENCE, strangers=STRANGERS, now=0.0)
    if is_first:
        grants.all_known()
    return grants


def slots(grants: Grants, now: float, outlet: Outlet = UP) -> dict[str, int]:
    return {name: one.slots.get(outlet, 0) for name, one in grants.next_grants(now).items()}


# --- the arithmetic ---


@pytest.mark.parametrize(
    ("cap", "demand", "expected"),
    [
        (10, {"a": 100, "b": 100}, {"a": 5, "b": 5}),
        (10, {"a": 2, "b": 100}, {"a": 2, "b": 8}),
        (11, {"b": 100, "a": 100}, {"a": 6, "b": 5}),
        (10, {"a": 3, "b": 4}, {"a": 3, "b": 4}),
        (2, {"a": 9, "b": 9, "c": 9}, {"a": 1, "b": 1, "c": 0}),
        (10, {"a": 0, "b": 1}, {"a": 0, "b": 1}),
        (0, {"a": 5}, {"a": 0}),
        (5, {}, {}),
    ],
)
def test_shares_are_fair(cap: int, demand: dict[str, int], expected: dict[str, int]) -> None:
    assert fill(cap, demand) == expected


@given(st.integers(0, 1000), COUNTS)
def test_all_of_the_cap_is_used_where_it_is_asked_for(cap: int, demand: dict[str, int]) -> None:
    shares = fill(cap, demand)
    assert sum(shares.values()) == min(cap, sum(demand.values()))
    assert all(0 <= shares[name] <= demand[name] for name in demand)
    short = [shares[name] for name in demand if shares[name] < demand[name]]
    assert all(shares[name] <= one + 1 for one in short for name in demand), "nobody gets more"


@given(st.integers(1, 1000), COUNTS, COUNTS)
def test_held_and_granted_together_never_exceed_the_cap(
    cap: int, demand: dict[str, int], wish: dict[str, int]
) -> None:
    held = fill(cap, wish)
    grants = toward(cap, fill(cap, demand), held)
    names = demand.keys() | held.keys()
    assert sum(max(held.get(n, 0), grants.get(n, 0)) for n in names) <= cap
    fair = fill(cap, demand)
    assert all(grants[n] == fair[n] for n in demand if fair[n] <= held.get(n, 0)), "lowered at once"
    # Once everyone has come down, the others get all of it.
    lowered = {n: min(held.get(n, 0), grants[n]) for n in demand}
    assert toward(cap, fair, lowered) == fair


@given(st.integers(0, 1000), COUNTS, COUNTS)
def test_nothing_is_raised_above_a_cap_that_was_lowered(
    cap: int, target: dict[str, int], held: dict[str, int]
) -> None:
    grants = toward(cap, target, held)
    if sum(held.values()) >= cap:
        assert all(grants[name] <= held.get(name, 0) for name in target)


def test_an_upstream_that_is_listed_twice_has_two_outlets() -> None:
    assert outlets("m", ["x", "y", "x"]) == (
        Outlet("m", "x"),
        Outlet("m", "y"),
        Outlet("m", "x #3"),
    )


# --- the books ---


def test_a_process_that_was_not_heard_of_is_greeted_and_granted_nothing() -> None:
    grants = some_grants()
    assert grants.greeting == Grant(epoch=1)
    assert grants.next_grants(0.0) == {}


def test_the_lease_is_told_in_the_holders_own_clock_from_its_report_on() -> None:
    grants = some_grants()
    grants.note(a_load("a", 4, clock=1000.0), now=0.0)
    grant = grants.next_grants(3.0)["a"]
    assert (grant.process, grant.until, dict(grant.slots)) == ("a", 1000.0 + LEASE, {UP: 4})


def test_even_slots_are_split_by_who_has_lines_and_not_by_how_many_those_are() -> None:
    grants = Grants(
        {UP: 10},
        epoch=1,
        lease=LEASE,
        patience=PATIENCE,
        strangers=STRANGERS,
        now=0.0,
        even={UP},
    )
    grants.all_known()
    for number, lines in enumerate([(1, 900), (700, 2), (3, 3)]):
        held = {UP: 5} if number else {}
        for name, count in zip("ab", lines, strict=True):
            load = a_load(name, count, float(number), epoch=1, number=number, slots=held)
            grants.note(load, float(number))
        assert slots(grants, float(number)) == {"a": 5, "b": 5}
    for name, count in (("a", 0), ("b", 3)):
        grants.note(a_load(name, count, 3.0, epoch=1, number=3, slots={UP: 5}), 3.0)
    assert slots(grants, 3.0) == {"a": 0, "b": 5}, "until a has said that it holds none"
    for name, count, some in (("a", 0, 0), ("b", 3, 5)):
        grants.note(a_load(name, count, 4.0, epoch=1, number=4, slots={UP: some}), 4.0)
    assert slots(grants, 4.0) == {"a": 0, "b": 10}


def test_windows_that_tune_themselves_begin_with_the_same_over_all_processes() -> None:
    even = fill(TOP, dict.fromkeys("abcd", TOP))
    paces = [with_ceiling(Pace.tuned(), slots) for slots in even.values()]
    assert sum(pace.limit for pace in paces) == BEGIN


def test_slots_move_once_their_holder_has_said_that_it_lowered_its_own() -> None:
    grants = some_grants()
    grants.note(a_load("a", 99), now=0.0)
    assert slots(grants, 0.0) == {"a": 10}
    grants.note(a_load("b", 99), now=1.0)
    assert (slots(grants, 1.0), grants.is_moving) == ({"a": 5, "b": 0}, True)
    grants.note(a_load("a", 99, 1.0, epoch=1, number=2, slots={UP: 5}, in_flight={UP: 8}), now=1.1)
    assert slots(grants, 2.0) == {"a": 5, "b": 2}, "eight are still in flight"
    grants.note(a_load("a", 99, 2.0, epoch=1, number=3, slots={UP: 5}, in_flight={UP: 5}), now=2.1)
    assert (slots(grants, 3.0), grants.is_moving) == ({"a": 5, "b": 5}, False)
    assert grants.held() == {UP: 10}


def test_a_grant_that_was_not_confirmed_counts_as_held() -> None:
    grants = some_grants()
    grants.note(a_load("a", 99), now=0.0)
    assert slots(grants, 0.0) == {"a": 10}
    grants.note(a_load("a", 0, 1.0), now=1.0)
    grants.note(a_load("b", 99), now=1.0)
    assert slots(grants, 1.0) == {"a": 0, "b": 0}, "the first grant may still be on its way"
    grants.note(a_load("a", 0, 2.0, epoch=1, number=2), now=2.0)
    assert slots(grants, 2.0) == {"a": 0, "b": 10}


def test_a_report_that_was_overtaken_by_a_later_one_says_nothing() -> None:
    grants = some_grants()
    grants.note(a_load("a", 99, 5.0), now=0.0)
    grants.note(a_load("a", 1, 4.0), now=0.1)
    assert slots(grants, 1.0) == {"a": 10}
    grants.note(a_load("a", 9, 6.0, epoch=1, number=1, slots={UP: 10}), now=1.0)
    grants.note(a_load("a", 1, 6.0), now=1.1)
    assert slots(grants, 1.2) == {"a": 9}, "nor one of the same moment that had heard less"


def test_what_a_silent_process_holds_is_free_when_its_lease_has_surely_run_out() -> None:
    grants = some_grants()
    grants.note(a_load("a", 99), now=0.0)
    slots(grants, 0.0)
    grants.note(a_load("b", 99), now=7.0)
    assert slots(grants, SILENCE - 0.01) == {"a": 5, "b": 0}
    assert slots(grants, SILENCE) == {"b": 10}


def test_what_a_dead_process_held_is_free_at_once_and_what_a_lost_one_held_is_not() -> None:
    grants = some_grants()
    for name in "abc":
        grants.note(a_load(name, 99), now=0.0)
    assert slots(grants, 0.0) == {"a": 4, "b": 3, "c": 3}
    grants.lost("a", free_at=1.0)
    grants.lost("b")
    grants.note(a_load("c", 99, 1.0, epoch=1, number=1, slots={UP: 3}), now=1.0)
    assert slots(grants, 1.0) == {"c": 7}
    grants.note(a_load("b", 99, 2.0), now=1.5)
    assert slots(grants, 2.0) == {"c": 7}, "a lost one that comes back is not listened to yet"
    grants.lost("nobody")
    assert slots(grants, SILENCE) == {"c": 10}


def test_a_new_dispatcher_raises_nobody_while_it_may_not_know_everyone() -> None:
    grants = some_grants(is_first=False)
    grants.note(a_load("a", 99, slots={UP: 4}), now=0.0)
    assert slots(grants, 0.0) == {"a": 4}
    grants.note(a_load("a", 99, 1.0, slots={UP: 4}), now=STRANGERS - 0.1)
    assert slots(grants, STRANGERS - 0.1) == {"a": 4}
    assert slots(grants, STRANGERS) == {"a": 10}


def test_lines_that_were_just_handed_out_are_demand() -> None:
    grants = some_grants()
    grants.note(a_load("a", 0), now=0.0)
    assert slots(grants, 0.0) == {"a": 0}
    grants.expect("a", "m", 3)
    grants.expect("a", "m", 3)
    grants.expect("nobody", "m", 3)
    assert slots(grants, 0.0) == {"a": 6}
    grants.note(a_load("a", 6, 1.0, epoch=1, number=2, slots={UP: 6}), now=0.0)
    assert slots(grants, 0.0) == {"a": 6}


def test_few_lines_are_spread_over_the_upstreams_and_one_may_take_them_all() -> None:
    grants = some_grants(one=10, two=30)
    one, two = Outlet("m", "one"), Outlet("m", "two")
    grants.note(a_load("a", 20), now=0.0)
    grants.note(a_load("b", 999), now=0.0)
    given = grants.next_grants(0.0)
    assert dict(given["a"].slots) == {one: 5, two: 15}
    assert dict(given["b"].slots) == {one: 5, two: 15}
    alone = some_grants(one=10, two=30)
    alone.note(a_load("a", 20), now=0.0)
    assert dict(alone.next_grants(0.0)["a"].slots) == {one: 10, two: 20}


def test_outlets_that_nobody_capped_are_nobodys_business() -> None:
    grants = some_grants()
    load = Load("a", 0.0, slots={Outlet("x", "y"): 3}, outstanding={"x": 5, "m": 1})
    grants.note(load, now=0.0)
    assert dict(grants.next_grants(0.0)["a"].slots) == {UP: 1}
