"""Rankings: the least first, however names were moved and taken out before."""

from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.ranking import Ranking

NAMES = st.sampled_from("abcdef")
DEEDS = st.lists(st.tuples(NAMES, st.none() | st.integers(0, 5)), max_size=200)


def test_an_empty_ranking_has_no_first() -> None:
    ranking: Ranking[float] = Ranking()
    assert ranking.first() is ranking.pop() is None
    ranking.discard("nobody")
    assert len(ranking) == 0


def test_equal_keys_rank_by_name() -> None:
    ranking: Ranking[float] = Ranking()
    for name in "bca":
        ranking.put(name, 1.0)
    assert [ranking.pop() for _ in range(3)] == [(1.0, "a"), (1.0, "b"), (1.0, "c")]


@given(DEEDS)
def test_the_first_is_always_the_least_of_what_is_there(
    deeds: list[tuple[str, int | None]],
) -> None:
    ranking: Ranking[int] = Ranking()
    known: dict[str, int] = {}
    for name, key in deeds:
        if key is None:
            ranking.discard(name)
            known.pop(name, None)
        else:
            ranking.put(name, key)
            known[name] = key
        least = min(((key, name) for name, key in known.items()), default=None)
        assert ranking.first() == least
        assert len(ranking) == len(known)
    assert [ranking.pop() for _ in known] == sorted((key, name) for name, key in known.items())


def test_a_name_that_is_moved_for_ever_takes_no_more_room() -> None:
    ranking: Ranking[int] = Ranking()
    ranking.put("still", 10**9)
    for key in range(10_000):
        ranking.put("moved", -key)
    assert len(ranking._heap) < 50
