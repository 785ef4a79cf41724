"""The doorkeeper: who may use an operation. Every route names what it asks for.

``admission`` makes the dependency that runs before an operation, and before
any of its body is read: it finds out who calls, whether their role suffices,
and whether they do not call too often.
"""

from collections.abc import Awaitable, Callable

from fastapi import Depends
from fastapi.params import Depends as Dependency
from starlette.requests import Request

from batchmill.domain.rates import RateRule
from batchmill.door.access import Access
from batchmill.service.caller import Caller

Admit = Callable[[Request, Access, RateRule | None], Awaitable[Caller]]


def admission(access: Access, rate: RateRule | None) -> Dependency:
    """The dependency of a route; the application's state holds who decides, as ``admit``."""

    async def enter(request: Request) -> None:
        if access is Access.OPEN:
            return  # nobody is asked for, so there is nobody on whose behalf to act
        admit: Admit = request.app.state.admit
        request.state.caller = await admit(request, access, rate)

    enter.__dict__["asks_for"] = (access, rate)
    found = Depends(enter)
    if not isinstance(found, Dependency):
        raise TypeError(found)
    return found


def caller_of(request: Request) -> Caller:
    """Who was let in; routes that are open to all have nobody to name."""
    caller: Caller = request.state.caller
    return caller
