"""The life of a batch: the table cell by cell, what a move stamps, and random walks over it."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.batch import (
    TABLE,
    TERMINAL,
    Batch,
    Event,
    Halt,
    IllegalEvent,
    Status,
    advance,
)

V, P, F, G = Status.VALIDATING, Status.IN_PROGRESS, Status.FINALIZING, Status.CANCELLING
COMPLETED, FAILED = Status.COMPLETED, Status.FAILED
EXPIRED, CANCELLED = Status.EXPIRED, Status.CANCELLED

# (status, event) -> (status after, verdict after); every pair that is not here is illegal.
CELLS: dict[tuple[Status, Event], tuple[Status, Status | None]] = {
    (V, Event.PLANNED): (P, None),
    (V, Event.REJECTED): (FAILED, None),
    (V, Event.CANCEL_REQUESTED): (G, CANCELLED),
    (V, Event.DEADLINE_PASSED): (EXPIRED, None),
    (V, Event.BROKE): (FAILED, None),
    (P, Event.SETTLED): (F, COMPLETED),
    (P, Event.CANCEL_REQUESTED): (G, CANCELLED),
    (P, Event.DEADLINE_PASSED): (F, EXPIRED),
    (P, Event.HALTED): (F, COMPLETED),
    (P, Event.BROKE): (FAILED, None),
    (F, Event.DELIVERED): (COMPLETED, None),
    (F, Event.BROKE): (FAILED, None),
    (G, Event.CANCEL_REQUESTED): (G, CANCELLED),
    (G, Event.DELIVERED): (CANCELLED, None),
    (G, Event.BROKE): (FAILED, None),
    (CANCELLED, Event.CANCEL_REQUESTED): (CANCELLED, None),
}
VERDICTS = {F: COMPLETED, G: CANCELLED}
ORDER = {V: 0, P: 1, F: 2, G: 2, COMPLETED: 3, FAILED: 3, EXPIRED: 3, CANCELLED: 3}
EVERY_PAIR = [(status, event) for status in Status for event in Event]


def batch(status: Status) -> Batch:
    return Batch(
        id="batch_1",
        account="acme",
        input_file_id="file-batch-1",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        status=status,
        created_at=1.0,
        expires_at=100.0,
        verdict=VERDICTS.get(status),
    )


def test_every_status_has_a_row_and_the_table_knows_no_other_event() -> None:
    assert set(TABLE) == set(Status)
    assert {event for row in TABLE.values() for event in row} == set(Event)


def test_the_terminal_statuses_are_those_that_nothing_leaves() -> None:
    dead_ends = {status for status, row in TABLE.items() if all(m.same for m in row.values())}
    assert dead_ends == TERMINAL
    assert {status for status in Status if status.is_terminal} == TERMINAL


@pytest.mark.parametrize(("status", "event"), EVERY_PAIR)
def test_each_cell_of_the_table(status: Status, event: Event) -> None:
    before = batch(status)
    if (status, event) not in CELLS:
        with pytest.raises(IllegalEvent, match=f"'{event}'.*'{status}'") as caught:
            advance(before, event, 7.0)
        assert (caught.value.status, caught.value.event) == (status, event)
        return
    to, verdict = CELLS[status, event]
    after = advance(before, event, 7.0)
    if to is status:
        assert after is before
        return
    assert (after.status, after.verdict) == (to, verdict)
    assert getattr(after, f"{to}_at") == 7.0
    same = {"status": status, "verdict": before.verdict, f"{to}_at": None}
    assert replace(after, **same) == before, "a move changed more than it should"  # type: ignore[arg-type]


def test_finalizing_ends_in_the_verdict_that_it_was_bound_for() -> None:
    expiring = advance(batch(P), Event.DEADLINE_PASSED, 100.0)
    assert expiring.verdict is EXPIRED
    delivered = advance(expiring, Event.DELIVERED, 101.0)
    assert (delivered.status, delivered.expired_at) == (EXPIRED, 101.0)
    assert delivered.completed_at is None


def test_only_where_every_shard_was_done_a_batch_has_settled() -> None:
    assert advance(batch(P), Event.SETTLED, 1.0).has_settled
    halted = replace(advance(batch(P), Event.HALTED, 1.0), halt=Halt.BUDGET)
    for other in (batch(P), halted, advance(batch(P), Event.DEADLINE_PASSED, 100.0)):
        assert not other.has_settled


def test_a_stopping_batch_without_a_verdict_cannot_be_delivered() -> None:
    with pytest.raises(IllegalEvent):
        advance(replace(batch(F), verdict=None), Event.DELIVERED, 1.0)


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_random_walks_never_leave_the_table_and_never_go_back(events: list[Event]) -> None:
    now, one = 10.0, batch(V)
    visited = [V]
    for event in events:
        now += 1.0
        legal = (one.status, event) in CELLS
        try:
            one = advance(one, event, now)
        except IllegalEvent:
            assert not legal
            continue
        assert legal
        if one.status is not visited[-1]:
            assert ORDER[one.status] > ORDER[visited[-1]]
            visited.append(one.status)
    stamps = {f.name for f in fields(Batch) if f.name.endswith("_at")} - {
        "created_at",
        "expires_at",
    }
    stamped = {name for name in stamps if getattr(one, name) is not None}
    assert stamped == {f"{status}_at" for status in visited[1:]}
    times = [getattr(one, f"{status}_at") for status in visited[1:]]
    assert times == sorted(times)
    assert (one.verdict is not None) is (one.status in (F, G))
