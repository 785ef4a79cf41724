"""Rows of accounts, workspaces and keys, each written together with its audit entry.

Keys are found by their public prefix. What lies here of a secret is its digest.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import RowMapping, bindparam, insert, or_, select, update

from batchmill.domain.account import Account, Deed, Key, Role, Workspace
from batchmill.store.audit import insert_deed
from batchmill.store.database import Database
from batchmill.store.tables import accounts, api_keys, workspaces


class SqlAccounts:
    """See the port AccountStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, account: Account, workspace: Workspace, deed: Deed) -> None:
        """Store an account with its default workspace."""
        row = {"id": account.id, "name": account.name, "created_at": account.created_at}
        async with self._database.write() as connection:
            await connection.execute(insert(accounts), [row])
            await connection.execute(insert(workspaces), [_workspace_row(workspace)])
            await insert_deed(connection, deed)

    async def get(self, account_id: str) -> Account | None:
        """The account."""
        chosen = select(accounts).where(accounts.c.id == account_id)
        async with self._database.read() as connection:
            row = (await connection.execute(chosen)).mappings().one_or_none()
        return None if row is None else _account_of(row)

    async def list(self) -> Sequence[Account]:
        """All accounts, oldest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(accounts).order_by(accounts.c.seq))
        return [_account_of(row) for row in rows.mappings()]


class SqlWorkspaces:
    """See the port WorkspaceStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, workspace: Workspace, deed: Deed) -> None:
        """Store a workspace."""
        async with self._database.write() as connection:
            await connection.execute(insert(workspaces), [_workspace_row(workspace)])
            await insert_deed(connection, deed)

    async def get(self, account: str, workspace_id: str) -> Workspace | None:
        """The workspace, if it is the account's."""
        own = (workspaces.c.account == account, workspaces.c.id == workspace_id)
        async with self._database.read() as connection:
            chosen = await connection.execute(select(workspaces).where(*own))
            row = chosen.mappings().one_or_none()
        return None if row is None else _workspace_of(row)

    async def list(self, account: str) -> Sequence[Workspace]:
        """The account's workspaces, oldest first."""
        own = select(workspaces).where(workspaces.c.account == account)
        async with self._database.read() as connection:
            rows = await connection.execute(own.order_by(workspaces.c.seq))
        return [_workspace_of(row) for row in rows.mappings()]


# Built once: every request asks it, and building it takes longer than running it.
_WITH_PREFIX = select(api_keys).where(api_keys.c.prefix == bindparam("with_prefix"))


class SqlKeys:
    """See the port KeyStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: Key, deed: Deed) -> None:
        """Store a key."""
        async with self._database.write() as connection:
            await connection.execute(insert(api_keys), [_key_row(key)])
            await insert_deed(connection, deed)

    async def find(self, prefix: str) -> Key | None:
        """The key with this prefix, revoked or not."""
        async with self._database.read() as connection:
            chosen = await connection.execute(_WITH_PREFIX, {"with_prefix": prefix})
            row = chosen.mappings().one_or_none()
        return None if row is None else _key_of(row)

    async def get(self, account: str, key_id: str) -> Key | None:
        """The key, if it is the account's."""
        async with self._database.read() as connection:
            chosen = await connection.execute(select(api_keys).where(*_own(account, key_id)))
            row = chosen.mappings().one_or_none()
        return None if row is None else _key_of(row)

    async def list(self, account: str) -> Sequence[Key]:
        """The account's keys, oldest first, revoked ones among them."""
        own = select(api_keys).where(api_keys.c.account == account)
        async with self._database.read() as connection:
            rows = await connection.execute(own.order_by(api_keys.c.seq))
        return [_key_of(row) for row in rows.mappings()]

    async def revoke(self, account: str, key_id: str, deed: Deed) -> Key | None:
        """Revoke at ``deed.at``, unless that was done; the key, None where there is none."""
        own = _own(account, key_id)
        revoking = update(api_keys).where(*own, api_keys.c.revoked_at.is_(None))
        async with self._database.write() as connection:
            revoked = await connection.execute(revoking.values(revoked_at=deed.at))
            if revoked.rowcount:
                await insert_deed(connection, deed)
            chosen = await connection.execute(select(api_keys).where(*own))
            row = chosen.mappings().one_or_none()
        return None if row is None else _key_of(row)

    async def touch(self, key_id: str, now: float) -> None:
        """Note that the key was used. A power cut may undo it."""
        used = api_keys.c.last_used_at
        is_news = (api_keys.c.id == key_id, or_(used.is_(None), used < now))
        async with self._database.relaxed() as connection:
            await connection.execute(update(api_keys).where(*is_news).values(last_used_at=now))


def _own(account: str, key_id: str) -> tuple[Any, Any]:
    return api_keys.c.account == account, api_keys.c.id == key_id


def _account_of(row: RowMapping) -> Account:
    return Account(id=row["id"], name=row["name"], created_at=row["created_at"])


def _workspace_of(row: RowMapping) -> Workspace:
    return Workspace(
        id=row["id"],
        account=row["account"],
        name=row["name"],
        is_default=bool(row["is_default"]),
        created_at=row["created_at"],
    )


def _workspace_row(workspace: Workspace) -> dict[str, Any]:
    return {
        "id": workspace.id,
        "account": workspace.account,
        "name": workspace.name,
        "is_default": int(workspace.is_default),
        "created_at": workspace.created_at,
    }


def _key_of(row: RowMapping) -> Key:
    models = row["models"]
    return Key(
        id=row["id"],
        account=row["account"],
        workspace=row["workspace"],
        name=row["name"],
        role=Role(row["role"]),
        prefix=row["prefix"],
        digest=row["digest"],
        created_at=row["created_at"],
        models=None if models is None else tuple(json.loads(models)),
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
    )


def _key_row(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "account": key.account,
        "workspace": key.workspace,
        "name": key.name,
        "role": key.role.value,
        "prefix": key.prefix,
        "digest": key.digest,
        "models": None if key.models is None else json.dumps(key.models),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }
