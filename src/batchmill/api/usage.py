"""Usage, spending and monitoring over HTTP, as JSON and as tables."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from batchmill.api import faults, wire
from batchmill.api import usage_samples as samples
from batchmill.api.docs import Success, operation
from batchmill.api.doorkeeper import caller_of
from batchmill.api.instants import read_instant
from batchmill.api.routes import add_get, given
from batchmill.domain.periods import Bucket
from batchmill.door import tables
from batchmill.door.access import Access
from batchmill.ports import Dimension, SpendingLine, UsageLine
from batchmill.service.accounting import Accounting
from batchmill.service.refusals import invalid_value
from batchmill.service.usage import Report
from batchmill.service.usage_scope import UsageSpec

_CSV: Final = "text/csv"
_NONE: Final = "none"
_PAGE: Final = 1_000


class UsageRoutes:
    """The operations of usage."""

    def __init__(self, accounting: Accounting) -> None:
        self._reports = accounting.reports
        self._monitoring = accounting.monitoring
        self._caps = accounting.caps

    def router(self, base: str) -> APIRouter:
        """The routes below ``base``."""
        router = APIRouter(prefix=base, tags=["Usage"])
        add_get(router, "/usage", self.usage, **_USAGE)
        add_get(router, "/spending", self.spending, **_SPENDING)
        add_get(router, "/monitoring", self.monitoring, **_MONITORING)
        return router

    async def usage(self, request: Request, asked: Annotated[wire.AskUsage, Query()]) -> Response:
        """Calls and tokens."""
        spec = _spec(asked, default=(Dimension.MODEL,))
        report = await self._reports.usage(caller_of(request), spec)
        if not _wants_table(request, asked):
            return wire.answer(wire.usage_page(report))
        if asked.limit is None:
            return _table(self._usage_rows(report), "usage")
        rows = tables.usage_rows(report.lines)
        return _table_page(tables.usage_head() + rows, report)

    async def spending(
        self, request: Request, asked: Annotated[wire.AskUsage, Query()]
    ) -> Response:
        """Line items."""
        spec = _spec(asked, default=tuple(Dimension))
        report = await self._reports.spending(caller_of(request), spec)
        if not _wants_table(request, asked):
            month = await self._caps.month(caller_of(request), spec.account)
            return wire.answer(wire.spending_page(report, month))
        if asked.limit is None:
            return _table(self._spending_rows(report), "spending")
        rows = tables.spending_rows(report.lines)
        return _table_page(tables.spending_head() + rows, report)

    async def monitoring(
        self, request: Request, asked: Annotated[wire.AskMonitoring, Query()]
    ) -> Response:
        """How models did."""
        spec = _spec(asked, default=(), known=(Dimension.WORKSPACE,))
        seen = await self._monitoring.look(caller_of(request), spec)
        return wire.answer(wire.monitoring_list(seen))

    async def _usage_rows(self, report: Report[UsageLine]) -> AsyncIterator[str]:
        yield tables.usage_head()
        async for lines in self._reports.all_usage(report):
            yield tables.usage_rows(lines)

    async def _spending_rows(self, report: Report[SpendingLine]) -> AsyncIterator[str]:
        yield tables.spending_head()
        async for lines in self._reports.all_spending(report):
            yield tables.spending_rows(lines)


def _spec(
    asked: wire.AskUsage | wire.AskMonitoring,
    *,
    default: tuple[Dimension, ...],
    known: tuple[Dimension, ...] = tuple(Dimension),
) -> UsageSpec:
    paging = asked if isinstance(asked, wire.AskUsage) else None
    return UsageSpec(
        since=read_instant(asked.start_time, "start_time"),
        until=read_instant(asked.end_time, "end_time"),
        bucket=None if asked.bucket is None else Bucket(asked.bucket),
        group_by=default if asked.group_by is None else _dimensions(asked.group_by, known),
        models=_names(asked.model, "model"),
        workspaces=_names(asked.workspace, "workspace"),
        keys=_names(asked.key, "key"),
        batches=_names(asked.batch, "batch"),
        account=given(asked.account, "account"),
        limit=paging.limit or _PAGE if paging else _PAGE,
        after=given(paging.after, "after") if paging else None,
    )


def _names(given_: list[str], param: str) -> tuple[str, ...]:
    """Names with commas between, or repeated."""
    parts = (given(text, param) or "" for text in given_)
    return tuple(name.strip() for text in parts for name in text.split(",") if name.strip())


def _dimensions(texts: list[str], known: tuple[Dimension, ...]) -> tuple[Dimension, ...]:
    names = _names(texts, "group_by")
    for name in names:
        if name not in (*known, _NONE):
            raise invalid_value(name, [*known, _NONE], "group_by")
    return tuple(Dimension(name) for name in names if name != _NONE)


def _wants_table(request: Request, asked: wire.AskUsage) -> bool:
    if asked.format is not None:
        return asked.format == "csv"
    return request.headers.get("accept", "").split(";")[0].strip().lower() == _CSV


def _table(rows: AsyncIterator[str], name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(rows, headers=headers, media_type=_CSV)


def _table_page(text: str, report: Report[UsageLine] | Report[SpendingLine]) -> Response:
    more = report.next_after
    headers = {"x-has-more": "false" if more is None else "true", "x-next-after": more or ""}
    return Response(text, headers=headers, media_type=_CSV)


_PAGES = (
    " Lines come in the order of their periods, page by page: pass `next_after` on as `after`, "
    "with the same question."
)
_TABLE_HEADERS = {
    "x-has-more": "Of a page in CSV: whether there is more.",
    "x-next-after": "Of a page in CSV: pass it on as `after`.",
}
_ERRORS: Final = [
    samples.BAD_INSTANT,
    samples.BAD_GROUPING,
    samples.BAD_PLACE,
    faults.ACCOUNT_UNKNOWN,
]
_USAGE: dict[str, Any] = operation(
    "readUsage",
    "Read usage",
    "Calls and tokens, by the day and by model if nothing else is asked for, of this month; lines "
    "of batches that still run are counted as they settle. A key of another workspace than the "
    "account's default one sees that workspace alone." + _PAGES,
    access=Access.READ,
    success=[
        Success(
            "A page, or a table.",
            wire.UsagePage,
            {"usage": samples.USAGE},
            headers=_TABLE_HEADERS,
            table=samples.USAGE_TABLE,
        )
    ],
    errors=_ERRORS,
)
_SPENDING: dict[str, Any] = operation(
    "readSpending",
    "Read spending",
    "What was charged, a line item a line, by the month and by model, workspace, key, batch "
    "and region if nothing else is asked for; as far back as there are entries. Amounts are exact, "
    "and never summed over currencies. `summary` says how the present month stands." + _PAGES,
    access=Access.READ,
    success=[
        Success(
            "A page, or a table.",
            wire.SpendingPage,
            {"spending": samples.SPENDING},
            headers=_TABLE_HEADERS,
            table=samples.SPENDING_TABLE,
        )
    ],
    errors=_ERRORS,
)
_MONITORING: dict[str, Any] = operation(
    "readMonitoring",
    "Read monitoring",
    "How models did over at most 30 days, live: calls, failures, durations, rejections, and "
    "throughput over the time in which there were calls. The last 24 hours if no times are given.",
    access=Access.READ,
    success=[Success("The models.", wire.MonitoringList, {"models": samples.MONITORING})],
    errors=[samples.BAD_INSTANT, samples.BAD_SPAN, faults.ACCOUNT_UNKNOWN],
)
