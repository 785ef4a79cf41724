"""The bench's own arithmetic: goals, the slots of a simulated engine, metrics."""

from pathlib import Path

import pytest
from bench import goals, inputs
from bench.end_to_end import Standing
from bench.engine import NUMBER
from bench.goals import GOALS, Key, Verdict
from bench.occupancy import Occupancy
from bench.server import sum_of
from bench.tables import table

GOAL = {goal.key: goal for goal in GOALS}


def test_every_figure_has_its_goal() -> None:
    assert set(GOAL) == set(Key)
    assert len(GOALS) == len(GOAL)


@pytest.mark.parametrize(
    ("key", "figure", "verdict"),
    [
        (Key.CPU, 3.0, Verdict.STRETCH),
        (Key.CPU, 3.01, Verdict.MET),
        (Key.CPU, 4.0, Verdict.MET),
        (Key.CPU, 4.01, Verdict.MISSED),
        (Key.ONE_CORE, 0.30, Verdict.STRETCH),
        (Key.ONE_CORE, 0.29, Verdict.MET),
        (Key.ONE_CORE, 0.20, Verdict.MET),
        (Key.ONE_CORE, 0.19, Verdict.MISSED),
        (Key.RACE_FAILED, 0.0, Verdict.MET),
        (Key.RACE_FAILED, 1.0, Verdict.MISSED),
        (Key.CPU, None, Verdict.UNKNOWN),
    ],
)
def test_a_figure_is_judged_on_the_side_that_its_goal_names(
    key: Key, figure: float | None, verdict: Verdict
) -> None:
    assert GOAL[key].judge(figure) is verdict


def test_bounds_are_told_with_their_side_and_in_their_unit() -> None:
    told = {key: (goal.told(goal.goal), goal.told(goal.stretch)) for key, goal in GOAL.items()}
    assert told[Key.CPU] == ("≤ 4x", "≤ 3x")
    assert told[Key.ONE_CORE] == ("≥ 0.20", "≥ 0.30")
    assert told[Key.CLIENT] == ("≤ 1/100", "≤ 1/150")
    assert told[Key.CONFIGURED] == ("≥ 97 %", "≥ 97.5 %")
    assert told[Key.GROWTH] == ("≤ 10 MB", "≤ 5 MB")
    assert told[Key.RACE_SPENT] == ("≤ 0", "")


def test_the_table_tells_what_was_measured_and_what_was_not() -> None:
    told = goals.told({Key.SCRIPT: 0.11, Key.GROWTH: 12.0})
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines()]
    by_what = {row[1]: row for row in rows}
    assert by_what["CPU a line vs the aiohttp script"][4:] == ["1/9.09", "stretch met"]
    assert by_what[GOAL[Key.GROWTH].what][4:] == ["12 MB", "missed"]
    assert by_what[GOAL[Key.CROWD].what][4:] == ["", "not measured"]
    assert [row[0] for row in rows[2:5]] == ["1", "1", "1"]


def test_nothing_stands_for_a_ratio_of_nothing() -> None:
    assert goals.fraction(0.0) == "0"


def test_a_ratio_is_the_middle_one_of_the_rounds() -> None:
    ours, theirs = (
        Standing("a", [10.0, 40.0, 12.0], 1.0, 1.0),
        Standing("b", [5.0, 10.0, 3.0], 1, 1),
    )
    assert ours.cpu_us == 12.0
    assert ours.share_of(theirs) == 4.0


# --- the slots of a simulated engine ---


def test_work_is_counted_from_the_first_request() -> None:
    seen = Occupancy()
    assert (seen.elapsed, seen.worked(1.0)) == (0.0, 0.0)
    seen.change(1, 100.0)
    seen.change(1, 101.0)
    seen.change(-1, 103.0)
    seen.change(-1, 104.0)
    assert (seen.busy, seen.most, seen.elapsed) == (0, 2, 4.0)
    assert seen.worked(4.0) == pytest.approx(1 + 4 + 1)


@pytest.mark.parametrize(("upto", "worked"), [(0.0, 0.0), (0.5, 0.5), (2.0, 3.0), (9.0, 6.0)])
def test_work_up_to_a_time_lies_between_what_was_noted_around_it(
    upto: float, worked: float
) -> None:
    seen = Occupancy()
    for by, now in ((1, 100.0), (1, 101.0), (-1, 103.0), (-1, 104.0)):
        seen.change(by, now)
    assert seen.worked(upto) == pytest.approx(worked)


def test_a_request_has_the_size_that_is_asked_for_and_a_number_that_the_engine_reads(
    tmp_path: Path,
) -> None:
    path = tmp_path / "requests.jsonl"
    inputs.write_requests(path, lines=3, line_bytes=600, model="m")
    lines = path.read_bytes().splitlines(keepends=True)
    assert [len(line) for line in lines] == [600, 600, 600]
    assert [int(found[1]) for line in lines if (found := NUMBER.search(line))] == [0, 1, 2]


# --- metrics ---


def test_the_samples_of_one_metric_are_summed_over_their_labels() -> None:
    text = (
        "# HELP a_total Told\n# TYPE a_total counter\n"
        'a_total{model="m",reason="429"} 2.0\na_total{model="n",reason="reset"} 3.0\n'
        "a_total_created 9.0\nb_total 7\n"
    )
    assert sum_of(text, "a_total") == 5.0
    assert sum_of(text, "b_total") == 7.0
    assert sum_of(text, "c_total") == 0.0


# --- tables ---


def test_columns_of_text_stand_left_and_figures_right() -> None:
    told = table(["", "n", "remark"], [["a", "10", "no"], ["long", "2", ""]], texts=(0, 2))
    assert told.splitlines() == [
        "|      |  n | remark |",
        "| ---- | -: | ------ |",
        "| a    | 10 | no     |",
        "| long |  2 |        |",
    ]
