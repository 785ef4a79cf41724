"""Who may use an operation: what each asks of its caller, and whether a caller's role suffices."""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final

from batchmill.domain.account import OPERATOR, Role
from batchmill.domain.errors import Forbidden
from batchmill.service.caller import Caller


class Access(StrEnum):
    """What an operation asks of its caller."""

    OPEN = "open"  # nothing, not even a key
    READ = "read"  # any role
    WRITE = "write"  # a member or an admin
    ADMIN = "admin"  # an admin of the account
    OPERATOR = "operator"  # an admin of the operator's account
    OPERATOR_READ = "operator-read"  # any role of the operator's account


_ROLES: Final[Mapping[Access, Collection[Role]]] = {
    Access.OPEN: frozenset(Role),
    Access.READ: frozenset(Role),
    Access.WRITE: frozenset({Role.MEMBER, Role.ADMIN}),
    Access.ADMIN: frozenset({Role.ADMIN}),
    Access.OPERATOR: frozenset({Role.ADMIN}),
    Access.OPERATOR_READ: frozenset(Role),
}
_OPERATORS: Final = frozenset({Access.OPERATOR, Access.OPERATOR_READ})
_NEEDED: Final[Mapping[Access, str]] = {
    Access.WRITE: "a member or an admin key",
    Access.ADMIN: "an admin key",
    Access.OPERATOR: "an admin key of the operator's account",
    Access.OPERATOR_READ: "a key of the operator's account",
}


def permits(caller: Caller, access: Access) -> bool:
    """Whether the caller's role, in their account, may do what asks for ``access``."""
    is_ours = caller.account == OPERATOR or access not in _OPERATORS
    return caller.role in _ROLES[access] and is_ours


def require_access(caller: Caller, access: Access) -> None:
    """Raise Forbidden unless the caller may do what asks for ``access``."""
    if permits(caller, access):
        return
    is_foreign = caller.account != OPERATOR and access in _OPERATORS
    article = "An" if caller.role is Role.ADMIN else "A"
    whose = " of another account" if is_foreign else ""
    message = f"{article} {caller.role} key{whose} cannot do this: it takes {_NEEDED[access]}."
    raise Forbidden(message, code="permission_denied")
