"""Trends: what was charged over time, told apart by one thing; and what there is to tell apart.

Sums are exact and of one currency each. The largest few names stand for
themselves, all others for each other, so that a trend can be read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from batchmill.domain.errors import InvalidRequest
from batchmill.domain.periods import Bucket
from batchmill.ports import Dimension, Group, SpendingLine, UsageQuery
from batchmill.service.caller import Caller
from batchmill.service.usage import UsageReports
from batchmill.service.usage_scope import UsageSpec

LARGEST: Final = 5
MAX_PERIODS: Final = 400

_PAGE: Final = 5_000
_CHOICES_BY: Final = (Dimension.MODEL, Dimension.WORKSPACE, Dimension.KEY)


@dataclass(slots=True)
class Strand:
    """What one name was charged by period. ``id`` None: it has none, or it ``is_rest``."""

    id: str | None
    name: str | None = None
    is_rest: bool = False
    amounts: dict[int, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All periods together, in units."""
        return sum(self.amounts.values())

    def add(self, period: int, units: int) -> None:
        """Charge ``units`` in a period."""
        self.amounts[period] = self.amounts.get(period, 0) + units


@dataclass(frozen=True, slots=True)
class Trend:
    """What was charged in one currency; ``listed`` is what that is at list prices, in units."""

    currency: str
    strands: Sequence[Strand]
    listed: int

    @property
    def total(self) -> int:
        """Everything together, in units."""
        return sum(strand.total for strand in self.strands)


@dataclass(frozen=True, slots=True)
class Spending:
    """The trends of some periods, a currency each; ``unpriced`` tokens were charged nothing."""

    bucket: Bucket
    periods: Sequence[int]
    trends: Sequence[Trend]
    unpriced: int


@dataclass(frozen=True, slots=True)
class Choices:
    """What was used in some time, by id with its name, in the order of the names."""

    models: Mapping[str, str] = field(default_factory=dict)
    workspaces: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)


class Trends:
    """The use-cases of trends."""

    def __init__(self, reports: UsageReports) -> None:
        self._reports = reports

    async def spending(self, caller: Caller, spec: UsageSpec, by: Dimension) -> Spending:
        """What was charged; raises InvalidRequest and NotFound."""
        asked = replace(spec, group_by=(by,), limit=_PAGE, after=None)
        report = await self._reports.spending(caller, asked)
        gathered = _Gathered(by)
        async for lines in self._reports.all_spending(report):
            gathered.take(lines)
        bucket = report.query.bucket
        periods = _periods(report.query, gathered.periods)
        return Spending(bucket, periods, gathered.trends(), gathered.unpriced)

    async def choices(self, caller: Caller, spec: UsageSpec) -> Choices:
        """What was used in the times of ``spec``; raises InvalidRequest and NotFound."""
        asked = UsageSpec(
            since=spec.since,
            until=spec.until,
            bucket=Bucket.MONTH,
            group_by=_CHOICES_BY,
            account=spec.account,
            limit=_PAGE,
        )
        report = await self._reports.usage(caller, asked)
        groups: list[Group] = []
        async for lines in self._reports.all_usage(report):
            groups += [line.group for line in lines]
        return _choices(groups)


class _Gathered:
    """Line items, summed while they come."""

    def __init__(self, by: Dimension) -> None:
        self._by = by
        self._strands: dict[str, dict[str | None, Strand]] = {}
        self._listed: dict[str, int] = {}
        self.periods: set[int] = set()
        self.unpriced = 0

    def take(self, lines: Iterable[SpendingLine]) -> None:
        for line in lines:
            if line.currency is None:
                self.unpriced += line.tokens
                continue
            self.periods.add(line.group.period)
            self._listed[line.currency] = self._listed.get(line.currency, 0) + line.list_price
            one, name = name_of(line.group, self._by)
            strands = self._strands.setdefault(line.currency, {})
            strands.setdefault(one, Strand(one, name)).add(line.group.period, line.price)

    def trends(self) -> Sequence[Trend]:
        return [
            Trend(currency, _largest(strands.values()), self._listed[currency])
            for currency, strands in sorted(self._strands.items())
        ]


def name_of(group: Group, by: Dimension) -> tuple[str | None, str | None]:
    """The id of what ``by`` tells apart, and what people call it; None for what is not there."""
    names = {
        Dimension.MODEL: (group.model, group.model),
        Dimension.WORKSPACE: (group.workspace, group.workspace_name),
        Dimension.KEY: (group.key, group.key_name),
        Dimension.BATCH: (group.batch, group.batch),
        Dimension.REGION: (group.region, group.region),
    }
    return names[by]


def _largest(strands: Iterable[Strand]) -> Sequence[Strand]:
    """Those that cost most, the largest first, and the rest as one."""
    ranked = sorted(strands, key=lambda one: (-one.total, one.id or ""))
    shown, others = ranked[:LARGEST], ranked[LARGEST:]
    if not others:
        return shown
    rest = Strand(None, is_rest=True)
    for strand in others:
        for period, units in strand.amounts.items():
            rest.add(period, units)
    return [*shown, rest]


def _periods(query: UsageQuery, found: set[int]) -> Sequence[int]:
    """Every period that was asked for; where those are too many, from the first charge on.

    Raises InvalidRequest where that is too much as well.
    """
    where, number_of = query.where, query.bucket.number_of
    first, last = number_of(where.since), number_of(max(where.since, where.until - 1))
    if last - first < MAX_PERIODS or not found:
        return range(first, last + 1) if found else ()
    first, last = min(found), max(found)
    if last - first < MAX_PERIODS:
        return range(first, last + 1)
    message = (
        f"A trend has at most {MAX_PERIODS} periods, and these are {last - first + 1} by the "
        f"{query.bucket}: ask for longer periods, or for a shorter time."
    )
    raise InvalidRequest(message, param="bucket", code="invalid_value")


def _choices(groups: Sequence[Group]) -> Choices:
    rooms = {one.workspace: one.workspace_name or one.workspace for one in groups if one.workspace}
    keys = {one.key: one.key_name or one.key for one in groups if one.key}
    return Choices(
        models={model: model for model in sorted({one.model or "" for one in groups}) if model},
        workspaces=dict(sorted(rooms.items(), key=lambda item: item[::-1])),
        keys=dict(sorted(keys.items(), key=lambda item: item[::-1])),
    )
