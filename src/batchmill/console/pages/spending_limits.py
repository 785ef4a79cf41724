"""Monthly limits: what they are set on, how they stand, and their setting and removing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import BaseRoute

from batchmill.console.entry import action, page
from batchmill.console.filters import account_names, address
from batchmill.console.visit import Visit
from batchmill.domain.caps import Scope
from batchmill.domain.errors import InvalidRequest
from batchmill.domain.money import text_of
from batchmill.door.access import Access
from batchmill.service.administration import Administration
from batchmill.service.caps import CapSpec, CapState
from batchmill.service.refusals import invalid_value, shorten
from batchmill.service.services import Services
from batchmill.service.usage_scope import EVERY_ACCOUNT

_PATH: Final = "/spending/limits"
_DEFAULT_ALERT: Final = "80"


class SpendingLimitPages:
    """The page of limits, and what can be done there."""

    def __init__(self, services: Services) -> None:
        self._caps = services.accounting.caps
        self._admin = services.admin

    def routes(self) -> Sequence[BaseRoute]:
        """The pages and actions, below the console's base."""
        return [
            page(_PATH, self.list, Access.ADMIN),
            action(_PATH, self.put, Access.ADMIN),
            action(f"{_PATH}/remove", self.remove, Access.ADMIN),
        ]

    async def list(self, visit: Visit) -> Response:
        """Every limit, and the form that sets one."""
        account = visit.value("account") or None
        states = await self._caps.list(visit.caller, account)
        names = await cap_names(visit, self._admin, account)
        return visit.show(
            "spending_limits.html",
            states=states,
            names=names,
            accounts=await account_names(visit, self._admin),
            account=account or "",
            is_every_account=account == EVERY_ACCOUNT,
            targets=await self._targets(visit, account),
            currencies=self._caps.currencies,
            draft=_draft(visit, states),
            spending=address(visit, "/spending", {"account": account or ""}),
        )

    async def put(self, visit: Visit) -> Response:
        """Set or replace a limit."""
        form = await visit.form()
        scope, scope_id = _target(form.value("target"))
        account = form.given("account")
        spec = CapSpec(
            scope=scope,
            limit=form.value("limit"),
            scope_id=scope_id,
            currency=form.given("currency"),
            alert_percent=_percent(form.given("alert_percent")),
            account=account,
        )
        cap = (await self._caps.put(visit.caller, spec)).cap
        told = f"The limit is {text_of(cap.limit)} {cap.currency} a month from now on."
        return visit.go(_path(account), told)

    async def remove(self, visit: Visit) -> Response:
        """Remove a limit."""
        form = await visit.form()
        scope, scope_id = _target(form.value("target"))
        account, back = form.given("account"), form.given("back")
        await self._caps.remove(
            visit.caller, scope, scope_id or "", form.value("currency"), account
        )
        return visit.go(_path(back), "The limit is removed: nothing more is held back by it.")

    async def _targets(self, visit: Visit, account: str | None) -> "Targets | None":
        """What a limit can be set on; None where no one account is looked at."""
        if account == EVERY_ACCOUNT:
            return None
        caller = visit.caller
        rooms = await self._admin.workspaces.list(caller, account)
        keys = await self._admin.keys.list(caller, account)
        return Targets(
            account=f"account:{account or caller.account}" if caller.is_operator else None,
            workspaces={f"workspace:{room.id}": room.name for room in rooms},
            keys={f"key:{key.id}": key.name for key in keys if key.revoked_at is None},
        )


@dataclass(frozen=True, slots=True)
class Targets:
    """What a limit can be set on, as the form's choices name it."""

    account: str | None
    workspaces: Mapping[str, str]
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Draft:
    """What the form holds to begin with."""

    target: str = ""
    currency: str = ""
    limit: str = ""
    alert_percent: str = _DEFAULT_ALERT


async def cap_names(visit: Visit, admin: Administration, account: str | None) -> Mapping[str, str]:
    """The names of what limits are set on, by id, as far as the visitor may know them."""
    names = {room.id: room.name for room in visit.visitor.rooms}
    if visit.may("admin") and account != EVERY_ACCOUNT:
        names |= {room.id: room.name for room in await admin.workspaces.list(visit.caller, account)}
        names |= {key.id: key.name for key in await admin.keys.list(visit.caller, account)}
    return names


def _draft(visit: Visit, states: Sequence[CapState]) -> Draft:
    """The limit that the address wants changed, else a blank one."""
    wanted = (visit.value("target"), visit.value("currency"))
    for state in states:
        cap = state.cap
        target = f"{cap.scope}:{cap.scope_id}"
        if (target, cap.currency) == wanted:
            alert = "" if cap.alert_percent is None else str(cap.alert_percent)
            return Draft(target, cap.currency, text_of(cap.limit), alert)
    return Draft(target=wanted[0])


def _target(text: str) -> tuple[Scope, str | None]:
    """What a choice of the form names; raises InvalidRequest."""
    scope, _, scope_id = text.partition(":")
    if scope not in frozenset(Scope):
        raise invalid_value(scope, list(Scope), "scope")
    return Scope(scope), scope_id or None


def _percent(text: str | None) -> int | None:
    """A whole number; raises InvalidRequest."""
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 4):
        message = (
            "Invalid 'alert_percent': expected a whole number from 1 to 100, or nothing for no "
            f"alert, but got '{shorten(text)}' instead."
        )
        raise InvalidRequest(message, param="alert_percent", code="invalid_value")
    return int(text)


def _path(account: str | None) -> str:
    return f"{_PATH}?{urlencode({'account': account})}" if account else _PATH
