#!/usr/bin/env python3
"""Fills the lists of docs/how-to/monitoring.md: the metrics, and the facts of the log.

Run it after a change to ``batchmill/telemetry``; a test fails while the page
is stale. A metric that nothing feeds, or a fact that nobody tells, is not
offered to a reader.
"""

import re
from dataclasses import fields
from functools import cache
from textwrap import fill as wrap

from gen_marker import ROOT, fill, table, write
from prometheus_client import Counter, Gauge, Histogram

from batchmill.telemetry.facts import Fact
from batchmill.telemetry.metrics import EngineMetrics, HttpMetrics, engine_metrics, http_metrics

PAGE = ROOT / "docs" / "how-to" / "monitoring.md"
SOURCE = ROOT / "src" / "batchmill"

Metric = Counter | Gauge | Histogram


def render() -> str:
    """The whole page, its lists filled anew."""
    text = fill(PAGE, "metrics", _metrics())
    told = ", ".join(f"`{fact}`" for fact in told_facts())
    return fill(PAGE, "facts", wrap(told, 100), text=text)


def told_facts() -> list[Fact]:
    """Every fact that some code writes; the supervisor, which imports nothing, says it in full."""
    return [fact for fact in Fact if re.search(rf'Fact\.{fact.name}\b|"{fact}"', _source())]


def fed_metrics() -> list[Metric]:
    """Every metric that some code outside of its definition writes to."""
    return [metric for name, metric in _all() if _is_fed(name)]


def _all() -> list[tuple[str, Metric]]:
    both: tuple[HttpMetrics | EngineMetrics, ...] = (http_metrics(), engine_metrics())
    return [
        (field.name, getattr(metrics, field.name))
        for metrics in both
        for field in fields(metrics)
        if field.name != "registry"
    ]


def _is_fed(name: str) -> bool:
    return re.search(rf"metrics\.{name}\b", _source()) is not None


@cache
def _source() -> str:
    """All code but that which defines facts and metrics."""
    paths = (path for path in SOURCE.rglob("*.py") if path.parent.name != "telemetry")
    own = SOURCE / "telemetry" / "metrics.py"
    return "\n".join(path.read_text(encoding="utf-8") for path in (*paths, own))


def _metrics() -> str:
    rows = [_row(metric) for metric in fed_metrics()]
    return table(["Metric", "Kind", "Labels", "What it is"], rows)


def _row(metric: Metric) -> list[str]:
    (family,) = metric.describe()
    name = f"{family.name}_total" if isinstance(metric, Counter) else family.name
    # the library has no public way to ask for them
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001
    return [f"`{name}`", family.type, labels, f"{family.documentation}."]


if __name__ == "__main__":
    write(PAGE, render())
