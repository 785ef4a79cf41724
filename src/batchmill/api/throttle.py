"""Request rates on the wire: what an answer says of them, in OpenAI's headers.

``slowed_by`` leaves each ruling in the request's state, where the gate finds
it when the answer goes out, whatever the answer is.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request

from batchmill.domain.errors import RateLimited
from batchmill.domain.rates import RateRule, Ruling
from batchmill.service.caller import Caller
from batchmill.service.throttle import Throttle

_STATE: Final = "ruling"


Slow = Callable[[Request, Caller, RateRule], Awaitable[None]]


def slowed_by(throttle: Throttle) -> Slow:
    """Counts requests as they come in; raises RateLimited for one that comes too soon."""

    async def slow(request: Request, caller: Caller, rule: RateRule) -> None:
        try:
            request.state.ruling = await throttle.admit(caller, rule)
        except RateLimited as refused:
            request.state.ruling = refused.ruling
            request.state.refused_by = rule
            raise

    return slow


def refusing_rule(scope: Mapping[str, Any]) -> RateRule | None:
    """The rate for which this request was refused, if it was."""
    rule: RateRule | None = scope.get("state", {}).get("refused_by")
    return rule


def rate_headers(scope: Mapping[str, Any]) -> Mapping[str, str]:
    """What the answer to this request says of its rate; nothing where it has none."""
    ruling: Ruling | None = scope.get("state", {}).get(_STATE)
    if ruling is None:
        return {}
    headers = {
        "x-ratelimit-limit-requests": str(ruling.rate.limit),
        "x-ratelimit-remaining-requests": str(ruling.remaining),
        "x-ratelimit-reset-requests": duration_text(ruling.reset_after),
    }
    if ruling.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(ruling.retry_after)))
        headers["retry-after-ms"] = str(max(1, math.ceil(ruling.retry_after * 1000)))
    return headers


def duration_text(seconds: float) -> str:
    """Seconds as OpenAI writes them, rounded up: ``12ms``, ``1.5s``, ``6m0s``, ``1h0m0s``."""
    millis = math.ceil(seconds * 1000)
    if millis < 1000:
        return f"{millis}ms"
    minutes, rest = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
