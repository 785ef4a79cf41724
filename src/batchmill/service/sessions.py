"""Sessions of people in a browser: begun with a key, carried in a signed ticket, ended with it.

Nothing of a session is stored: the ticket says which key began it and until
when, and the key is looked up on every request, so that a revoked one ends
its sessions at once. Without keys whoever comes is the operator.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from secrets import token_urlsafe
from typing import Final

import msgspec

from batchmill.domain.account import Role, Workspace
from batchmill.domain.errors import NotFound, Unidentified
from batchmill.domain.rates import RateRule
from batchmill.ports import Clock, Store
from batchmill.service.caller import Caller
from batchmill.service.deeds import deed_of
from batchmill.service.identity import Identity
from batchmill.service.refusals import is_plausible_id, shorten
from batchmill.service.throttle import Throttle

SECRET_BYTES: Final = 32

_TICKET, _FORM = b"ticket.", b"form."
_MAX_TICKET: Final = 2_048


class Session(msgspec.Struct, frozen=True):
    """What a ticket says. ``key_id`` None: no key was asked for.

    ``workspace`` None is the key's own; ``expires_at`` is Unix seconds.
    """

    nonce: str
    expires_at: float
    account: str | None = None
    key_id: str | None = None
    workspace: str | None = None


_decode = msgspec.json.Decoder(Session).decode
# Who comes to a server without keys has a session from the start, which never ends.
_OPEN = Session("", float(2**53))


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is there: ``caller`` as they act in the workspace that they entered.

    ``rooms`` are the workspaces that they may enter, ``room`` the one they are in.
    """

    caller: Caller
    session: Session
    room: Workspace
    rooms: Sequence[Workspace]


class Sessions:
    """The use-cases of sessions. ``ttl`` is seconds; ``secret`` signs what a browser is handed."""

    def __init__(
        self,
        *,
        identity: Identity | None,
        throttle: Throttle,
        store: Store,
        clock: Clock,
        secret: bytes,
        ttl: int,
    ) -> None:
        self._identity = identity
        self._throttle = throttle
        self._store = store
        self._clock = clock
        self._secret = secret
        self._ttl = ttl

    @property
    def needs_key(self) -> bool:
        """Whether a session begins with a key at all."""
        return self._identity is not None

    @property
    def ttl(self) -> int:
        """How long a session lasts, in seconds."""
        return self._ttl

    async def sign_in(self, secret: str, address: str) -> str:
        """The ticket of a new session; raises Unidentified, and RateLimited by ``address``."""
        await self._throttle.admit_name(f"sign-in from {address}", RateRule.SIGN_IN)
        if self._identity is None:
            return self._sign(_OPEN)
        caller = await self._identity.identify(secret.strip())
        now = self._clock.now()
        deed = deed_of(caller, "session.started", caller.key_id or "", now)
        await self._store.audit.add(deed)
        session = Session(token_urlsafe(18), now + self._ttl, caller.account, caller.key_id)
        return self._sign(session)

    async def resume(self, ticket: str | None) -> Visitor:
        """Who holds the ticket; raises Unidentified for one that is not, or no longer, good."""
        session = self._read(ticket)
        if self._identity is None:
            home = Caller()
        elif session is None or session.key_id is None or session.account is None:
            raise _signed_out()
        else:
            home = await self._identity.recognize(session.account, session.key_id)
        return await self._visitor(home, session or _OPEN)

    async def enter(self, visitor: Visitor, workspace: str) -> str:
        """The ticket of the same session in another workspace; raises NotFound."""
        if not is_plausible_id(workspace) or all(one.id != workspace for one in visitor.rooms):
            message = f"No workspace found with id '{shorten(workspace)}'."
            raise NotFound(message, param="workspace")
        return self._sign(msgspec.structs.replace(visitor.session, workspace=workspace))

    def form_token(self, session: Session) -> str:
        """What the session's forms must carry, so that no other site's can act in its name."""
        return self._seal(_FORM + session.nonce.encode())

    def is_form_token(self, session: Session, token: str) -> bool:
        """Whether ``token`` is the session's own, compared in constant time."""
        return hmac.compare_digest(self.form_token(session).encode(), token.encode())

    async def _visitor(self, home: Caller, session: Session) -> Visitor:
        """An admin may enter every workspace of the account; others stay in their key's."""
        listed = await self._store.workspaces.list(home.account)
        roams = home.role is Role.ADMIN and home.is_default_workspace
        rooms = [one for one in listed if roams or one.id == home.workspace]
        wanted = session.workspace or home.workspace
        room = next((one for one in rooms if one.id == wanted), None)
        if room is None:
            raise _signed_out()
        caller = replace(home, workspace=room.id, is_default_workspace=room.is_default)
        return Visitor(caller, session, room, rooms)

    def _sign(self, session: Session) -> str:
        body = urlsafe_b64encode(msgspec.json.encode(session)).rstrip(b"=")
        return f"{body.decode()}.{self._seal(_TICKET + body)}"

    def _read(self, ticket: str | None) -> Session | None:
        """What a good ticket says; None for one that is forged, over, or not there."""
        if not ticket or len(ticket) > _MAX_TICKET:
            return None
        body, _, seal = ticket.partition(".")
        is_ours = hmac.compare_digest(seal.encode(), self._seal(_TICKET + body.encode()).encode())
        if not is_ours:
            return None
        session = _decode(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return session if self._clock.now() < session.expires_at else None

    def _seal(self, text: bytes) -> str:
        return hmac.digest(self._secret, text, "sha256").hex()


def _signed_out() -> Unidentified:
    return Unidentified("The session is over: sign in again.", code="session_over")
