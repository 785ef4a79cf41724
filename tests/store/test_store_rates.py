"""Request rates: exact over any window, any number of callers, and several openings at once."""

import asyncio
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from store_cases import T0, with_store

from batchmill.domain.rates import Rate, RateRule, Ruling
from batchmill.ports import Store
from batchmill.store import SqlStore, open_store
from batchmill.store.tables import rate_events

RULE = RateRule.BATCH_CREATE
RATE = Rate(3, 60.0)
STEPS = st.lists(st.sampled_from([0.0, 0.1, 1.0, 9.9, 10.0, -0.3]), min_size=1, max_size=40)


async def admit(store: Store, at: float, rate: Rate = RATE, account: str = "acme") -> Ruling:
    return await store.rates.admit(account, RULE, rate, T0 + at)


@with_store
async def test_as_many_pass_as_the_rate_says_and_no_more(store: Store) -> None:
    assert [(await admit(store, n)).remaining for n in range(3)] == [2, 1, 0]
    refused = await admit(store, 10.0)
    assert not refused.is_admitted
    assert (refused.remaining, refused.retry_after, refused.reset_after) == (0, 50.0, 52.0)


@with_store
async def test_a_place_is_free_the_moment_its_request_leaves_the_window(store: Store) -> None:
    for at in (0.0, 1.0, 2.0):
        assert (await admit(store, at)).is_admitted
    assert not (await admit(store, 59.75)).is_admitted
    assert (await admit(store, 60.0)).is_admitted
    assert not (await admit(store, 60.75)).is_admitted
    assert (await admit(store, 61.0)).is_admitted


@with_store
async def test_accounts_and_rules_are_counted_apart(store: Store) -> None:
    one = Rate(1, 60.0)
    assert (await admit(store, 0.0, one)).is_admitted
    assert (await admit(store, 0.0, one, account="other")).is_admitted
    assert (await store.rates.admit("acme", RateRule.BATCH_LIST, one, T0)).is_admitted
    assert not (await admit(store, 0.0, one)).is_admitted


@with_store
async def test_refused_requests_do_not_count(store: Store) -> None:
    for at in range(60):
        assert (await admit(store, at)).is_admitted is (at < 3)
    assert (await admit(store, 60.0)).is_admitted


@with_store
async def test_a_rate_that_was_lowered_waits_for_as_many_as_it_takes(store: Store) -> None:
    for at in (0.0, 1.0, 2.0):
        await admit(store, at)
    refused = await admit(store, 10.0, Rate(1, 60.0))
    assert refused.retry_after == 52.0
    assert not (await admit(store, 61.9, Rate(1, 60.0))).is_admitted
    assert (await admit(store, 62.0, Rate(1, 60.0))).is_admitted


@with_store
async def test_a_request_that_waited_for_its_turn_is_judged_as_of_the_newest(store: Store) -> None:
    """Else it would stand in a window from which the younger one has taken the evidence."""
    two = Rate(2, 1.0)
    assert (await admit(store, 9.5, two)).is_admitted
    assert (await admit(store, 9.9, two)).is_admitted
    assert (await admit(store, 10.9, two)).is_admitted
    assert (await admit(store, 10.0, two)).is_admitted  # counts as 10.9
    assert not (await admit(store, 11.8, two)).is_admitted
    assert (await admit(store, 11.9, two)).is_admitted


@with_store
async def test_a_clock_that_was_set_back_shuts_nobody_out(store: Store) -> None:
    for at in (7200.0, 7201.0, 7202.0):
        assert (await admit(store, at)).is_admitted
    assert (await admit(store, 0.0)).is_admitted


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, limit=st.integers(1, 4))
def test_no_window_ever_holds_more_than_the_limit(
    tmp_path: Path, steps: list[float], limit: int
) -> None:
    rate = Rate(limit, 10.0)

    async def main() -> list[float]:
        store = await open_store(tmp_path / "x.db")
        async with store._database.write() as connection:
            await connection.execute(rate_events.delete())
        now, latest, admitted = 0.0, -1.0, []
        for step in steps:
            now += step
            latest = max(latest, now)  # when the request was let in, whatever it was stamped
            if (await admit(store, now, rate)).is_admitted:
                admitted.append(latest)
        await store.close()
        return admitted

    admitted = asyncio.run(main())
    ends = [*admitted[limit:]]
    assert all(
        end - start >= rate.seconds - 1e-6 for start, end in zip(admitted, ends, strict=False)
    )
    assert all(one <= other for one, other in pairwise(admitted))


def test_openings_of_one_database_count_together(tmp_path: Path) -> None:
    """As two API processes do; 64 callers at once, at three moments."""

    async def main() -> None:
        stores = [await open_store(tmp_path / "x.db") for _ in range(2)]
        rate = Rate(10, 60.0)
        for moment, passes in ((0.0, 10), (59.9, 0), (60.0, 10)):
            asked = [admit(stores[n % 2], moment, rate) for n in range(64)]
            ruled = await asyncio.gather(*asked)
            assert sum(one.is_admitted for one in ruled) == passes
            free = sorted(one.remaining for one in ruled if one.is_admitted)
            assert free == list(range(passes))
        assert await _rows(stores[0]) == 10  # those that left the window are gone
        for store in stores:
            await store.close()

    asyncio.run(main())


async def _rows(store: SqlStore) -> int:
    async with store._database.read() as connection:
        return int((await connection.execute(select(func.count(rate_events.c.seq)))).scalar_one())


def test_what_is_relaxed_is_seen_by_others_at_once(tmp_path: Path) -> None:
    """Only the disk lags behind: another opening reads what was committed."""

    async def main() -> None:
        one, other = [await open_store(tmp_path / "x.db") for _ in range(2)]
        assert (await admit(one, 0.0, Rate(1, 60.0))).is_admitted
        assert await _rows(other) == 1
        await one.close()
        await other.close()

    asyncio.run(main())
