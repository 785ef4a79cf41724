"""The simulation of the bench, small: nothing is lost and nothing runs twice at once in it."""

import asyncio
import math

import pytest
from bench.dispatch_load import Order, ends_by_deadline, ends_in_equal_parts, orders
from bench.dispatch_simulation import MODELS, Play

from batchmill.domain.batch import Status


@pytest.mark.parametrize(("load", "window"), [(0.5, 20_000.0), (3.0, 300.0)])
def test_every_batch_ends_and_every_shard_of_a_completed_one_is_done_once(
    load: float, window: float
) -> None:
    some = list(orders(seconds=1_000.0, load=load * 0.02, models=MODELS, seed=3))
    some = [one._replace(deadline=one.at + window) for one in some]
    play = Play(workers=20, backlog=3, some=some)
    asyncio.run(play.run())
    assert set(play.ended) >= {one.name for one in some}
    claims = 0
    for row in play.ended.values():
        counts = row.batch.counts
        assert counts.completed + counts.failed == row.lines
        claims += sum(row.attempts.values())
        if row.batch.status is Status.COMPLETED:
            assert row.done == set(range(row.shards))
            assert counts.failed == 0
        else:
            assert row.batch.status is Status.EXPIRED
            assert row.done < set(range(row.shards))
    behind = play.store.batches.rows.values()
    assert claims + sum(sum(row.attempts.values()) for row in behind) == play.store.shards.claims
    expired = sum(play.is_missed(one) for one in some)
    assert (expired > 0) == (load > 1)


A = Order("a", "x", "m", 100, at=0.0, deadline=100.0)
B = Order("b", "x", "m", 10, at=5.0, deadline=20.0)


def test_the_ideals_are_those_that_one_works_out_by_hand() -> None:
    # Ten lines a second: a has 50 left when b comes and goes first, or shares.
    assert ends_by_deadline([A, B], 10.0) == {"b": 6.0, "a": 11.0}
    assert ends_in_equal_parts([A, B], 10.0) == {"b": 7.0, "a": 11.0}


def test_the_ideal_gives_up_what_is_late() -> None:
    late = A._replace(name="late", deadline=4.0)
    assert ends_by_deadline([late, B], 10.0) == {"late": math.inf, "b": 6.0}
