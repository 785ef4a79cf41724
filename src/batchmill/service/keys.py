"""Keys: made, listed, revoked. A secret leaves here once, in the answer to its making."""

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_bytes, token_hex

from batchmill.domain.account import (
    KEY_ENTROPY,
    OPERATOR,
    Key,
    Role,
    Workspace,
    digest_of,
    make_secret,
    prefix_of,
)
from batchmill.domain.errors import Conflict, InvalidRequest, NotFound
from batchmill.ports import Clock, Store
from batchmill.service.accounts import account_for, check_name, in_account
from batchmill.service.caller import Caller
from batchmill.service.deeds import deed_of
from batchmill.service.identity import is_usable_admin
from batchmill.service.refusals import is_plausible_id, require_text, require_within, shorten

_MAX_MODELS = 100
_MAX_MODEL_CHARS = 200
_MAX_SECONDS = 100 * 366 * 86_400


@dataclass(frozen=True, slots=True)
class KeySpec:
    """What is asked for. ``expires_in`` is seconds; ``account`` and ``workspace`` None: the own.

    ``models`` None allows all; ``expires_at`` is Unix seconds.
    """

    name: str
    role: Role = Role.MEMBER
    account: str | None = None
    workspace: str | None = None
    models: tuple[str, ...] | None = None
    expires_at: int | None = None
    expires_in: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class NewKey:
    """A key with its secret, which nobody can ask for again."""

    key: Key
    secret: str


class Keys:
    """The use-cases of keys."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(self, caller: Caller, spec: KeySpec) -> NewKey:
        """Make a key; raises InvalidRequest, and NotFound for another's account or workspace."""
        now = self._clock.now()
        check_name(spec.name)
        expires_at = _expiry(spec, now)
        account = await account_for(caller, spec.account, self._store)
        workspace = await self._workspace(account, spec.workspace)
        _check_role(spec, workspace)
        _check_models(spec, workspace)
        secret = make_secret(token_bytes(KEY_ENTROPY))
        key = Key(
            id=f"key_{token_hex(12)}",
            account=account,
            workspace=workspace.id,
            name=spec.name,
            role=spec.role,
            prefix=prefix_of(secret) or "",
            digest=digest_of(secret),
            created_at=now,
            models=spec.models,
            expires_at=expires_at,
        )
        detail = f"{key.name}, {key.role}, {key.workspace}"
        deed = deed_of(caller, "key.created", key.id, now, detail=detail)
        await self._store.keys.add(key, in_account(deed, account))
        return NewKey(key, secret)

    async def list(self, caller: Caller, account: str | None = None) -> Sequence[Key]:
        """The account's keys, oldest first; raises NotFound for another's account."""
        return await self._store.keys.list(await account_for(caller, account, self._store))

    async def retrieve(self, caller: Caller, key_id: str, account: str | None = None) -> Key:
        """The key; raises NotFound."""
        owner = await account_for(caller, account, self._store)
        return await self._get(owner, key_id)

    async def revoke(self, caller: Caller, key_id: str, account: str | None = None) -> Key:
        """Revoke, from the next request on; one that is revoked stays as it is.

        Raises NotFound, and Conflict where the caller would be the last to
        get in: a key that is used over HTTP cannot revoke its account's last
        usable admin key.
        """
        owner = await account_for(caller, account, self._store)
        key = await self._get(owner, key_id)
        now = self._clock.now()
        if caller.key_id is not None and caller.account == owner:
            await self._refuse_last(key, now)
        deed = deed_of(caller, "key.revoked", key.id, now, detail=key.name)
        return await self._store.keys.revoke(owner, key.id, in_account(deed, owner)) or key

    async def can_administer(self) -> bool:
        """Whether there is a key that administers this server."""
        now = self._clock.now()
        return any(is_usable_admin(key, now) for key in await self._store.keys.list(OPERATOR))

    async def _get(self, account: str, key_id: str) -> Key:
        key = await self._store.keys.get(account, key_id) if is_plausible_id(key_id) else None
        if key is None:
            raise NotFound(f"No key found with id '{shorten(key_id)}'.", param="key_id")
        return key

    async def _workspace(self, account: str, named: str | None) -> Workspace:
        """The one that is named, else the account's default one."""
        if named is None:
            listed = await self._store.workspaces.list(account)
            return next(one for one in listed if one.is_default)
        plausible = is_plausible_id(named)
        found = await self._store.workspaces.get(account, named) if plausible else None
        if found is None:
            message = f"No workspace found with id '{shorten(named)}'."
            raise NotFound(message, param="workspace")
        return found

    async def _refuse_last(self, key: Key, now: float) -> None:
        others = (one for one in await self._store.keys.list(key.account) if one.id != key.id)
        if is_usable_admin(key, now) and not any(is_usable_admin(one, now) for one in others):
            message = (
                f"Key '{key.id}' is the last usable admin key of its account: make another first, "
                "or revoke it on the server's machine with 'batchmill keys revoke'."
            )
            raise Conflict(message, param="key_id", code="last_admin_key")


def _expiry(spec: KeySpec, now: float) -> float | None:
    if spec.expires_in is not None and spec.expires_at is not None:
        message = "Send 'expires_at' or 'expires_in', not both."
        raise InvalidRequest(message, param="expires_in", code="invalid_value")
    if spec.expires_in is not None:
        require_within(spec.expires_in, low=1, high=_MAX_SECONDS, param="expires_in")
        return now + spec.expires_in
    if spec.expires_at is not None:
        soonest = int(now) + 1
        require_within(
            spec.expires_at, low=soonest, high=soonest + _MAX_SECONDS, param="expires_at"
        )
    return spec.expires_at


def _check_role(spec: KeySpec, workspace: Workspace) -> None:
    """An admin sees to the whole account: there is none of a single room of it."""
    if spec.role is Role.ADMIN and not workspace.is_default:
        message = (
            "Invalid 'role': an admin key belongs to its account's default workspace; leave "
            "'workspace' out, or give the key another role."
        )
        raise InvalidRequest(message, param="role", code="invalid_value")


def _check_models(spec: KeySpec, workspace: Workspace) -> None:
    """Refuse a choice of models where a key has them all."""
    if spec.models is None:
        return
    if workspace.is_default:
        reason = "keys of the default workspace can call every model; name another workspace"
        raise _bad_models(reason)
    if not 1 <= len(spec.models) <= _MAX_MODELS:
        raise _bad_models(f"name 1 to {_MAX_MODELS} models, or leave it out for all of them")
    for model in spec.models:
        require_text(model, low=1, high=_MAX_MODEL_CHARS, param="models")


def _bad_models(reason: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid 'models': {reason}.", param="models", code="invalid_value")
