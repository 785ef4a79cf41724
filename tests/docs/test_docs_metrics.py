"""The metrics, their page and the dashboard say the same."""

import re
from collections import Counter
from dataclasses import fields, is_dataclass
from itertools import combinations
from typing import Any

import pytest
from docs_metrics import (
    alerts_of_the_page,
    dashboard,
    expressions_of_the_dashboard,
    groupings_of,
    metrics_of_the_code,
    names_on_the_page,
    panels,
    rows_of_the_page,
    selectors_of,
)
from docs_pages import ROOT

from batchmill.telemetry import engine_metrics, http_metrics

SOURCE = ROOT / "src" / "batchmill"
METRICS = metrics_of_the_code()
SAMPLES = {sample: metric for metric in METRICS.values() for sample in metric.samples}
EXPRESSIONS = [*alerts_of_the_page(), *expressions_of_the_dashboard()]

# what Prometheus adds to whatever it scrapes, and the bound of a histogram's bucket
ADDED = {"instance", "job", "le"}


def _names(metrics: Any) -> list[str]:
    """The attributes of all metrics, those of groups included."""
    found = [(field.name, getattr(metrics, field.name)) for field in fields(metrics)]
    nested = [name for _, value in found if is_dataclass(value) for name in _names(value)]
    return nested + [name for name, value in found if not is_dataclass(value)]


def test_every_metric_has_one_row_with_its_kind_and_labels() -> None:
    """The tables of the page list what the code has, and nothing else."""
    rows = rows_of_the_page()
    assert {row.metric.name: row.metric for row in rows} == METRICS
    assert [
        name for name, count in Counter(row.metric.name for row in rows).items() if count > 1
    ] == []


def test_every_row_says_what_it_is_and_what_to_do() -> None:
    """Both sentences of a row end as sentences do."""
    texts = [text for row in rows_of_the_page() for text in (row.told, row.advice)]
    assert [text for text in texts if not re.fullmatch(r"[A-Z0-9`].{8,}\.", text)] == []


def test_every_metric_is_fed() -> None:
    """Nothing is told of that no code writes to."""
    paths = (path for path in SOURCE.rglob("*.py") if path.name != "metrics.py")
    source = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    names = {*_names(http_metrics()), *_names(engine_metrics())} - {"registry"}
    assert "snapshot_time" in names
    assert {one for one in names if not re.search(rf"metrics\.(\w+\.)?{one}\b", source)} == set()


def test_nothing_on_the_page_is_called_like_a_metric_and_is_none() -> None:
    """Each name in prose, tables and alerts exists."""
    assert names_on_the_page() - METRICS.keys() - SAMPLES.keys() == set()


def test_there_are_alerts_and_panels() -> None:
    """The searches for expressions find some."""
    assert len(alerts_of_the_page()) > 10
    assert len(expressions_of_the_dashboard()) > 30


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_names_metrics_and_labels_that_exist(expression: str) -> None:
    """Of an alert, or of a panel; a histogram is asked for its samples."""
    selectors = list(selectors_of(expression))
    assert selectors or expression == 'up{job="batchmill"} == 0'
    had = set(ADDED)
    for name, labels in selectors:
        assert labels <= SAMPLES[name].labels | ADDED
        had |= SAMPLES[name].labels
    assert groupings_of(expression) <= had


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_only_counters_are_asked_for_their_rate(expression: str) -> None:
    """And no counter is shown as it stands, which says nothing."""
    ranged = set(re.findall(r"(?:rate|increase)\((batchmill_\w+)", expression))
    for name, _ in selectors_of(expression):
        assert (name in ranged) == (SAMPLES[name].kind != "gauge"), name


def test_every_metric_is_on_the_dashboard() -> None:
    """Except for those of processes that say little."""
    shown = {
        SAMPLES[name].name
        for one in expressions_of_the_dashboard()
        for name, _ in selectors_of(one)
    }
    assert {name for name in METRICS.keys() - shown if "_process_" not in name} == set()


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: str(panel["title"]))
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    """It has a title, a description, a unit, targets, and the data source that was chosen."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for one in (panel, *panel["targets"]):
        assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)


def test_the_panels_have_ids_and_places_of_their_own() -> None:
    """Titles too; and none lies on another or beyond the edge."""
    every = dashboard()["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    assert len({panel["title"] for panel in every}) == len(every)
    places = [panel["gridPos"] for panel in every]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert [pair for pair in combinations(places, 2) if _overlap(*pair)] == []


def test_the_variables_of_the_expressions_are_those_of_the_dashboard() -> None:
    """Each variable that is used is defined, and asks for labels that exist."""
    variables = {one["name"]: one for one in dashboard()["templating"]["list"]}
    used = {name for one in expressions_of_the_dashboard() for name in re.findall(r"\$(\w+)", one)}
    assert used - {"__rate_interval"} == variables.keys() - {"datasource"}
    for one in variables.values():
        if one["type"] == "query":
            [(metric, label)] = re.findall(r"label_values\((\w+), (\w+)\)", one["definition"])
            assert label in SAMPLES[metric].labels | ADDED


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )
