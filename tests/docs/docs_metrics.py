"""The metrics as the code has them, as the page tells of them, and as expressions name them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from docs_pages import ROOT, blocks_of, read
from prometheus_client import CollectorRegistry

from batchmill.telemetry import engine_metrics, http_metrics

PAGE: Final = ROOT / "docs" / "how-to" / "monitoring.md"
DASHBOARD: Final = ROOT / "examples" / "grafana" / "batchmill.json"

_ROW = re.compile(
    r"^\| (?P<names>`batchmill_\w+`(?:, `batchmill_\w+`)*) \| (?P<kind>\w+) \|"
    r"(?P<labels>[^|]*)\| (?P<told>[^|]+)\| (?P<advice>[^|]+)\|$",
    re.MULTILINE,
)
_NAME = re.compile(r"\bbatchmill_\w+")
_SELECTOR = re.compile(r"\b(batchmill_\w+)(?:\{([^}]*)\})?")
_SUFFIXES: Final = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}


@dataclass(frozen=True)
class Told:
    """A metric: what it is called in an exposition, its kind and its labels."""

    name: str
    kind: str
    labels: frozenset[str]

    @property
    def samples(self) -> frozenset[str]:
        """What expressions may call it."""
        stem = self.name.removesuffix("_total")
        return frozenset(f"{stem}{end}" for end in _SUFFIXES.get(self.kind, ("",)))


@dataclass(frozen=True)
class Row:
    """A metric's row on the page."""

    metric: Told
    told: str
    advice: str


@cache
def metrics_of_the_code() -> dict[str, Told]:
    """Every metric of both processes, by its name."""
    found = {}
    for registry in (http_metrics().registry, engine_metrics().registry):
        for collector in _collectors(registry):
            for family in (getattr(collector, "describe", None) or collector.collect)():
                name = family.name + ("_total" if family.type == "counter" else "")
                found[name] = Told(name, family.type, _labels(collector))
    return found


def _collectors(registry: CollectorRegistry) -> list[Any]:
    # the library has no public way to ask for them, nor for the labels of one
    return list(registry._collector_to_names)


def _labels(collector: Any) -> frozenset[str]:
    own = getattr(collector, "label", None)
    return frozenset([own] if own else getattr(collector, "_labelnames", ()))


def rows_of_the_page() -> list[Row]:
    """Every row of its tables, one a name."""
    return [
        Row(
            Told(name, row["kind"], frozenset(re.findall(r"`(\w+)`", row["labels"]))),
            row["told"].strip(),
            row["advice"].strip(),
        )
        for row in _ROW.finditer(read(PAGE))
        for name in re.findall(r"`(\w+)`", row["names"])
    ]


def names_on_the_page() -> set[str]:
    """Everything there that is called like a metric."""
    return set(_NAME.findall(read(PAGE)))


def alerts_of_the_page() -> list[str]:
    """The expressions of its alerts."""
    [rules] = [block.text for block in blocks_of(PAGE) if "alert:" in block.text]
    folded = re.sub(r">-\n\s+", "", re.sub(r"\n {10}(?=and|/)", " ", rules))
    return re.findall(r"expr: (.+)", folded)


def dashboard() -> dict[str, Any]:
    """The dashboard's file."""
    parsed: dict[str, Any] = json.loads(read(DASHBOARD))
    return parsed


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels, without the headings between them."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions_of_the_dashboard() -> list[str]:
    """What the panels ask for."""
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def selectors_of(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric that an expression names, with the labels that it selects by."""
    for name, matchers in _SELECTOR.findall(expression):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))


def groupings_of(expression: str) -> set[str]:
    """The labels that an expression groups and joins by."""
    groups = re.findall(r"\b(?:by|on|without|ignoring) ?\(([^)]*)\)", expression)
    return {label.strip() for group in groups for label in group.split(",")}
