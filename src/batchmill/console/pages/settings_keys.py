"""Keys: who gets in.

A secret is shown once, in the answer to its making, and stands nowhere else:
in no address, no cookie, no log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response
from starlette.routing import BaseRoute

from batchmill.console.entry import action, page
from batchmill.console.pages.batches import day_end
from batchmill.console.pages.settings_scope import Scope, cut_page, read_scope
from batchmill.console.visit import Form, Visit
from batchmill.domain.account import Key, Role
from batchmill.domain.errors import InvalidRequest
from batchmill.door.access import Access
from batchmill.service.keys import KeySpec, NewKey
from batchmill.service.refusals import invalid_value, shorten
from batchmill.service.services import Services

STATUSES: Final = ("active", "expired", "revoked")

# What a page listens to that shows what was just changed behind a dialog.
CHANGED: Final = "settings-changed"

_KEYS: Final = "/settings/keys"


class SettingsKeysPages:
    """The list of keys, their making and their end."""

    def __init__(self, services: Services) -> None:
        self._admin = services.admin
        self._models = services.models

    def routes(self) -> Sequence[BaseRoute]:
        """The pages and actions, below the console's base."""
        return [
            page("/settings", self.enter, Access.READ),
            page(_KEYS, self.list, Access.ADMIN),
            page(f"{_KEYS}/new", self.ask, Access.ADMIN),
            action(_KEYS, self.create, Access.ADMIN),
            action(f"{_KEYS}/{{key_id}}/revoke", self.revoke, Access.ADMIN),
        ]

    async def enter(self, visit: Visit) -> Response:
        """On to the first of the settings that the visitor may see."""
        return visit.go(_KEYS if visit.may(Access.ADMIN) else "/settings/webhooks")

    async def list(self, visit: Visit) -> Response:
        """A page of the account's keys, the newest first."""
        scope = await read_scope(visit, self._admin.accounts)
        keys = await self._admin.keys.list(visit.caller, scope.account)
        status = visit.value("status")
        rows = [KeyRow(key, visit.now, key.id == visit.caller.key_id) for key in reversed(keys)]
        wanted = [row for row in rows if status not in STATUSES or row.status == status]
        cut = cut_page(wanted, visit.value("after"))
        return visit.show(
            "settings_keys.html",
            scope=scope,
            rows=cut.rows,
            workspaces=await self._workspaces(visit, scope),
            statuses=STATUSES,
            status=status,
            newest=None if cut.is_first else scope.to(_KEYS, status=status),
            older=None if cut.after is None else scope.to(_KEYS, status=status, after=cut.after),
        )

    async def ask(self, visit: Visit) -> Response:
        """What a new key is to be."""
        scope = await read_scope(visit, self._admin.accounts)
        return visit.show(
            "settings_key_new.html",
            scope=scope,
            roles=tuple(Role),
            workspaces=await self._workspaces(visit, scope),
            models=[model.id for model in self._models.list(visit.caller)],
        )

    async def create(self, visit: Visit) -> Response:
        """Make a key, and show its secret this once."""
        scope = await read_scope(visit, self._admin.accounts)
        spec = read_spec(await visit.form(), visit, scope)
        made = await self._admin.keys.create(visit.caller, spec)
        return _show_secret(visit, scope, made)

    async def revoke(self, visit: Visit) -> Response:
        """Shut a key out."""
        scope = await read_scope(visit, self._admin.accounts)
        key = await self._admin.keys.revoke(visit.caller, visit.part("key_id"), scope.account)
        return visit.go(scope.to(_KEYS), f"Key {key.name} is revoked.")

    async def _workspaces(self, visit: Visit, scope: Scope) -> dict[str, str]:
        listed = await self._admin.workspaces.list(visit.caller, scope.account)
        return {one.id: one.name for one in listed}


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as a line of the list shows it. ``is_own`` is the one that began this session."""

    key: Key
    now: float
    is_own: bool

    @property
    def id(self) -> str:
        """The key's id."""
        return self.key.id

    @property
    def status(self) -> str:
        """One of ``STATUSES``."""
        if self.key.revoked_at is not None:
            return "revoked"
        return "active" if self.key.is_usable(self.now) else "expired"


def read_spec(form: Form, visit: Visit, scope: Scope) -> KeySpec:
    """What the form asks for; raises InvalidRequest for what no form of ours sends."""
    role = form.value("role", Role.MEMBER)
    if role not in frozenset(Role):
        raise invalid_value(role, tuple(Role), "role")
    return KeySpec(
        name=form.value("name"),
        role=Role(role),
        account=scope.account,
        workspace=form.given("workspace"),
        models=form.values("models") or None,
        expires_at=_expiry(form.value("expires"), visit),
    )


def _expiry(day: str, visit: Visit) -> int | None:
    """The end of the day that is the key's last; raises InvalidRequest for what is no day."""
    if not day:
        return None
    end = day_end(day, visit.zone)
    if end is None:
        message = f"Invalid 'expires': '{shorten(day)}' is no day, such as 2026-12-31."
        raise InvalidRequest(message, param="expires", code="invalid_value")
    return int(end)


def _show_secret(visit: Visit, scope: Scope, made: NewKey) -> Response:
    response = visit.show(
        "settings_secret.html",
        title=f"Key {made.key.name} is made",
        label="The key",
        secret=made.secret,
        hint="Give it to your client as its API key.",
        back=scope.to(_KEYS),
        scope=scope,
    )
    response.headers["hx-trigger"] = CHANGED
    return response
