"""Monitoring: how models have been doing of late, live, over at most 30 days.

Throughput is over the time in which there were calls: the batches of a model
from their begin to their last sign, overlaps counted once.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from batchmill.domain.errors import InvalidRequest
from batchmill.domain.limits import DAY
from batchmill.domain.periods import Bucket
from batchmill.domain.usage import ZERO, Usage
from batchmill.ports import Busy, Clock, Dimension, Group, Store, UsageFilter, UsageLine, UsageQuery
from batchmill.service.caller import Caller
from batchmill.service.usage_scope import UsageSpec, time_span, usage_scope

MAX_DAYS = 30

_PAGE = 10_000
_LEAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Tally:
    """What was called. ``millis`` sums durations, ``rejections`` are 429 answers."""

    calls: int = 0
    failures: int = 0
    rejections: int = 0
    millis: int = 0
    usage: Usage = ZERO

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.calls + other.calls,
            self.failures + other.failures,
            self.rejections + other.rejections,
            self.millis + other.millis,
            self.usage + other.usage,
        )

    @property
    def failure_rate(self) -> float | None:
        """The share of calls that failed."""
        return self.failures / self.calls if self.calls else None

    @property
    def average_duration(self) -> float | None:
        """Seconds a call."""
        return self.millis / self.calls / 1000 if self.calls else None


@dataclass(slots=True)
class ModelHealth:
    """One model, in one workspace where they are told apart."""

    model: str
    workspace: str | None
    workspace_name: str | None
    periods: dict[int, Tally] = field(default_factory=dict)
    busy_seconds: float = _LEAST_SECONDS

    @property
    def total(self) -> Tally:
        """All periods together."""
        return sum(self.periods.values(), Tally())

    def per_minute(self, count: int) -> float:
        """``count`` as a rate over the time in which there were calls."""
        return count * 60 / self.busy_seconds


@dataclass(frozen=True, slots=True)
class Monitored:
    """The models that were called, and the times that were asked for."""

    since: float
    until: float
    bucket: Bucket
    models: Sequence[ModelHealth]

    @property
    def total(self) -> Tally:
        """All models together."""
        return sum((health.total for health in self.models), Tally())

    def course(self) -> Sequence[tuple[float, Tally]]:
        """All models together over time: every period from its begin on, also the empty ones."""
        first, last = (self.bucket.number_of(at) for at in (self.since, self._last))
        sums = dict.fromkeys(range(first, last + 1), Tally())
        for health in self.models:
            for period, tally in health.periods.items():
                sums[period] = sums.get(period, Tally()) + tally
        return [(self.bucket.start_of(period), sums[period]) for period in sorted(sums)]

    @property
    def _last(self) -> float:
        return max(self.since, math.nextafter(self.until, 0.0))


class Monitoring:
    """The use-case of monitoring."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def look(self, caller: Caller, spec: UsageSpec) -> Monitored:
        """The last day if no times are asked for; raises InvalidRequest and NotFound."""
        since, until = time_span(spec, self._clock.now(), default=DAY)
        if until - since > MAX_DAYS * DAY:
            message = (
                f"Invalid 'start_time': monitoring looks at no more than {MAX_DAYS} days. Ask for "
                "usage to look further back."
            )
            raise InvalidRequest(message, param="start_time", code="invalid_value")
        where = await usage_scope(caller, spec, self._store, since=since, until=until)
        bucket = spec.bucket or (Bucket.HOUR if until - since <= 2 * DAY else Bucket.DAY)
        chosen = {Dimension.MODEL, *spec.group_by} & {Dimension.MODEL, Dimension.WORKSPACE}
        query = UsageQuery(where, bucket, tuple(d for d in Dimension if d in chosen), _PAGE)
        models = _by_model(await self._lines(query))
        busy = await self._store.usage.busy(where)
        for health in models:
            health.busy_seconds = busy_seconds(_spans(health, busy), where)
        return Monitored(since, until, bucket, models)

    async def _lines(self, query: UsageQuery) -> list[UsageLine]:
        lines: list[UsageLine] = []
        while True:
            page = await self._store.usage.usage(query)
            lines += page.items
            if not page.has_more:
                return lines
            query = replace(query, after=lines[-1].place)


def busy_seconds(spans: Iterable[Busy], where: UsageFilter) -> float:
    """How long at least one of the spans lasted, within the times of ``where``; a second or more.

    What is shorter is a moment that no rate can be told from.
    """
    total, reached = 0.0, where.since
    for span in sorted(spans, key=lambda one: one.begun_at):
        begin, end = max(reached, span.begun_at), min(where.until, span.last_at)
        if end > begin:
            total += end - begin
            reached = end
    return max(total, _LEAST_SECONDS)


def _spans(health: ModelHealth, busy: Sequence[Busy]) -> list[Busy]:
    return [
        one
        for one in busy
        if one.model == health.model and health.workspace in (None, one.workspace)
    ]


def _by_model(lines: Sequence[UsageLine]) -> list[ModelHealth]:
    """Models by their names; the lines of several accounts are one."""
    found: dict[tuple[str, str], ModelHealth] = {}
    for line in lines:
        group = line.group
        name = (group.model or "", group.workspace or "")
        health = found.setdefault(name, _blank(group))
        before = health.periods.get(group.period, Tally())
        health.periods[group.period] = before + _tally(line)
    return [found[name] for name in sorted(found)]


def _blank(group: Group) -> ModelHealth:
    return ModelHealth(group.model or "", group.workspace, group.workspace_name)


def _tally(line: UsageLine) -> Tally:
    return Tally(line.calls, line.failures, line.rejections, line.millis, line.usage)
