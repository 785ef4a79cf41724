"""Administration over HTTP: accounts, workspaces, keys, the audit log."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from batchmill.api import faults, samples, wire
from batchmill.api.bodies import read_json
from batchmill.api.docs import Success, json_body, operation
from batchmill.api.doorkeeper import caller_of
from batchmill.api.routes import add_get, given
from batchmill.domain.account import Role
from batchmill.door.access import Access
from batchmill.door.bodies import Patience
from batchmill.service.administration import Administration
from batchmill.service.keys import KeySpec

_MAX_PAGE: Final = 100
_PAGE: Final = 20

AccountQuery = Annotated[
    str | None, Query(description="Whose; the caller's own if absent. For the operator's admins.")
]


class AdminRoutes:
    """The operations of administration."""

    def __init__(self, admin: Administration, *, patience: Patience) -> None:
        self._admin = admin
        self._patience = patience

    def router(self, base: str) -> APIRouter:
        """The routes below ``base``."""
        router = APIRouter(prefix=base, tags=["Administration"])
        accounts, workspaces, keys = "/admin/accounts", "/admin/workspaces", "/admin/keys"
        one = f"{keys}/{{key_id}}"
        router.add_api_route(accounts, self.create_account, methods=["POST"], **_CREATE_ACCOUNT)
        add_get(router, accounts, self.list_accounts, **_LIST_ACCOUNTS)
        router.add_api_route(
            workspaces, self.create_workspace, methods=["POST"], **_CREATE_WORKSPACE
        )
        add_get(router, workspaces, self.list_workspaces, **_LIST_WORKSPACES)
        router.add_api_route(keys, self.create_key, methods=["POST"], **_CREATE_KEY)
        add_get(router, keys, self.list_keys, **_LIST_KEYS)
        add_get(router, one, self.retrieve_key, **_RETRIEVE_KEY)
        router.add_api_route(f"{one}/revoke", self.revoke_key, methods=["POST"], **_REVOKE_KEY)
        add_get(router, "/admin/audit", self.list_audit, **_LIST_AUDIT)
        return router

    async def create_account(self, request: Request) -> Response:
        """Make an account."""
        body = await read_json(request, wire.CreateAccount, self._patience)
        account = await self._admin.accounts.create(caller_of(request), body.name)
        return wire.answer(wire.account_object(account))

    async def list_accounts(self) -> Response:
        """Every account."""
        return wire.answer(wire.account_list(await self._admin.accounts.list()))

    async def create_workspace(self, request: Request) -> Response:
        """Make a workspace."""
        body = await read_json(request, wire.CreateWorkspace, self._patience)
        workspaces = self._admin.workspaces
        made = await workspaces.create(caller_of(request), body.name, body.account)
        return wire.answer(wire.workspace_object(made))

    async def list_workspaces(self, request: Request, account: AccountQuery = None) -> Response:
        """The workspaces of an account."""
        listed = await self._admin.workspaces.list(caller_of(request), given(account, "account"))
        return wire.answer(wire.workspace_list(listed))

    async def create_key(self, request: Request) -> Response:
        """Make a key."""
        body = await read_json(request, wire.CreateKey, self._patience)
        spec = KeySpec(
            name=body.name,
            role=Role(body.role),
            account=body.account,
            workspace=body.workspace,
            models=None if body.models is None else tuple(body.models),
            expires_at=body.expires_at,
            expires_in=body.expires_in,
        )
        made = await self._admin.keys.create(caller_of(request), spec)
        return wire.answer(wire.new_key_object(made))

    async def list_keys(self, request: Request, account: AccountQuery = None) -> Response:
        """The keys of an account."""
        listed = await self._admin.keys.list(caller_of(request), given(account, "account"))
        return wire.answer(wire.key_list(listed))

    async def retrieve_key(
        self, request: Request, key_id: str, account: AccountQuery = None
    ) -> Response:
        """One key."""
        owner = given(account, "account")
        key = await self._admin.keys.retrieve(caller_of(request), key_id, owner)
        return wire.answer(wire.key_object(key))

    async def revoke_key(
        self, request: Request, key_id: str, account: AccountQuery = None
    ) -> Response:
        """Shut a key out."""
        owner = given(account, "account")
        key = await self._admin.keys.revoke(caller_of(request), key_id, owner)
        return wire.answer(wire.key_object(key))

    async def list_audit(
        self,
        request: Request,
        after: Annotated[str | None, Query(description="The last id of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = _PAGE,
        account: AccountQuery = None,
    ) -> Response:
        """A page of what was done."""
        page = await self._admin.audit.list(
            caller_of(request),
            limit=limit,
            after=given(after, "after"),
            account=given(account, "account"),
        )
        return wire.answer(wire.audit_list(page))


_CREATE_ACCOUNT: dict[str, Any] = operation(
    "createAccount",
    "Create an account",
    "Makes an account with a default workspace. For the operator's admins alone.",
    access=Access.OPERATOR,
    success=[Success("The account.", wire.AccountObject, {"account": samples.ACCOUNT})],
    errors=[faults.BAD_JSON, faults.BAD_NAME, faults.STALLED, faults.DISK_FULL],
    body=json_body(wire.CreateAccount, samples.NEW_ACCOUNT),
)
_LIST_ACCOUNTS: dict[str, Any] = operation(
    "listAccounts",
    "List accounts",
    "Every account, oldest first. For the operator's admins alone.",
    access=Access.OPERATOR,
    success=[Success("The accounts.", wire.AccountList, {"accounts": samples.ACCOUNTS})],
)
_CREATE_WORKSPACE: dict[str, Any] = operation(
    "createWorkspace",
    "Create a workspace",
    "Makes a room in an account, with keys and a bill of its own.",
    access=Access.ADMIN,
    success=[Success("The workspace.", wire.WorkspaceObject, {"workspace": samples.WORKSPACE})],
    errors=[
        faults.BAD_JSON,
        faults.BAD_NAME,
        faults.ACCOUNT_UNKNOWN,
        faults.STALLED,
        faults.DISK_FULL,
    ],
    body=json_body(wire.CreateWorkspace, samples.NEW_WORKSPACE),
)
_LIST_WORKSPACES: dict[str, Any] = operation(
    "listWorkspaces",
    "List workspaces",
    "Every workspace of an account, oldest first.",
    access=Access.ADMIN,
    success=[Success("The workspaces.", wire.WorkspaceList, {"workspaces": samples.WORKSPACES})],
    errors=[faults.BAD_ACCOUNT, faults.ACCOUNT_UNKNOWN],
)
_CREATE_KEY: dict[str, Any] = operation(
    "createKey",
    "Create a key",
    "Makes a key. The answer holds its secret in `key`: it is kept nowhere and shown this once.",
    access=Access.ADMIN,
    success=[Success("The key.", wire.NewKeyObject, {"key": samples.NEW_KEY_MADE})],
    errors=[
        faults.BAD_JSON,
        faults.BAD_NAME,
        faults.BAD_MODELS,
        faults.ACCOUNT_UNKNOWN,
        faults.WORKSPACE_UNKNOWN,
        faults.STALLED,
        faults.DISK_FULL,
    ],
    body=json_body(wire.CreateKey, samples.NEW_KEY),
)
_LIST_KEYS: dict[str, Any] = operation(
    "listKeys",
    "List keys",
    "Every key of an account, oldest first, revoked and expired ones among them.",
    access=Access.ADMIN,
    success=[Success("The keys.", wire.KeyList, {"keys": samples.KEYS})],
    errors=[faults.BAD_ACCOUNT, faults.ACCOUNT_UNKNOWN],
)
_RETRIEVE_KEY: dict[str, Any] = operation(
    "retrieveKey",
    "Retrieve a key",
    "One key by its id. Its secret is not kept and cannot be shown.",
    access=Access.ADMIN,
    success=[Success("The key.", wire.KeyObject, {"key": samples.KEY})],
    errors=[faults.BAD_ACCOUNT, faults.ACCOUNT_UNKNOWN, faults.API_KEY_UNKNOWN],
)
_REVOKE_KEY: dict[str, Any] = operation(
    "revokeKey",
    "Revoke a key",
    "Shuts a key out from the next request on, in every process. A key may revoke itself; the "
    "last usable admin key of the caller's own account is left to `batchmill keys revoke`. What a "
    "key began goes on. A revoked key stays as it is, and stays in the list.",
    access=Access.ADMIN,
    success=[Success("The key.", wire.KeyObject, {"revoked": samples.KEY_REVOKED})],
    errors=[
        faults.BAD_ACCOUNT,
        faults.ACCOUNT_UNKNOWN,
        faults.API_KEY_UNKNOWN,
        faults.LAST_ADMIN_KEY,
        faults.DISK_FULL,
    ],
)
_LIST_AUDIT: dict[str, Any] = operation(
    "listAudit",
    "Read the audit log",
    "Who created, revoked, cancelled, changed and deleted what: a page, newest first. What the "
    "operator does in another account stands in that account's log.",
    access=Access.ADMIN,
    success=[Success("A page.", wire.AuditList, {"entries": samples.AUDIT})],
    errors=[faults.BAD_LIMIT, faults.BAD_ACCOUNT, faults.ACCOUNT_UNKNOWN, faults.AUDIT_UNKNOWN],
)
