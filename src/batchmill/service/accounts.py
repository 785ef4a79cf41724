"""Accounts and their workspaces, and what was done in them.

An admin sees to the account of their own key; one of the operator's account
may name any. What belongs to somebody else does not exist for the caller.
"""

from collections.abc import Sequence
from dataclasses import replace
from secrets import token_hex

from batchmill.domain.account import Account, Deed, Workspace
from batchmill.domain.errors import InvalidRequest, NotFound
from batchmill.ports import Clock, CursorUnknown, Page, Store
from batchmill.service.caller import Caller
from batchmill.service.deeds import deed_of
from batchmill.service.refusals import is_plausible_id, require_text, shorten

_MAX_NAME_CHARS = 100


class Accounts:
    """The use-cases of accounts; they are the operator's alone, which the door sees to."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._rows = store.accounts
        self._clock = clock

    async def create(self, caller: Caller, name: str) -> Account:
        """Make an account with its default workspace; raises InvalidRequest."""
        check_name(name)
        now = self._clock.now()
        account = Account(f"acct_{token_hex(12)}", name, now)
        workspace = Workspace(_workspace_id(), account.id, "Default", True, now)
        deed = deed_of(caller, "account.created", account.id, now, detail=name)
        await self._rows.add(account, workspace, deed)
        return account

    async def list(self) -> Sequence[Account]:
        """All accounts, oldest first."""
        return await self._rows.list()


class Workspaces:
    """The use-cases of workspaces."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(self, caller: Caller, name: str, account: str | None = None) -> Workspace:
        """Make a workspace; raises InvalidRequest, and NotFound for another's account."""
        check_name(name)
        owner = await account_for(caller, account, self._store)
        now = self._clock.now()
        workspace = Workspace(_workspace_id(), owner, name, False, now)
        deed = deed_of(caller, "workspace.created", workspace.id, now, detail=name)
        await self._store.workspaces.add(workspace, in_account(deed, owner))
        return workspace

    async def list(self, caller: Caller, account: str | None = None) -> Sequence[Workspace]:
        """The account's workspaces, oldest first; raises NotFound for another's account."""
        owner = await account_for(caller, account, self._store)
        return await self._store.workspaces.list(owner)


class AuditLog:
    """Reading what was done."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    async def list(
        self, caller: Caller, *, limit: int, after: str | None = None, account: str | None = None
    ) -> Page[Deed]:
        """The account's entries, newest first; raises NotFound for an unknown ``after``."""
        owner = await account_for(caller, account, self._store)
        try:
            return await self._store.audit.list(owner, limit=limit, after=after)
        except CursorUnknown:
            message = f"No audit entry found with id '{shorten(after)}'."
            raise NotFound(message, param="after") from None


async def account_for(caller: Caller, named: str | None, store: Store) -> str:
    """The account that a request is about; raises NotFound for one that is not the caller's."""
    if named is None or named == caller.account:
        return caller.account
    plausible = caller.is_operator and is_plausible_id(named)
    if not plausible or await store.accounts.get(named) is None:
        raise NotFound(f"No account found with id '{shorten(named)}'.", param="account")
    return named


def in_account(deed: Deed, account: str) -> Deed:
    """The entry in the log of the account that it concerns, whoever acted."""
    return replace(deed, account=account)


def check_name(name: str) -> None:
    """Raise InvalidRequest unless people can tell a thing by this name."""
    require_text(name, low=1, high=_MAX_NAME_CHARS, param="name")
    if not name.isprintable() or name != name.strip():
        message = "Invalid 'name': it must be printable, without blanks around it."
        raise InvalidRequest(message, param="name", code="invalid_string")


def _workspace_id() -> str:
    return f"ws_{token_hex(12)}"
