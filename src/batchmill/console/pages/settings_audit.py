"""The audit log: who did what to which thing, and when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response
from starlette.routing import BaseRoute

from batchmill.console.entry import page
from batchmill.console.pages.settings_scope import PAGE_ROWS, read_after, read_scope
from batchmill.console.visit import Visit
from batchmill.domain.account import Deed
from batchmill.door.access import Access
from batchmill.service.caller import ANYONE, MACHINE
from batchmill.service.services import Services

_AUDIT: Final = "/settings/audit"
_ACTORS: Final = {
    ANYONE: ("Anyone", "no key was asked for"),
    MACHINE: ("The operator", "at the server's machine"),
}


class SettingsAuditPages:
    """The audit log."""

    def __init__(self, services: Services) -> None:
        self._admin = services.admin

    def routes(self) -> Sequence[BaseRoute]:
        """The pages, below the console's base."""
        return [page(_AUDIT, self.list, Access.ADMIN)]

    async def list(self, visit: Visit) -> Response:
        """A page of the account's entries, the newest first."""
        scope = await read_scope(visit, self._admin.accounts)
        after = read_after(visit)
        found = await self._admin.audit.list(
            visit.caller, limit=PAGE_ROWS, after=after, account=scope.account
        )
        keys = await self._admin.keys.list(visit.caller, scope.account)
        names = {key.id: key.name for key in keys}
        last = found.items[-1].id if found.items and found.has_more else None
        return visit.show(
            "settings_audit.html",
            scope=scope,
            rows=[AuditRow(deed, names) for deed in found.items],
            newest=None if after is None else scope.to(_AUDIT),
            older=None if last is None else scope.to(_AUDIT, after=last),
        )


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An entry as a line of the log shows it. ``names`` are those of the account's keys."""

    deed: Deed
    names: Mapping[str, str]

    @property
    def actor(self) -> str:
        """Who acted, as people call them."""
        return self._known[0]

    @property
    def actor_note(self) -> str | None:
        """What tells the actor from others of the same name."""
        return self._known[1]

    @property
    def _known(self) -> tuple[str, str | None]:
        actor = self.deed.actor
        if actor in self.names:
            return self.names[actor], actor
        return _ACTORS.get(actor, (actor, None))

    @property
    def action(self) -> str:
        """What was done: ``key created``."""
        return self.deed.action.replace(".", " ").replace("_", " ")
