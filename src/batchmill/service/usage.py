"""Usage and spending: what was used and what it cost, a page or everything.

Usage is live, with the shards that run; spending is the ledger alone. Both are
sums of the store over what ``usage_scope`` lets the caller see.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from batchmill.domain.periods import Bucket
from batchmill.ports import (
    Clock,
    Dimension,
    Page,
    SpendingLine,
    Store,
    UsageLine,
    UsageQuery,
)
from batchmill.service.caller import Caller
from batchmill.service.places import read_place, write_place
from batchmill.service.usage_scope import UsageSpec, time_span, usage_scope

Line = TypeVar("Line", UsageLine, SpendingLine)

# Besides what a query groups by, places name the account; those of a bill currency and item too.
_NAMES_OF_USAGE, _NAMES_OF_SPENDING = 1, 3
_STREAM_LINES = 5_000


@dataclass(frozen=True, slots=True)
class Report(Generic[Line]):
    """A page of lines, the question that it answers, and the cursor of the page behind it."""

    query: UsageQuery
    lines: Sequence[Line]
    next_after: str | None


class UsageReports:
    """The use-cases of usage and spending."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def usage(self, caller: Caller, spec: UsageSpec) -> Report[UsageLine]:
        """A page, by day if nothing else is asked for; raises InvalidRequest and NotFound."""
        query = await self._query(caller, spec, Bucket.DAY, _NAMES_OF_USAGE)
        return _report(query, await self._store.usage.usage(query))

    async def spending(self, caller: Caller, spec: UsageSpec) -> Report[SpendingLine]:
        """A page, by month if nothing else is asked for; raises InvalidRequest and NotFound."""
        query = await self._query(caller, spec, Bucket.MONTH, _NAMES_OF_SPENDING)
        return _report(query, await self._store.usage.spending(query))

    async def all_usage(self, report: Report[UsageLine]) -> AsyncIterator[Sequence[UsageLine]]:
        """The lines of ``report`` and all behind it, some at a time."""
        yield report.lines
        query = _behind(report.query, report)
        while query is not None:
            page = await self._store.usage.usage(query)
            yield page.items
            query = _behind(query, _report(query, page))

    async def all_spending(
        self, report: Report[SpendingLine]
    ) -> AsyncIterator[Sequence[SpendingLine]]:
        """The line items of ``report`` and all behind it, some at a time."""
        yield report.lines
        query = _behind(report.query, report)
        while query is not None:
            page = await self._store.usage.spending(query)
            yield page.items
            query = _behind(query, _report(query, page))

    async def _query(
        self, caller: Caller, spec: UsageSpec, bucket: Bucket, names: int
    ) -> UsageQuery:
        since, until = time_span(spec, self._clock.now())
        # In one order, so that the same question has the same places.
        group_by = tuple(one for one in Dimension if one in spec.group_by)
        query = UsageQuery(
            where=await usage_scope(caller, spec, self._store, since=since, until=until),
            bucket=spec.bucket or bucket,
            group_by=group_by,
            limit=spec.limit,
        )
        if spec.after is None:
            return query
        place = read_place(_question(query), spec.after, names + len(group_by))
        return replace(query, after=place)


def _report(query: UsageQuery, page: Page[Line]) -> Report[Line]:
    last = page.items[-1].place if page.has_more else None
    next_after = None if last is None else write_place(_question(query), last)
    return Report(query, page.items, next_after)


def _behind(query: UsageQuery, report: Report[Line]) -> UsageQuery | None:
    if report.next_after is None:
        return None
    return replace(query, limit=_STREAM_LINES, after=report.lines[-1].place)


def _question(query: UsageQuery) -> str:
    return " ".join((query.bucket, *query.group_by))
