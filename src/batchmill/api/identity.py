"""The door of a server: who calls, whether their role suffices, whether they call too often.

It decides before a byte of a body is read. Without keys whoever comes is the
operator, and ``Authorization`` means nothing.
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request

from batchmill.domain.rates import RateRule
from batchmill.door.access import Access, require_access
from batchmill.service.caller import Caller

Identify = Callable[[str | None], Awaitable[Caller]]
"""The caller who holds a secret; raises Unidentified."""

Slow = Callable[[Request, Caller, RateRule], Awaitable[None]]
"""Counts a request against the caller's rate; raises RateLimited."""


async def identify_anyone(_secret: str | None) -> Caller:
    """Whoever comes to a server without keys is the operator."""
    return Caller()


async def hurry(_request: Request, _caller: Caller, _rule: RateRule) -> None:
    """A server without rates lets everyone call as often as they like."""


class Doorkeeper:
    """Lets callers in; see the type Admit."""

    def __init__(self, identify: Identify, slow: Slow = hurry) -> None:
        self._identify = identify
        self._slow = slow

    async def __call__(self, request: Request, access: Access, rate: RateRule | None) -> Caller:
        """Who was let in; raises Unidentified, Forbidden and RateLimited."""
        caller = await self._identify(secret_of(request.headers))
        require_access(caller, access)
        if rate is not None:
            await self._slow(request, caller, rate)
        return caller


def secret_of(headers: Mapping[str, str]) -> str | None:
    """The secret of ``Authorization: Bearer``, else of Azure's ``api-key``; None without."""
    scheme, _, secret = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return secret.strip() or None
    return headers.get("api-key") or None
