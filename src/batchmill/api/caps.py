"""Monthly limits over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from batchmill.api import faults, wire
from batchmill.api import usage_samples as samples
from batchmill.api.bodies import read_json
from batchmill.api.docs import Success, json_body, operation
from batchmill.api.doorkeeper import caller_of
from batchmill.api.routes import add_get, given
from batchmill.domain.caps import Scope
from batchmill.door.access import Access
from batchmill.door.bodies import Patience
from batchmill.service.caps import Caps, CapSpec

_Account = Annotated[
    str | None, Query(description="Whose; the caller's own if absent. For the operator's admins.")
]


class CapRoutes:
    """The operations of monthly limits."""

    def __init__(self, caps: Caps, *, patience: Patience) -> None:
        self._caps = caps
        self._patience = patience

    def router(self, base: str) -> APIRouter:
        """The routes below ``base``."""
        router = APIRouter(prefix=base, tags=["Administration"])
        one = "/admin/caps/{scope}/{scope_id}/{currency}"
        add_get(router, "/admin/caps", self.list, **_LIST)
        router.add_api_route("/admin/caps", self.put, methods=["POST"], **_SET)
        router.add_api_route(one, self.remove, methods=["DELETE"], **_DELETE)
        return router

    async def list(self, request: Request, account: _Account = None) -> Response:
        """Every limit."""
        states = await self._caps.list(caller_of(request), given(account, "account"))
        return wire.answer(wire.cap_list(states))

    async def put(self, request: Request) -> Response:
        """Set or replace a limit."""
        body = await read_json(request, wire.SetCap, self._patience)
        spec = CapSpec(
            scope=Scope(body.scope),
            limit=body.limit,
            scope_id=given(body.id, "id"),
            currency=given(body.currency, "currency"),
            alert_percent=body.alert_percent,
            account=given(body.account, "account"),
        )
        return wire.answer(wire.cap_object(await self._caps.put(caller_of(request), spec)))

    async def remove(
        self,
        request: Request,
        scope: Annotated[Scope, Path(description="What the limit is set on.")],
        scope_id: str,
        currency: str,
        account: _Account = None,
    ) -> Response:
        """Remove a limit."""
        owner = given(account, "account")
        cap = await self._caps.remove(caller_of(request), scope, scope_id, currency, owner)
        return wire.answer(wire.cap_deleted(cap))


_LIST: dict[str, Any] = operation(
    "listCaps",
    "List monthly limits",
    "The limits of the account with what is used of them this month. `all` is every account, for "
    "the operator's admins.",
    access=Access.ADMIN,
    success=[Success("The limits.", wire.CapList, {"limits": samples.CAPS})],
    errors=[faults.BAD_ACCOUNT, faults.ACCOUNT_UNKNOWN],
)
_SET: dict[str, Any] = operation(
    "setCap",
    "Set a monthly limit",
    "Sets or replaces the limit of a workspace, a key or an account. Where it is reached nothing "
    "more is sent, and batches are refused until the next month. The limit of an account is set by "
    "admins of the operator's account alone.",
    access=Access.ADMIN,
    success=[Success("The limit.", wire.CapObject, {"limit": samples.CAP})],
    errors=[
        faults.BAD_JSON,
        samples.BAD_AMOUNT,
        samples.NO_PRICES,
        samples.NOT_OPERATOR,
        faults.ACCOUNT_UNKNOWN,
        faults.WORKSPACE_UNKNOWN,
        faults.STALLED,
        faults.DISK_FULL,
    ],
    body=json_body(wire.SetCap, samples.NEW_CAP),
)
_DELETE: dict[str, Any] = operation(
    "deleteCap",
    "Remove a monthly limit",
    "From now on nothing more is held back by it.",
    access=Access.ADMIN,
    success=[Success("It is gone.", wire.CapDeleted, {"deleted": samples.CAP_DELETED})],
    errors=[
        samples.BAD_SCOPE,
        samples.CAP_UNKNOWN,
        samples.NOT_OPERATOR,
        faults.ACCOUNT_UNKNOWN,
        faults.DISK_FULL,
    ],
)
