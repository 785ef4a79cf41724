"""Workspaces: the rooms of an account."""

from collections.abc import Sequence
from typing import Final

from starlette.responses import Response
from starlette.routing import BaseRoute

from batchmill.console.entry import action, page
from batchmill.console.pages.settings_scope import cut_page, read_scope
from batchmill.console.visit import Visit
from batchmill.door.access import Access
from batchmill.service.services import Services

_WORKSPACES: Final = "/settings/workspaces"


class SettingsWorkspacesPages:
    """The list of workspaces, and their making."""

    def __init__(self, services: Services) -> None:
        self._admin = services.admin

    def routes(self) -> Sequence[BaseRoute]:
        """The pages and actions, below the console's base."""
        return [
            page(_WORKSPACES, self.list, Access.ADMIN),
            action(_WORKSPACES, self.create, Access.ADMIN),
        ]

    async def list(self, visit: Visit) -> Response:
        """A page of the account's workspaces, the newest first."""
        scope = await read_scope(visit, self._admin.accounts)
        listed = await self._admin.workspaces.list(visit.caller, scope.account)
        cut = cut_page([*reversed(listed)], visit.value("after"))
        return visit.show(
            "settings_workspaces.html",
            scope=scope,
            rows=cut.rows,
            newest=None if cut.is_first else scope.to(_WORKSPACES),
            older=None if cut.after is None else scope.to(_WORKSPACES, after=cut.after),
        )

    async def create(self, visit: Visit) -> Response:
        """Make a workspace."""
        scope = await read_scope(visit, self._admin.accounts)
        name = (await visit.form()).value("name")
        made = await self._admin.workspaces.create(visit.caller, name, scope.account)
        return visit.go(scope.to(_WORKSPACES), f"Workspace {made.name} is made.")
