"""What the engine's metrics say of its upstreams, for the model board of the API's process.

The engine names an upstream by its URL, or a model that runs within it by that
model's name: ``backings_of`` gives the board the same names.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from batchmill.config import ModelSettings, Settings, UpstreamSettings
from batchmill.domain.catalog import ANY_MODEL, TEST_MODEL
from batchmill.domain.pacing import Bound
from batchmill.service.model_board import Backing, Seat, UpstreamFigures
from batchmill.service.outlook import Concurrency
from batchmill.telemetry import read_snapshot
from batchmill.wiring.signs import Changing, is_alive

TEST_UPSTREAM: Final = "test"

_WITHIN: Final = "built-in"
_UP: Final = "batchmill_upstream_up"
_FAULTS: Final = "batchmill_upstream_faults_total"
_IN_FLIGHT: Final = "batchmill_in_flight"
_LIMIT: Final = "batchmill_in_flight_limit"
_BOUND: Final = "batchmill_in_flight_bound"
_READ: Final = tuple(f"{name}{{".encode() for name in (_UP, _FAULTS, _IN_FLIGHT, _LIMIT, _BOUND))

# Of several upstreams what is said of them together: one with room is what matters most.
_BOUNDS: Final = (Bound.SOURCE, Bound.TRIAL, Bound.UPSTREAM, Bound.WINDOW, Bound.DOWN)

Named = tuple[str, str]
"""A model and an upstream."""


class UpstreamFile:
    """The engine's last word on its upstreams."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._path = path
        self._now = now
        self._figures = Changing(path, lambda path: figures_in(read_snapshot(path)))

    def __call__(self) -> Mapping[Named, UpstreamFigures] | None:
        """Every upstream that the engine has used; None where it is down."""
        return self._figures.get() if is_alive(self._path, self._now()) else None


def figures_in(text: bytes) -> Mapping[Named, UpstreamFigures]:
    """The figures of upstreams in an exposition, of which no more is parsed than needed."""
    lines = [line for line in text.splitlines() if line.startswith(_READ)]
    values: dict[Named, dict[str, int]] = {}
    for family in text_string_to_metric_families(b"\n".join(lines).decode()):
        for sample in family.samples:
            named = (sample.labels["model"], sample.labels["upstream"])
            found = values.setdefault(named, {_FAULTS: 0})
            name = sample.labels["bound"] if sample.name == _BOUND else sample.name
            # faults have a reason each, and workers each their own figures: they add up
            found[name] = found.get(name, 0) + int(sample.value)
    return {named: _figures(found) for named, found in values.items()}


def _figures(found: Mapping[str, int]) -> UpstreamFigures:
    return UpstreamFigures(
        is_up=bool(found[_UP]) if _UP in found else None,
        in_flight=found.get(_IN_FLIGHT),
        limit=found.get(_LIMIT),
        faults=found.get(_FAULTS),
        bound=_bound(found),
    )


def _bound(found: Mapping[str, int]) -> Bound | None:
    """The one that most workers tell of."""
    counts = Counter({bound: found.get(bound, 0) for bound in _BOUNDS})
    [(bound, count)] = counts.most_common(1)
    return bound if count else None


def concurrency_in(
    figures: Mapping[Named, UpstreamFigures] | None, model: str
) -> Concurrency | None:
    """What the upstreams of a model do together; None where nothing is known of them."""
    told = figures or {}
    lane = model if any(model == named for named, _ in told) else ANY_MODEL
    mine = [one for (named, _), one in told.items() if named == lane]
    bounds = {one.bound for one in mine}
    bound = next((bound for bound in _BOUNDS if bound in bounds), None)
    if bound is None:
        return None
    in_flight = sum(one.in_flight or 0 for one in mine)
    return Concurrency(in_flight, sum(one.limit or 0 for one in mine), bound)


def backings_of(settings: Settings) -> Mapping[str, Backing]:
    """What answers for each model, whether it is served or not."""
    here = settings.data.region
    test = Backing((Seat(TEST_UPSTREAM, _WITHIN, region=here),), is_builtin=True)
    return {**{model.name: _backing(model, here) for model in settings.models}, TEST_MODEL: test}


def _backing(model: ModelSettings, here: str | None) -> Backing:
    rule = model.compute_regions
    if model.builtin is not None:
        allowed = model.may_compute(here)
        seat = Seat(model.name, _WITHIN, region=here, is_allowed=allowed)
        return Backing((seat,), is_builtin=True, compute_regions=rule)
    return Backing(tuple(_seat(model, one) for one in model.upstreams), compute_regions=rule)


def _seat(model: ModelSettings, one: UpstreamSettings) -> Seat:
    allowed = model.may_compute(one.region)
    return Seat(one.url, _host(one.url), one.weight, one.region, is_allowed=allowed)


def _host(url: str) -> str:
    """The host and port of a URL, without what would let someone in."""
    return urlsplit(url).netloc.rpartition("@")[2]
