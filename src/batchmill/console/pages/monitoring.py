"""Monitoring: how models have been doing of late, all of them and each for itself, live."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import BaseRoute

from batchmill.console.entry import page
from batchmill.console.filters import (
    address,
    is_renewal,
    only,
    read_filters,
    remember,
    usage_choices,
)
from batchmill.console.view.plots import Axis, Series, bars, lines
from batchmill.console.view.spans import Chosen, Span, latest, write_time
from batchmill.console.visit import Visit
from batchmill.domain.errors import InvalidRequest
from batchmill.domain.limits import DAY
from batchmill.domain.periods import Bucket
from batchmill.domain.usage import Usage
from batchmill.ports import Dimension
from batchmill.service.monitoring import ModelHealth, Monitored, Tally
from batchmill.service.services import Services
from batchmill.service.usage_scope import UsageSpec

OVERVIEW: Final = "/monitoring"
ONE_MODEL: Final = "/monitoring/models"

_FILTERS: Final = ("range", "since", "until", "bucket", "model", "workspace", "account")
_LARGE_RATE: Final = 100
_BUCKETS: Final = {"hour": Bucket.HOUR, "day": Bucket.DAY}


class MonitoringPages:
    """The overview, and the page of one model."""

    def __init__(self, services: Services) -> None:
        self._monitoring = services.accounting.monitoring
        self._trends = services.accounting.trends
        self._admin = services.admin

    def routes(self) -> Sequence[BaseRoute]:
        """The pages, below the console's base."""
        return [page(OVERVIEW, self.overview), page(ONE_MODEL, self.model)]

    async def overview(self, visit: Visit) -> Response:
        """All models: totals, courses over time, and a table."""
        asked = _read(visit)
        try:
            seen = await self._monitoring.look(visit.caller, asked.spec())
        except InvalidRequest as error:
            return await self._show(visit, OVERVIEW, asked, fault=error.message)
        return await self._show(visit, OVERVIEW, asked, seen=seen, rows=_rows(visit, asked, seen))

    async def model(self, visit: Visit) -> Response:
        """One model, and how it did in each workspace."""
        asked = _read(visit)
        if not asked.chosen["model"]:
            raise InvalidRequest("The address names no model: choose one on the monitoring page.")
        by_room = (Dimension.WORKSPACE,)
        try:
            seen = await self._monitoring.look(visit.caller, asked.spec())
            rooms = await self._monitoring.look(visit.caller, asked.spec(group_by=by_room))
        except InvalidRequest as error:
            return await self._show(visit, ONE_MODEL, asked, fault=error.message)
        rows = [Row(one, one.total) for one in _by_calls(rooms)]
        whole = [Row(one, one.total) for one in seen.models]
        return await self._show(visit, ONE_MODEL, asked, seen=seen, rows=rows, whole=whole)

    async def _show(self, visit: Visit, path: str, asked: "Asked", **found: Any) -> Response:
        fault = found.get("fault")
        surroundings = {} if is_renewal(visit) else await self._surroundings(visit, asked, fault)
        seen: Monitored | None = found.get("seen")
        response = visit.show(
            "monitoring.html" if path == OVERVIEW else "model_monitoring.html",
            answered=200 if fault is None else 400,
            fault=fault,
            seen=seen,
            total=seen.total if seen else Tally(),
            rows=found.get("rows", ()),
            whole=found.get("whole", ()),
            chosen=asked.chosen,
            is_live=fault is None and asked.span.reaches_now,
            back=address(visit, OVERVIEW, asked.chosen, model=""),
            course=Course.of(seen, visit) if seen else None,
            **surroundings,
        )
        return remember(visit, response, address(visit, path, asked.chosen))

    async def _surroundings(
        self, visit: Visit, asked: "Asked", fault: str | None
    ) -> dict[str, Any]:
        """What there is to choose from, and what the inputs hold."""
        spec = asked.spec() if fault is None else None
        choices = await usage_choices(visit, self._trends, self._admin, spec)
        span, zone = asked.span, visit.zone
        until = visit.now if span.until is None else span.until
        since = until - DAY if span.since is None else span.since
        return {
            **choices,
            "range": span.name,
            "since": asked.chosen["since"] or write_time(since, zone),
            "until": asked.chosen["until"] or write_time(until, zone),
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address says."""

    chosen: Mapping[str, str]
    span: Span

    def spec(self, group_by: tuple[Dimension, ...] = ()) -> UsageSpec:
        """The question for the services."""
        chosen = self.chosen
        return UsageSpec(
            since=self.span.since,
            until=self.span.until,
            bucket=_BUCKETS.get(chosen["bucket"]),
            group_by=group_by,
            models=only(chosen["model"]),
            workspaces=only(chosen["workspace"]),
            account=chosen["account"] or None,
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A model, or what it did in a workspace, as a table shows it."""

    health: ModelHealth
    total: Tally
    href: str = ""

    @property
    def calls_per_minute(self) -> float:
        """While there were calls."""
        return _shown(self.health.per_minute(self.total.calls))

    @property
    def tokens_per_minute(self) -> float:
        """While there were calls."""
        return _shown(self.health.per_minute(self.total.usage.total))


@dataclass(frozen=True, slots=True)
class Course:
    """What happened over time."""

    axis: Axis
    tallies: Sequence[Tally]

    @classmethod
    def of(cls, seen: Monitored, visit: Visit) -> "Course":
        """The models of ``seen`` together."""
        course = seen.course()
        axis = Axis([start for start, _ in course], seen.bucket, visit.zone)
        return cls(axis, [tally for _, tally in course])

    @property
    def busy(self) -> Sequence[tuple[str, Tally]]:
        """The periods with calls, the newest first."""
        named = zip(self.axis.names, self.tallies, strict=True)
        return [(name, tally) for name, tally in named if tally.calls][::-1]

    @property
    def calls(self) -> dict[str, Any]:
        """Calls, by whether they succeeded."""
        failed = [tally.failures for tally in self.tallies]
        good = [tally.calls - tally.failures for tally in self.tallies]
        return bars(self.axis, [Series("succeeded", good), Series("failed", failed, tone="failed")])

    @property
    def durations(self) -> dict[str, Any]:
        """Seconds a call."""
        values = [tally.average_duration for tally in self.tallies]
        return lines(self.axis, [Series("average duration", values, kind="line", unit="s")])

    @property
    def tokens(self) -> dict[str, Any]:
        """Tokens of input and output."""
        usages = [tally.usage for tally in self.tallies]
        read = [usage.input for usage in usages]
        written = [usage.output for usage in usages]
        return bars(self.axis, [Series("input", read), Series("output", written)])

    @property
    def token_kinds(self) -> dict[str, Any]:
        """Tokens with what was cached and what was reasoning told apart."""
        kinds = [_kinds(tally.usage) for tally in self.tallies]
        names = ("input", "cached input", "output", "reasoning")
        return bars(self.axis, [Series(n, [one[i] for one in kinds]) for i, n in enumerate(names)])

    @property
    def rejections(self) -> dict[str, Any]:
        """Answers of status 429."""
        values = [tally.rejections for tally in self.tallies]
        return bars(self.axis, [Series("429 answers", values)])


def _read(visit: Visit) -> Asked:
    chosen = read_filters(visit, _FILTERS)
    wanted = Chosen(chosen["range"], chosen["since"], chosen["until"])
    return Asked(chosen, latest(wanted, visit.now, visit.zone))


def _rows(visit: Visit, asked: Asked, seen: Monitored) -> Sequence[Row]:
    return [
        Row(one, one.total, address(visit, ONE_MODEL, asked.chosen, model=one.model))
        for one in _by_calls(seen)
    ]


def _by_calls(seen: Monitored) -> Sequence[ModelHealth]:
    return sorted(seen.models, key=lambda one: -one.total.calls)


def _shown(rate: float) -> float:
    """A rate without digits that nobody reads."""
    return rate if rate < _LARGE_RATE else round(rate)


def _kinds(usage: Usage) -> tuple[int, int, int, int]:
    plain, answered = usage.input - usage.cached, usage.output - usage.reasoning
    return plain, usage.cached, answered, usage.reasoning
