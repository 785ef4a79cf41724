"""Who goes next: the nearest deadline, with a fair turn in between; nobody starves."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.schedule import FAIR_TURN, Candidate, pick

A = Candidate("a", deadline=100.0, created_at=1.0)
B = Candidate("b", deadline=200.0, created_at=0.0)


def run(waiting: dict[Candidate, int], turns: int) -> list[str]:
    """Hand out shards turn by turn; ``waiting`` says how many each candidate has."""
    candidates = {one.batch_id: one for one in waiting}
    left = {one.batch_id: shards for one, shards in waiting.items()}
    picked = []
    for turn in range(turns):
        chosen = pick([one for one in candidates.values() if left[one.batch_id]], turn)
        if chosen is None:
            break
        picked.append(chosen.batch_id)
        left[chosen.batch_id] -= 1
        candidates[chosen.batch_id] = replace(chosen, served=turn)
    return picked


def test_without_candidates_nobody_is_picked() -> None:
    assert pick([], 0) is None
    assert pick([], FAIR_TURN - 1) is None


def test_the_nearest_deadline_goes_first_whatever_the_order() -> None:
    for turn in range(FAIR_TURN - 1):
        assert pick([B, A], turn) is A
        assert pick([A, B], turn) is A


def test_equal_deadlines_go_by_age_and_then_by_id() -> None:
    older = replace(A, batch_id="z", created_at=0.5)
    assert pick([A, older], 0) is older
    twin = replace(A, batch_id="0")
    assert pick([A, twin], 0) is twin


def test_every_fourth_turn_goes_to_the_one_that_waited_the_longest() -> None:
    served = replace(A, served=7)
    assert pick([served, B], FAIR_TURN - 1) is B
    assert pick([replace(A, served=1), replace(B, served=2)], FAIR_TURN - 1) == replace(A, served=1)
    assert run({A: 100, B: 100}, 12) == [*"aaab", *"aaab", *"aaab"]


def test_a_small_batch_with_a_late_deadline_is_served_within_one_round() -> None:
    large = Candidate("large", deadline=10.0, created_at=0.0)
    small = Candidate("small", deadline=1e9, created_at=5.0)
    picked = run({large: 1000, small: 1}, 2 * FAIR_TURN)
    assert "small" in picked[:FAIR_TURN]


@given(
    st.lists(st.tuples(st.floats(0, 1000), st.integers(1, 30)), min_size=1, max_size=12),
)
def test_no_batch_waits_for_more_than_a_fair_round_of_all(batches: list[tuple[float, int]]) -> None:
    """Between two turns of a batch that has shards lie at most four turns for each batch."""
    waiting = {
        Candidate(f"b{n:02}", deadline, created_at=float(n)): shards
        for n, (deadline, shards) in enumerate(batches)
    }
    picked = run(waiting, 10_000)
    assert len(picked) == sum(waiting.values())
    bound = FAIR_TURN * (len(batches) + 1)
    for one, shards in waiting.items():
        at = [-1, *(turn for turn, name in enumerate(picked) if name == one.batch_id)]
        assert len(at) == shards + 1
        assert max(later - earlier for earlier, later in pairwise(at)) <= bound
