"""Accounts, workspaces, keys and the audit log as clients see them."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from batchmill.api.wire.shape import Shape, ends_of, seconds_of
from batchmill.domain.account import Account, Deed, Key, Workspace
from batchmill.ports import Page
from batchmill.service.keys import NewKey

RoleName = Literal["admin", "member", "read-only"]


class CreateAccount(Shape):
    """The body of `POST /admin/accounts`."""

    name: str = Field(description="1 to 100 printable characters.")


class CreateWorkspace(Shape):
    """The body of `POST /admin/workspaces`."""

    name: str = Field(description="1 to 100 printable characters.")
    account: str | None = Field(default=None, description="The key's own if absent.")


class CreateKey(Shape):
    """The body of `POST /admin/keys`."""

    name: str = Field(description="1 to 100 printable characters.")
    role: RoleName = Field(default="member", description="What the key may do.")
    account: str | None = Field(default=None, description="The caller's own if absent.")
    workspace: str | None = Field(
        default=None, description="The account's default workspace if absent."
    )
    models: list[str] | None = Field(
        default=None,
        description="The only models that the key may call; all if absent. Not for keys of the "
        "default workspace, to which admin keys belong.",
    )
    expires_at: int | None = Field(default=None, description="Unix seconds; never if absent.")
    expires_in: int | None = Field(default=None, description="The same, in seconds from now.")


class AccountObject(Shape):
    """An account."""

    id: str
    object: Literal["admin.account"] = "admin.account"
    name: str
    created_at: int


class WorkspaceObject(Shape):
    """A workspace."""

    id: str
    object: Literal["admin.workspace"] = "admin.workspace"
    account: str
    name: str
    is_default: bool
    created_at: int


class KeyObject(Shape):
    """A key, without its secret; `prefix` is its public beginning."""

    id: str
    object: Literal["admin.key"] = "admin.key"
    account: str
    workspace: str
    name: str
    role: RoleName
    prefix: str
    models: list[str] | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None


class NewKeyObject(KeyObject):
    """A key that was just made; `key` is its secret, which is shown this once."""

    key: str


class AuditEntry(Shape):
    """Who did what to which thing, and when."""

    id: str
    object: Literal["admin.audit_entry"] = "admin.audit_entry"
    account: str
    actor: str = Field(description="A key's id, `machine`, or `anyone` on a server without keys.")
    action: str
    target: str
    detail: str
    created_at: int


class AccountList(Shape):
    """All accounts, oldest first."""

    object: Literal["list"] = "list"
    data: list[AccountObject]
    first_id: str | None
    last_id: str | None
    has_more: Literal[False] = False


class WorkspaceList(Shape):
    """The workspaces of an account, oldest first."""

    object: Literal["list"] = "list"
    data: list[WorkspaceObject]
    first_id: str | None
    last_id: str | None
    has_more: Literal[False] = False


class KeyList(Shape):
    """The keys of an account, oldest first, revoked ones among them."""

    object: Literal["list"] = "list"
    data: list[KeyObject]
    first_id: str | None
    last_id: str | None
    has_more: Literal[False] = False


class AuditList(Shape):
    """A page of the audit log, newest first."""

    object: Literal["list"] = "list"
    data: list[AuditEntry]
    first_id: str | None
    last_id: str | None
    has_more: bool


def account_object(account: Account) -> AccountObject:
    """An account as clients see it."""
    return AccountObject(id=account.id, name=account.name, created_at=int(account.created_at))


def account_list(accounts: Sequence[Account]) -> AccountList:
    """The accounts as clients see them."""
    data = [account_object(account) for account in accounts]
    first, last = ends_of(one.id for one in data)
    return AccountList(data=data, first_id=first, last_id=last)


def workspace_object(workspace: Workspace) -> WorkspaceObject:
    """A workspace as clients see it."""
    return WorkspaceObject(
        id=workspace.id,
        account=workspace.account,
        name=workspace.name,
        is_default=workspace.is_default,
        created_at=int(workspace.created_at),
    )


def workspace_list(workspaces: Sequence[Workspace]) -> WorkspaceList:
    """The workspaces as clients see them."""
    data = [workspace_object(workspace) for workspace in workspaces]
    first, last = ends_of(one.id for one in data)
    return WorkspaceList(data=data, first_id=first, last_id=last)


def key_object(key: Key) -> KeyObject:
    """A key as clients see it."""
    return KeyObject(
        id=key.id,
        account=key.account,
        workspace=key.workspace,
        name=key.name,
        role=key.role.value,
        prefix=key.prefix,
        models=None if key.models is None else list(key.models),
        created_at=int(key.created_at),
        expires_at=seconds_of(key.expires_at),
        revoked_at=seconds_of(key.revoked_at),
        last_used_at=seconds_of(key.last_used_at),
    )


def new_key_object(made: NewKey) -> NewKeyObject:
    """A new key with its secret."""
    return NewKeyObject(**key_object(made.key).model_dump(), key=made.secret)


def key_list(keys: Sequence[Key]) -> KeyList:
    """The keys as clients see them."""
    data = [key_object(key) for key in keys]
    first, last = ends_of(one.id for one in data)
    return KeyList(data=data, first_id=first, last_id=last)


def audit_list(page: Page[Deed]) -> AuditList:
    """A page of the audit log as clients see it."""
    data = [_entry(deed) for deed in page.items]
    first, last = ends_of(one.id for one in data)
    return AuditList(data=data, first_id=first, last_id=last, has_more=page.has_more)


def _entry(deed: Deed) -> AuditEntry:
    return AuditEntry(
        id=deed.id,
        account=deed.account,
        actor=deed.actor,
        action=deed.action,
        target=deed.target,
        detail=deed.detail,
        created_at=int(deed.at),
    )
