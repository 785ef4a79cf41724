"""What the page of a batch is drawn from: its curve and its life, in plain arithmetic."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.console.view.curve import MOST_POINTS, draw_curve
from batchmill.console.view.life import life_of
from batchmill.domain.batch import Batch, Event, Status, advance
from batchmill.ports import Milestone

T = 1_760_000_000.0
BATCH = Batch(
    id="batch_1",
    account="default",
    input_file_id="file-batch-1",
    endpoint="/v1/chat/completions",
    completion_window="24h",
    status=Status.VALIDATING,
    created_at=T,
    expires_at=T + 86_400,
)


def milestone(at: float, calls: int, millis: int = 0) -> Milestone:
    return Milestone(at, calls, 0, millis, 0, 0, 0)


def test_nothing_settled_draws_nothing() -> None:
    assert draw_curve([], T) == ()


def test_a_steady_batch_draws_a_level_line() -> None:
    course = [milestone(T + 10 * n, 100, 100 * 2_000) for n in range(1, 61)]
    points = draw_curve(course, T)
    assert {point.rate for point in points[2:-2]} == {10.0}
    assert {point.latency for point in points} == {2.0}
    assert points[0].at == T


def test_shards_that_end_together_make_no_spike() -> None:
    points = draw_curve([milestone(T + 100, 500), milestone(T + 101, 500)], T)
    assert max(point.rate for point in points) < 11


def test_many_shards_at_once_are_drawn_by_what_they_do_together() -> None:
    course = [milestone(T + 100 + n, 500) for n in range(6)]
    course += [milestone(T + 200 + n, 500) for n in range(6)]
    rates = [point.rate for point in draw_curve(course, T)]
    assert max(rates) < 3 * 6_000 / 205


def test_one_shard_is_its_average() -> None:
    points = draw_curve([milestone(T + 30, 60, 60 * 500)], T)
    assert {round(point.rate, 3) for point in points} == {2.0}
    assert {point.latency for point in points} == {0.5}


def test_what_settles_at_once_is_a_point() -> None:
    [point] = draw_curve([milestone(T, 3, 30)], T)
    assert (point.at, point.rate, point.latency) == (T, 3.0, 0.01)


def test_a_clock_that_went_back_does_no_harm() -> None:
    points = draw_curve([milestone(T - 5, 10), milestone(T + 5, 10)], T)
    assert points[0].at == T - 5


@given(
    st.lists(
        st.tuples(st.floats(0, 10**7), st.integers(1, 10_000), st.integers(0, 10**6)), min_size=1
    )
)
def test_every_line_is_drawn_once_within_the_points_there_may_be(
    told: list[tuple[float, int, int]],
) -> None:
    course = [milestone(T + at, calls, millis) for at, calls, millis in told]
    points = draw_curve(course, T)
    assert len(points) <= MOST_POINTS
    ends = [*(point.at for point in points[1:]), max(T, *(one.at for one in course))]
    drawn = sum(
        point.rate * ((end - point.at) or 1.0) for point, end in zip(points, ends, strict=True)
    )
    total = sum(one.calls for one in course)
    # rates are rounded to a ten-thousandth, of seconds that may be many
    assert drawn == pytest.approx(total, rel=1e-3, abs=1e-4 * (ends[-1] - T) + 1)


def test_a_life_goes_on_to_an_end_that_is_expected() -> None:
    running = advance(BATCH, Event.PLANNED, T + 2)
    created, present, end, deadline = life_of(running, T + 62, eta=30.0)
    assert (created.name, created.gap, created.look) == ("Created", None, "past")
    assert (present.name, present.at, present.gap) == ("In progress", T + 2, 2)
    assert (present.note, present.look) == ("for 1 min", "present")
    assert (end.name, end.at, end.note, end.look) == ("End", T + 92, "expected", "ahead")
    assert (deadline.name, deadline.at) == ("Deadline", T + 86_400)
    assert life_of(running, T + 62, eta=None)[2].at is None


def test_a_life_that_is_over_has_its_end() -> None:
    stopping = advance(advance(BATCH, Event.PLANNED, T + 2), Event.CANCEL_REQUESTED, T + 5)
    ended = advance(stopping, Event.DELIVERED, T + 9)
    steps = life_of(ended, T + 100, eta=None)
    assert [(step.name, step.gap) for step in steps] == [
        ("Created", None),
        ("In progress", 2),
        ("Cancelling", 3),
        ("Cancelled", 4),
        ("Deadline", None),
    ]
    assert {step.look for step in steps[:-1]} == {"past"}


def test_steps_of_one_instant_keep_their_order() -> None:
    quick = replace(
        BATCH, status=Status.COMPLETED, in_progress_at=T, finalizing_at=T, completed_at=T
    )
    names = [step.name for step in life_of(quick, T, eta=None)]
    assert names == ["Created", "In progress", "Finalizing", "Completed", "Deadline"]
