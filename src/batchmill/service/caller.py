"""Who asks. Every use-case takes a Caller and sees nothing of other accounts."""

from dataclasses import dataclass

from batchmill.domain.account import OPERATOR, OPERATOR_WORKSPACE, Role
from batchmill.domain.ledger import Payer

ANYONE = "anyone"
MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a use-case runs. ``key_id`` None: no key was asked for.

    ``models`` None allows all. ``actor`` is how the audit log names the caller.
    """

    account: str = OPERATOR
    workspace: str = OPERATOR_WORKSPACE
    role: Role = Role.ADMIN
    key_id: str | None = None
    models: frozenset[str] | None = None
    is_default_workspace: bool = True
    actor: str = ANYONE

    @property
    def payer(self) -> Payer:
        """Whose bill it goes on."""
        return Payer(self.account, self.workspace, self.key_id)

    @property
    def is_operator(self) -> bool:
        """Whether the caller may see to every account."""
        return self.account == OPERATOR and self.role is Role.ADMIN
