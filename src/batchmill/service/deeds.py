"""Deeds: what a caller does, in the words of the audit log."""

from secrets import token_hex

from batchmill.domain.account import Deed
from batchmill.service.caller import Caller


def deed_of(caller: Caller, action: str, target: str, now: float, *, detail: str = "") -> Deed:
    """An entry of the audit log; ``action`` is ``noun.verb``, such as ``key.revoked``."""
    return Deed(
        id=f"deed_{token_hex(12)}",
        account=caller.account,
        actor=caller.actor,
        action=action,
        target=target,
        at=now,
        detail=detail,
    )
