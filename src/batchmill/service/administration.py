"""Everything that admins do, side by side: for the door and for the command line."""

from dataclasses import dataclass

from batchmill.ports import Clock, Store
from batchmill.service.accounts import Accounts, AuditLog, Workspaces
from batchmill.service.keys import Keys


@dataclass(frozen=True, slots=True)
class Administration:
    """The use-cases of accounts, workspaces, keys and the audit log."""

    accounts: Accounts
    workspaces: Workspaces
    keys: Keys
    audit: AuditLog


def make_administration(store: Store, clock: Clock) -> Administration:
    """The use-cases over a store."""
    return Administration(
        accounts=Accounts(store=store, clock=clock),
        workspaces=Workspaces(store=store, clock=clock),
        keys=Keys(store=store, clock=clock),
        audit=AuditLog(store=store),
    )
