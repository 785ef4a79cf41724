"""Spending: the month so far, trends as charts and as a list, and the list as a file."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any, Final

from starlette.responses import Response, StreamingResponse
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
from batchmill.console.pages.spending_limits import cap_names
from batchmill.console.view.figures import UNKNOWN
from batchmill.console.view.plots import Axis, Series, bars, money, period_name
from batchmill.console.view.spans import Chosen, Span, billed, write_day
from batchmill.console.visit import HEADERS, Visit
from batchmill.domain.errors import InvalidRequest
from batchmill.domain.limits import DAY
from batchmill.domain.periods import Bucket
from batchmill.door import tables
from batchmill.ports import Dimension, SpendingLine
from batchmill.service.caps import Month
from batchmill.service.services import Services
from batchmill.service.trends import Spending, Strand, Trend
from batchmill.service.usage import Report
from batchmill.service.usage_scope import EVERY_ACCOUNT, UsageSpec

PAGE_ROWS: Final = 50

_PATH: Final = "/spending"
_FILTERS: Final = (
    *("view", "range", "since", "until", "bucket", "group"),
    *("model", "workspace", "key", "account"),
)
_BUCKETS: Final = {"day": Bucket.DAY, "month": Bucket.MONTH}
_MOST_DAYS: Final = 62 * DAY
_NAMELESS: Final = {
    Dimension.KEY: "without a key",
    Dimension.REGION: "without a region",
}


class SpendingPages:
    """The page, and its list as a table for spreadsheets."""

    def __init__(self, services: Services) -> None:
        self._reports = services.accounting.reports
        self._trends = services.accounting.trends
        self._caps = services.accounting.caps
        self._admin = services.admin

    def routes(self) -> Sequence[BaseRoute]:
        """The pages, below the console's base."""
        return [page(_PATH, self.look), page("/spending.csv", self.table)]

    async def look(self, visit: Visit) -> Response:
        """The month so far, and the trends or a page of the list."""
        asked = _read(visit)
        try:
            found = await self._find(visit, asked)
        except InvalidRequest as error:
            return await self._show(visit, asked, fault=error.message)
        return await self._show(visit, asked, **found)

    async def table(self, visit: Visit) -> Response:
        """All line items that the list would show, page after page."""
        asked = _read(visit)
        report = await self._reports.spending(visit.caller, asked.items(None))
        named = {"content-disposition": 'attachment; filename="spending.csv"'}
        rows = self._rows(report)
        return StreamingResponse(rows, headers={**HEADERS, **named}, media_type="text/csv")

    async def _rows(self, report: Report[SpendingLine]) -> AsyncIterator[str]:
        yield tables.spending_head()
        async for lines in self._reports.all_spending(report):
            yield tables.spending_rows(lines)

    async def _find(self, visit: Visit, asked: "Asked") -> dict[str, Any]:
        if asked.is_list:
            after = visit.value("after") or None
            report = await self._reports.spending(visit.caller, asked.items(after))
            return {"report": report, "rows": [Row(line) for line in report.lines]}
        spending = await self._trends.spending(visit.caller, asked.spec(), asked.group)
        return {"spending": spending, "courses": _courses(spending, asked, visit)}

    async def _show(self, visit: Visit, asked: "Asked", **found: Any) -> Response:
        fault = found.get("fault")
        report: Report[SpendingLine] | None = found.get("report")
        account = asked.chosen["account"] or None
        month = await self._caps.month(visit.caller, account)
        surroundings = {} if is_renewal(visit) else await self._surroundings(visit, asked, fault)
        response = visit.show(
            "spending.html",
            answered=200 if fault is None else 400,
            fault=fault,
            month=month,
            currencies=_currencies(month),
            is_priced=bool(self._caps.currencies),
            names=await cap_names(visit, self._admin, account),
            spending=found.get("spending"),
            courses=found.get("courses", ()),
            rows=found.get("rows", ()),
            has_regions=any(row.line.group.region for row in found.get("rows", ())),
            is_list=asked.is_list,
            is_every_account=account == EVERY_ACCOUNT,
            is_live=fault is None and asked.span.reaches_now,
            chosen=asked.chosen,
            links=_links(visit, asked, report),
            is_first=not visit.value("after"),
            **surroundings,
        )
        return remember(visit, response, address(visit, _PATH, asked.chosen))

    async def _surroundings(
        self, visit: Visit, asked: "Asked", fault: str | None
    ) -> dict[str, Any]:
        """What there is to choose from, and what the inputs hold."""
        spec = asked.spec() if fault is None else None
        choices = await usage_choices(visit, self._trends, self._admin, spec)
        span = asked.span
        until = visit.now if span.until is None else span.until - DAY
        since = until - 30 * DAY if span.since is None else span.since
        return {
            **choices,
            "range": span.name,
            "group": asked.group.value,
            "since": asked.chosen["since"] or write_day(since),
            "until": asked.chosen["until"] or write_day(until),
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address says."""

    chosen: Mapping[str, str]
    span: Span
    bucket: Bucket

    @property
    def is_list(self) -> bool:
        """Whether line items are asked for, and not charts."""
        return self.chosen["view"] == "list"

    @property
    def group(self) -> Dimension:
        """By what the charts tell apart."""
        wanted = self.chosen["group"]
        return Dimension(wanted) if wanted in frozenset(Dimension) else Dimension.MODEL

    def spec(self) -> UsageSpec:
        """The question of the charts."""
        chosen = self.chosen
        return UsageSpec(
            since=self.span.since,
            until=self.span.until,
            bucket=self.bucket,
            models=only(chosen["model"]),
            workspaces=only(chosen["workspace"]),
            keys=only(chosen["key"]),
            account=chosen["account"] or None,
        )

    def items(self, after: str | None) -> UsageSpec:
        """The question of the list: every line item for itself, from behind ``after`` on."""
        return replace(self.spec(), group_by=tuple(Dimension), limit=PAGE_ROWS, after=after)


@dataclass(frozen=True, slots=True)
class Row:
    """A line item as the list shows it."""

    line: SpendingLine

    @property
    def period(self) -> str:
        """Its month or day."""
        group = self.line.group
        return period_name(group.bucket.start_of(group.period), group.bucket, UTC)


@dataclass(frozen=True, slots=True)
class Course:
    """A trend as a chart, and as a table of exact amounts."""

    trend: Trend
    heads: Sequence["Head"]
    axis: Axis
    periods: Sequence[int]

    @property
    def plot(self) -> dict[str, Any]:
        """What is drawn."""
        unit = self.trend.currency
        return bars(self.axis, [_series(head, self.periods, unit) for head in self.heads])

    @property
    def rows(self) -> Sequence[tuple[str, Sequence[int], int]]:
        """Each period with charges: its name, what each strand cost, and their sum in units."""
        found = []
        for name, period in zip(self.axis.names, self.periods, strict=True):
            amounts = [head.strand.amounts.get(period, 0) for head in self.heads]
            if any(period in head.strand.amounts for head in self.heads):
                found.append((name, amounts, sum(amounts)))
        return found[::-1]


@dataclass(frozen=True, slots=True)
class Head:
    """A strand under a name that no other of its chart has."""

    strand: Strand
    name: str


def _read(visit: Visit) -> Asked:
    chosen = read_filters(visit, _FILTERS)
    span = billed(Chosen(chosen["range"], chosen["since"], chosen["until"]), visit.now)
    return Asked(chosen, span, _BUCKETS.get(chosen["bucket"], _fitting(span, visit.now)))


def _fitting(span: Span, now: float) -> Bucket:
    """Days, as far as they can be told apart in a chart."""
    until = now if span.until is None else span.until
    is_short = span.since is None or until - span.since <= _MOST_DAYS
    return Bucket.DAY if is_short else Bucket.MONTH


def _courses(spending: Spending, asked: Asked, visit: Visit) -> Sequence[Course]:
    starts = [spending.bucket.start_of(period) for period in spending.periods]
    axis = Axis(starts, spending.bucket, visit.zone)
    return [
        Course(trend, _heads(trend, asked.group), axis, spending.periods)
        for trend in spending.trends
    ]


def _heads(trend: Trend, group: Dimension) -> Sequence[Head]:
    heads: list[Head] = []
    for strand in trend.strands:
        taken = {head.name for head in heads}
        name = "others" if strand.is_rest else strand.name or strand.id or _NAMELESS.get(group)
        heads.append(Head(strand, _apart(name or UNKNOWN, strand, taken)))
    return heads


def _apart(name: str, strand: Strand, taken: Collection[str]) -> str:
    return f"{name} ({strand.id or 'no id'})" if name in taken else name


def _series(head: Head, periods: Sequence[int], unit: str) -> Series:
    values = [money(head.strand.amounts.get(period, 0)) for period in periods]
    return Series(head.name, values, unit=unit, tone="rest" if head.strand.is_rest else "")


def _links(visit: Visit, asked: Asked, report: Report[SpendingLine] | None) -> Mapping[str, Any]:
    """Where one goes from here, with the same choices."""
    chosen = asked.chosen
    after = None if report is None else report.next_after
    return {
        "chart": address(visit, _PATH, chosen, view=""),
        "list": address(visit, _PATH, chosen, view="list"),
        "table": address(visit, "/spending.csv", chosen, view=""),
        "first": address(visit, _PATH, chosen),
        "next": None if after is None else address(visit, _PATH, chosen, after=after),
        "limits": address(visit, "/spending/limits", {"account": chosen["account"]}),
    }


def _currencies(month: Month) -> Sequence[str]:
    return sorted({*month.charged, *month.running, *(state.cap.currency for state in month.caps)})
