"""Accounts: who is billed. They are the operator's alone."""

from collections.abc import Sequence
from typing import Final

from starlette.responses import Response
from starlette.routing import BaseRoute

from batchmill.console.entry import action, page
from batchmill.console.pages.settings_scope import Scope, cut_page
from batchmill.console.visit import Visit
from batchmill.door.access import Access
from batchmill.service.services import Services

_ACCOUNTS: Final = "/settings/accounts"


class SettingsAccountsPages:
    """The list of accounts, and their making."""

    def __init__(self, services: Services) -> None:
        self._accounts = services.admin.accounts

    def routes(self) -> Sequence[BaseRoute]:
        """The pages and actions, below the console's base."""
        return [
            page(_ACCOUNTS, self.list, Access.OPERATOR),
            action(_ACCOUNTS, self.create, Access.OPERATOR),
        ]

    async def list(self, visit: Visit) -> Response:
        """A page of all accounts, the newest first."""
        listed = await self._accounts.list()
        cut = cut_page([*reversed(listed)], visit.value("after"))
        scope = Scope(None, visit.caller.account, listed)
        return visit.show(
            "settings_accounts.html",
            scope=scope,
            rows=cut.rows,
            newest=None if cut.is_first else _ACCOUNTS,
            older=None if cut.after is None else scope.to(_ACCOUNTS, after=cut.after),
        )

    async def create(self, visit: Visit) -> Response:
        """Make an account."""
        made = await self._accounts.create(visit.caller, (await visit.form()).value("name"))
        told = f"Account {made.name} is made. Make its first admin key next."
        return visit.go(_ACCOUNTS, told)
