"""The store of who asks: accounts, workspaces, keys, and the audit log.

Each verb is one transaction, and writes the deed that it is handed with it.
"""

from collections.abc import Sequence
from typing import Protocol

from batchmill.domain.account import Account, Deed, Key, Workspace
from batchmill.ports.store import Page


class AccountStore(Protocol):
    """Rows of accounts."""

    async def add(self, account: Account, workspace: Workspace, deed: Deed) -> None:
        """Store an account with its default workspace."""
        ...

    async def get(self, account_id: str) -> Account | None: ...

    async def list(self) -> Sequence[Account]:
        """All accounts, oldest first."""
        ...


class WorkspaceStore(Protocol):
    """Rows of workspaces."""

    async def add(self, workspace: Workspace, deed: Deed) -> None: ...

    async def get(self, account: str, workspace_id: str) -> Workspace | None: ...

    async def list(self, account: str) -> Sequence[Workspace]:
        """The account's workspaces, oldest first."""
        ...


class KeyStore(Protocol):
    """Rows of keys. Their secrets never get here."""

    async def add(self, key: Key, deed: Deed) -> None: ...

    async def find(self, prefix: str) -> Key | None:
        """The key with this prefix, revoked or not."""
        ...

    async def get(self, account: str, key_id: str) -> Key | None: ...

    async def list(self, account: str) -> Sequence[Key]:
        """The account's keys, oldest first, revoked ones among them."""
        ...

    async def revoke(self, account: str, key_id: str, deed: Deed) -> Key | None:
        """Revoke at ``deed.at``, unless that was done; the key, None where there is none."""
        ...

    async def touch(self, key_id: str, now: float) -> None:
        """Note that the key was used. A power cut may undo it."""
        ...


class AuditStore(Protocol):
    """The audit log. Entries are never changed and never deleted."""

    async def add(self, deed: Deed) -> None: ...

    async def list(self, account: str, *, limit: int, after: str | None = None) -> Page[Deed]:
        """The account's entries, newest first; raises CursorUnknown."""
        ...
