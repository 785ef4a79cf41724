"""Examples of usage, spending, monitoring and monthly limits, for their descriptions."""

from typing import Final

from batchmill.api import wire
from batchmill.api.docs import Sample
from batchmill.domain.caps import Cap, Scope
from batchmill.domain.periods import Bucket
from batchmill.domain.pricing import Item
from batchmill.domain.usage import Usage
from batchmill.door import tables
from batchmill.ports import (
    Dimension,
    Group,
    Place,
    SpendingLine,
    UsageFilter,
    UsageLine,
    UsageQuery,
)
from batchmill.service.caps import CapState, Month
from batchmill.service.monitoring import ModelHealth, Monitored, Tally
from batchmill.service.usage import Report

_SINCE: Final = 1_759_276_800.0
_UNTIL: Final = 1_761_955_200.0
_DAY: Final = Bucket.DAY.number_of(1_760_000_000)
_MONTH: Final = Bucket.MONTH.number_of(_SINCE)
_UNITS: Final = 10**12
_BATCH: Final = "batch_3f6d1c52-8a0e-4a67-9d35-2b7f5a1c9e44"
_KEY: Final = "key_9e8d7c6b5a49382716f5e4d3"
_WHERE: Final = UsageFilter("default", _SINCE, _UNTIL)

_USED: Final = UsageLine(
    group=Group(Bucket.DAY, _DAY, "default", model="qwen-plus"),
    place=Place(_DAY, ("default", "qwen-plus")),
    calls=1000,
    failures=3,
    rejections=12,
    millis=2_400_000,
    usage=Usage(50_000, 200_000, 1_000, 0),
    embedding=0,
)
_CHARGED: Final = SpendingLine(
    group=Group(
        Bucket.MONTH,
        _MONTH,
        "default",
        model="qwen-plus",
        workspace="ws_default",
        workspace_name="Default",
        key=_KEY,
        key_name="nightly",
        batch=_BATCH,
        region="eu-west",
    ),
    place=Place(
        _MONTH, ("default", "qwen-plus", "ws_default", _KEY, _BATCH, "eu-west", "USD", "x")
    ),
    item=Item.OUTPUT,
    tokens=200_000,
    currency="USD",
    list_price=240 * _UNITS,
    price=120 * _UNITS,
)
_CAP: Final = CapState(
    Cap("default", Scope.WORKSPACE, "ws_default", "USD", 20_000 * _UNITS, 80),
    charged=130 * _UNITS,
    running=5 * _UNITS,
)
_MONTH_SO_FAR: Final = Month("2025-10", {"USD": 130 * _UNITS}, {"USD": 5 * _UNITS}, [_CAP])
_HEALTH: Final = ModelHealth(
    "qwen-plus",
    None,
    None,
    {_DAY: Tally(1000, 3, 12, 2_400_000, Usage(50_000, 200_000))},
    busy_seconds=120.0,
)

_USAGE: Final = Report(UsageQuery(_WHERE, Bucket.DAY, (Dimension.MODEL,)), [_USED], None)
_SPENDING: Final = Report(UsageQuery(_WHERE, Bucket.MONTH, tuple(Dimension)), [_CHARGED], None)

USAGE: Final = wire.usage_page(_USAGE).model_dump()
USAGE_TABLE: Final = tables.usage_head() + tables.usage_rows([_USED])
SPENDING: Final = wire.spending_page(_SPENDING, _MONTH_SO_FAR).model_dump()
SPENDING_TABLE: Final = tables.spending_head() + tables.spending_rows([_CHARGED])
MONITORING: Final = wire.monitoring_list(
    Monitored(_SINCE, _UNTIL, Bucket.DAY, [_HEALTH])
).model_dump()
CAP: Final = wire.cap_object(_CAP).model_dump()
CAPS: Final = wire.cap_list([_CAP]).model_dump()
CAP_DELETED: Final = wire.cap_deleted(_CAP.cap).model_dump()
NEW_CAP: Final = {
    "scope": "workspace",
    "id": "ws_default",
    "limit": "20.00",
    "currency": "USD",
    "alert_percent": 80,
}

BAD_INSTANT: Final = Sample(
    400,
    "bad_instant",
    "Invalid 'start_time': expected Unix seconds, or a time in UTC such as 2026-11, 2026-11-01 or "
    "2026-11-01T12:00:00Z, between 1970 and 2100, but got 'yesterday' instead.",
    "start_time",
    "invalid_value",
)
BAD_GROUPING: Final = Sample(
    400,
    "bad_grouping",
    "Invalid value: 'user'. Supported values are: 'model', 'workspace', 'key', 'batch', 'region', "
    "and 'none'.",
    "group_by",
    "invalid_value",
)
BAD_PLACE: Final = Sample(
    400,
    "bad_place",
    "Invalid 'after': pass what 'next_after' said in an answer to the same question.",
    "after",
    "invalid_cursor",
)
BAD_SPAN: Final = Sample(
    400,
    "bad_span",
    "Invalid 'start_time': monitoring looks at no more than 30 days. Ask for usage to look "
    "further back.",
    "start_time",
    "invalid_value",
)
BAD_AMOUNT: Final = Sample(
    400,
    "bad_amount",
    "Invalid 'limit': expected an amount such as '20.00', with at most 12 digits before the point "
    "and 15 behind it, but got 'a lot' instead.",
    "limit",
    "invalid_value",
)
BAD_SCOPE: Final = Sample(
    400,
    "bad_scope",
    "Invalid value: 'team'. Supported values are: 'account', 'workspace' or 'key'.",
    "scope",
    "invalid_value",
)
NO_PRICES: Final = Sample(
    400,
    "no_prices",
    "No model has a price, so no limit would be reached: set prices.file first.",
    "currency",
    "no_prices",
)
NOT_OPERATOR: Final = Sample(
    403,
    "not_operator",
    "The limit of an account is set by admins of the operator's account: ask them, or set one on "
    "a workspace or a key.",
    "scope",
    "permission_denied",
)
CAP_UNKNOWN: Final = Sample(
    404, "cap_unknown", "No limit in 'EUR' found on workspace 'ws_default'."
)
