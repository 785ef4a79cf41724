"""Who a secret belongs to. Asked of the database on every request: no key is ever remembered.

Whatever is wrong with a secret, the answer is the same and takes as long: it
does not tell a revoked key from one that never was.
"""

import hmac

from batchmill.domain.account import Key, Role, digest_of, prefix_of
from batchmill.domain.errors import StorageFull, Unidentified
from batchmill.ports import Clock, KeyStore, Store, WorkspaceStore
from batchmill.service.caller import Caller
from batchmill.telemetry import Fact, get_logger

_log = get_logger()

_TOUCH_SECONDS = 60.0
# What a secret is held against where there is no key of its prefix: no secret has this digest.
_NO_DIGEST = "0" * 64


class Identity:
    """Keys looked up for the door."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._keys: KeyStore = store.keys
        self._workspaces: WorkspaceStore = store.workspaces
        self._clock = clock
        self._touched: dict[str, float] = {}
        # Whether a workspace is its account's default one never changes.
        self._defaults: dict[str, bool] = {}

    async def identify(self, secret: str | None) -> Caller:
        """The caller who holds ``secret``; raises Unidentified."""
        now = self._clock.now()
        key = await self._find(secret or "")
        if key is None or not key.is_usable(now):
            raise _unidentified()
        return await self._admit(key, now)

    async def recognize(self, account: str, key_id: str) -> Caller:
        """The caller whose key was seen before; raises Unidentified where it no longer opens."""
        now = self._clock.now()
        key = await self._keys.get(account, key_id)
        if key is None or not key.is_usable(now):
            raise _unidentified()
        return await self._admit(key, now)

    async def _admit(self, key: Key, now: float) -> Caller:
        await self._touch(key, now)
        return Caller(
            account=key.account,
            workspace=key.workspace,
            role=key.role,
            key_id=key.id,
            models=None if key.models is None else frozenset(key.models),
            is_default_workspace=await self._is_default(key),
            actor=key.id,
        )

    async def _find(self, secret: str) -> Key | None:
        prefix = prefix_of(secret)
        key = None if prefix is None else await self._keys.find(prefix)
        if key is None:
            hmac.compare_digest(_NO_DIGEST, digest_of(secret))
            return None
        return key if key.matches(secret) else None

    async def _touch(self, key: Key, now: float) -> None:
        """Note the use, at most once a minute a key; a full disk must not shut readers out."""
        last = max(key.last_used_at or 0.0, self._touched.get(key.id, 0.0))
        if now - last < _TOUCH_SECONDS:
            return
        self._touched[key.id] = now
        try:
            await self._keys.touch(key.id, now)
        except StorageFull:
            _log.warning(Fact.STORAGE_FULL, reason="the last use of a key was not noted")

    async def _is_default(self, key: Key) -> bool:
        known = self._defaults.get(key.workspace)
        if known is None:
            workspace = await self._workspaces.get(key.account, key.workspace)
            known = workspace is not None and workspace.is_default
            self._defaults[key.workspace] = known
        return known


def is_usable_admin(key: Key, now: float) -> bool:
    """Whether the key opens everything in its account now."""
    return key.role is Role.ADMIN and key.is_usable(now)


def _unidentified() -> Unidentified:
    message = (
        "Incorrect API key provided. Send 'Authorization: Bearer' and a key of this server "
        "that is neither revoked nor expired."
    )
    return Unidentified(message, code="invalid_api_key")
