"""Who asks: accounts, their workspaces, and the keys that open them.

An account is billed and owns files and batches; a workspace is a room in it;
a key belongs to a workspace. The account ``OPERATOR`` is the one of whoever
runs the server: its admin keys make other accounts.
"""

import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

OPERATOR = "default"
OPERATOR_WORKSPACE = "ws_default"
KEY_MARK = "sk-bm-"

_PREFIX_BYTES = 6
_SECRET_BYTES = 32
KEY_ENTROPY = _PREFIX_BYTES + _SECRET_BYTES


class Role(StrEnum):
    """What a key may do: everything in its account, its work, or look on."""

    ADMIN = "admin"
    MEMBER = "member"
    READ_ONLY = "read-only"


@dataclass(frozen=True, slots=True)
class Account:
    """One who is billed."""

    id: str
    name: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Workspace:
    """A room of an account, with keys and a bill of its own."""

    id: str
    account: str
    name: str
    is_default: bool
    created_at: float


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key: never its secret.

    ``prefix`` is its public beginning, by which it is found and listed;
    ``digest`` the SHA-256 of the whole key in hex. ``models`` None allows all.
    """

    id: str
    account: str
    workspace: str
    name: str
    role: Role
    prefix: str
    digest: str
    created_at: float
    models: tuple[str, ...] | None = None
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None

    def is_usable(self, now: float) -> bool:
        """Whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def matches(self, secret: str) -> bool:
        """Whether ``secret`` is this key, compared in constant time."""
        return hmac.compare_digest(self.digest, digest_of(secret))


def make_secret(entropy: bytes) -> str:
    """A whole key of ``KEY_ENTROPY`` random bytes: its mark, a public part, a secret part."""
    public, secret = entropy[:_PREFIX_BYTES], entropy[_PREFIX_BYTES:KEY_ENTROPY]
    return f"{KEY_MARK}{_text(public)}-{_text(secret)}"


def prefix_of(secret: str) -> str | None:
    """The public beginning of a key, or None for what cannot be one of ours."""
    size = len(KEY_MARK) + len(_text(bytes(_PREFIX_BYTES)))
    if not secret.startswith(KEY_MARK) or secret[size : size + 1] != "-" or not secret.isascii():
        return None
    return secret[:size]


def digest_of(secret: str) -> str:
    """The SHA-256 of a key in hex. Its 256 random bits need no salt and no slow hash."""
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Deed:
    """An entry of the audit log: who did what to which thing, and when.

    ``actor`` is a key's id, or ``machine`` for who sits at it, or ``anyone``
    on a server without keys. ``detail`` holds names and figures, no content.
    """

    id: str
    account: str
    actor: str
    action: str
    target: str
    at: float
    detail: str = ""
