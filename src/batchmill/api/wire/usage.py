"""Usage, spending and monitoring as clients see them."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from batchmill.api.wire.caps import CapObject, cap_object
from batchmill.api.wire.shape import Shape
from batchmill.domain.money import text_of
from batchmill.door.tables import billing_month
from batchmill.ports import Group, SpendingLine, UsageLine
from batchmill.service.caps import Month
from batchmill.service.monitoring import ModelHealth, Monitored
from batchmill.service.usage import Report

_TIME = "Unix seconds, or a month, date or time in UTC such as `2026-11-01`."


class _Asked(BaseModel):
    """What all of these questions have in common."""

    start_time: str | None = Field(default=None, description=f"{_TIME} It is included.")
    end_time: str | None = Field(default=None, description=f"{_TIME} It is not included.")
    model: list[str] = Field(default=[], description="Only these; commas or repeated.")
    workspace: list[str] = Field(default=[], description="Only these ids.")
    key: list[str] = Field(default=[], description="Only these keys, by id.")
    batch: list[str] = Field(default=[], description="Only these ids.")
    account: str | None = Field(
        default=None, description="Whose, or `all`; for the operator's admins."
    )


class AskUsage(_Asked):
    """The query of `GET /usage` and `GET /spending`."""

    bucket: Literal["hour", "day", "month"] | None = Field(
        default=None, description="How finely time is divided, in UTC."
    )
    group_by: list[str] | None = Field(
        default=None, description="Of `model`, `workspace`, `key`, `batch`, `region`; or `none`."
    )
    limit: int | None = Field(default=None, ge=1, le=10_000, description="Lines a page.")
    after: str | None = Field(default=None, description="What `next_after` said.")
    format: Literal["json", "csv"] | None = Field(
        default=None, description="`csv` without `limit` is everything; so asks `Accept: text/csv`."
    )


class AskMonitoring(_Asked):
    """The query of `GET /monitoring`."""

    bucket: Literal["hour", "day"] | None = Field(
        default=None, description="By the hour up to two days, else by the day."
    )
    group_by: list[str] | None = Field(default=None, description="`workspace`, or nothing.")


class _Line(Shape):
    """What a line is the sum of; null for what it is not told apart by."""

    start_time: int
    end_time: int
    account: str
    model: str | None
    workspace: str | None
    workspace_name: str | None
    key: str | None = Field(description="Null also for what ran without a key.")
    key_name: str | None
    batch: str | None
    region: str | None = Field(description="Where it was computed, if that has a name.")


class UsageObject(_Line):
    """Calls and tokens. Cached and embedding tokens are input, reasoning tokens output."""

    object: Literal["usage"] = "usage"
    calls: int
    failures: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    embedding_tokens: int


class UsagePage(Shape):
    """A page of usage."""

    object: Literal["list"] = "list"
    start_time: int
    end_time: int
    bucket: Literal["hour", "day", "month"]
    group_by: list[str]
    data: list[UsageObject]
    has_more: bool
    next_after: str | None


class SpendingObject(_Line):
    """A line item: its tokens and what they cost; without a currency there is no price."""

    object: Literal["spending"] = "spending"
    billing_month: str
    line_item: str
    usage: int
    list_price: str
    price: str
    currency: str | None


class AmountObject(Shape):
    """An amount of money, exact."""

    currency: str
    amount: str


class SpendingSummary(Shape):
    """The present month, by what is charged, and by what shards that still run come to."""

    month: str
    charged: list[AmountObject]
    running: list[AmountObject]
    limits: list[CapObject]


class SpendingPage(Shape):
    """A page of line items, and how the present month stands."""

    object: Literal["list"] = "list"
    start_time: int
    end_time: int
    bucket: Literal["hour", "day", "month"]
    group_by: list[str]
    data: list[SpendingObject]
    has_more: bool
    next_after: str | None
    summary: SpendingSummary


class MonitoringBucket(Shape):
    """One hour or day of a model."""

    start_time: int
    calls: int
    failures: int
    rejections: int
    average_duration: float | None
    tokens: int


class MonitoringObject(Shape):
    """How a model did. Durations are seconds, rejections answers of status 429."""

    object: Literal["monitoring"] = "monitoring"
    model: str
    workspace: str | None
    workspace_name: str | None
    calls: int
    failures: int
    failure_rate: float | None
    average_duration: float | None
    rejections: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    calls_per_minute: float
    tokens_per_minute: float
    buckets: list[MonitoringBucket]


class MonitoringList(Shape):
    """The models that were called."""

    object: Literal["list"] = "list"
    start_time: int
    end_time: int
    bucket: Literal["hour", "day", "month"]
    data: list[MonitoringObject]


def usage_object(line: UsageLine) -> UsageObject:
    """A line of usage as clients see it."""
    usage = line.usage
    return UsageObject(
        **_whose(line.group),
        calls=line.calls,
        failures=line.failures,
        input_tokens=usage.input,
        output_tokens=usage.output,
        cached_tokens=usage.cached,
        reasoning_tokens=usage.reasoning,
        embedding_tokens=line.embedding,
    )


def usage_page(report: Report[UsageLine]) -> UsagePage:
    """A page of usage as clients see it."""
    return UsagePage(**_frame(report), data=[usage_object(line) for line in report.lines])


def spending_object(line: SpendingLine) -> SpendingObject:
    """A line item as clients see it."""
    return SpendingObject(
        **_whose(line.group),
        billing_month=billing_month(line.group),
        line_item=line.item.value,
        usage=line.tokens,
        list_price=text_of(line.list_price),
        price=text_of(line.price),
        currency=line.currency,
    )


def spending_page(report: Report[SpendingLine], month: Month) -> SpendingPage:
    """A page of line items as clients see it."""
    return SpendingPage(
        **_frame(report),
        data=[spending_object(line) for line in report.lines],
        summary=SpendingSummary(
            month=month.name,
            charged=_amounts(month.charged),
            running=_amounts(month.running),
            limits=[cap_object(state) for state in month.caps],
        ),
    )


def monitoring_list(seen: Monitored) -> MonitoringList:
    """The models as clients see them."""
    return MonitoringList(
        start_time=int(seen.since),
        end_time=int(seen.until),
        bucket=seen.bucket.value,
        data=[_monitoring_object(health, seen) for health in seen.models],
    )


def _monitoring_object(health: ModelHealth, seen: Monitored) -> MonitoringObject:
    total = health.total
    usage = total.usage
    return MonitoringObject(
        model=health.model,
        workspace=health.workspace,
        workspace_name=health.workspace_name,
        calls=total.calls,
        failures=total.failures,
        failure_rate=total.failure_rate,
        average_duration=total.average_duration,
        rejections=total.rejections,
        input_tokens=usage.input,
        output_tokens=usage.output,
        total_tokens=usage.total,
        calls_per_minute=health.per_minute(total.calls),
        tokens_per_minute=health.per_minute(usage.total),
        buckets=[
            MonitoringBucket(
                start_time=int(seen.bucket.start_of(period)),
                calls=tally.calls,
                failures=tally.failures,
                rejections=tally.rejections,
                average_duration=tally.average_duration,
                tokens=tally.usage.total,
            )
            for period, tally in sorted(health.periods.items())
        ],
    )


def _whose(group: Group) -> dict[str, Any]:
    return {
        "start_time": int(group.bucket.start_of(group.period)),
        "end_time": int(group.bucket.end_of(group.period)),
        "account": group.account,
        "model": group.model,
        "workspace": group.workspace,
        "workspace_name": group.workspace_name,
        "key": group.key,
        "key_name": group.key_name,
        "batch": group.batch,
        "region": group.region,
    }


def _frame(report: Report[UsageLine] | Report[SpendingLine]) -> dict[str, Any]:
    query = report.query
    return {
        "start_time": int(query.where.since),
        "end_time": int(query.where.until),
        "bucket": query.bucket.value,
        "group_by": [dimension.value for dimension in query.group_by],
        "has_more": report.next_after is not None,
        "next_after": report.next_after,
    }


def _amounts(sums: dict[str, int]) -> list[AmountObject]:
    return [AmountObject(currency=c, amount=text_of(units)) for c, units in sorted(sums.items())]
