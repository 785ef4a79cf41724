"""Who goes next: the nearest deadline, with a fair turn in between; nobody starves.

The queue is held against the rule itself, over every state that it may get into.
"""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.schedule import FAIR_TURN, Candidate, Models, Queue, pick

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


# --- the queue ---

MODELS = (("m",), ("n",), ("m", "n"))
IDS = st.sampled_from("abcdefgh")
DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), IDS, st.integers(0, 3), st.sampled_from(MODELS)),
        st.tuples(st.just("discard"), IDS, st.just(0), st.just(MODELS[0])),
        st.tuples(st.just("serve"), IDS, st.just(0), st.just(MODELS[0])),
    ),
    max_size=120,
)
ROOMS = st.sets(st.sampled_from("mn"))


@given(DEEDS, st.lists(ROOMS, min_size=1))
def test_the_queue_picks_whom_the_rule_picks(
    deeds: list[tuple[str, str, int, Models]], rooms: list[set[str]]
) -> None:
    queue = Queue()
    known: dict[str, tuple[Candidate, Models]] = {}
    turn = 0
    for step, (deed, name, number, models) in enumerate(deeds):
        room = rooms[step % len(rooms)]
        if deed == "put":
            served = known[name][0].served if name in known else -1
            one = Candidate(name, deadline=number, created_at=number % 2, served=served)
            known[name] = (one, models)
            queue.put(one, models)
        elif deed == "discard":
            known.pop(name, None)
            queue.discard(name)
        roomy = [one for one, asked in known.values() if room.intersection(asked)]
        chosen = queue.pick(turn, lambda asked, room=room: not room.isdisjoint(asked))  # type: ignore[misc]
        assert chosen == pick(roomy, turn)
        assert len(queue) == len(known)
        assert set(queue.asked) == {asked for _, asked in known.values()}
        if deed == "serve" and chosen is not None:
            one, asked = known[chosen.batch_id]
            known[chosen.batch_id] = (replace(one, served=turn), asked)
            queue.put(*known[chosen.batch_id])
            turn += 1
