"""Monthly limits as clients see them."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from batchmill.api.wire.shape import Shape
from batchmill.domain.caps import Cap
from batchmill.domain.money import text_of
from batchmill.service.caps import CapState


class SetCap(Shape):
    """The body of `POST /admin/caps`."""

    scope: Literal["account", "workspace", "key"] = Field(description="What the limit is set on.")
    id: str | None = Field(
        default=None, description="Of the workspace or key; of the account, if it is not one's own."
    )
    limit: str = Field(description="An amount such as `20.00`, a calendar month in UTC.")
    currency: str | None = Field(
        default=None, description="As in the prices; their only one if absent."
    )
    alert_percent: int | None = Field(
        default=None, description="1 to 100: where `spending.threshold_reached` is sent."
    )
    account: str | None = Field(default=None, description="The caller's own if absent.")


class CapObject(Shape):
    """A monthly limit, and how much of it is used: charged, and run up by shards at work."""

    object: Literal["admin.cap"] = "admin.cap"
    account: str
    scope: Literal["account", "workspace", "key"]
    id: str
    currency: str
    limit: str
    alert_percent: int | None
    alerted_month: str | None
    charged: str
    running: str
    percent: float


class CapList(Shape):
    """The limits."""

    object: Literal["list"] = "list"
    data: list[CapObject]


class CapDeleted(Shape):
    """A limit is gone."""

    object: Literal["admin.cap"] = "admin.cap"
    scope: Literal["account", "workspace", "key"]
    id: str
    currency: str
    deleted: Literal[True] = True


def cap_object(state: CapState) -> CapObject:
    """A limit as clients see it."""
    cap = state.cap
    return CapObject(
        account=cap.account,
        scope=cap.scope.value,
        id=cap.scope_id,
        currency=cap.currency,
        limit=text_of(cap.limit),
        alert_percent=cap.alert_percent,
        alerted_month=cap.alerted_month,
        charged=text_of(state.charged),
        running=text_of(state.running),
        percent=state.percent,
    )


def cap_list(states: Sequence[CapState]) -> CapList:
    """The limits as clients see them."""
    return CapList(data=[cap_object(state) for state in states])


def cap_deleted(cap: Cap) -> CapDeleted:
    """What is said of a limit that is gone."""
    return CapDeleted(scope=cap.scope.value, id=cap.scope_id, currency=cap.currency)
