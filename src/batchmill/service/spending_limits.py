"""Monthly limits at the door: where one is reached, nothing new is begun.

What runs already is ended by the engine; the same sums decide there.
"""

from batchmill.domain.caps import Cap, Scope, month_start
from batchmill.domain.errors import QuotaExceeded
from batchmill.domain.money import text_of
from batchmill.ports import CapStore, LedgerStore
from batchmill.service.caller import Caller


class SpendingLimits:
    """Checks the caps that a caller spends under."""

    def __init__(self, *, caps: CapStore, ledger: LedgerStore) -> None:
        self._caps = caps
        self._ledger = ledger

    async def check(self, caller: Caller, now: float) -> None:
        """Raise QuotaExceeded where a cap of the caller's is reached."""
        for cap in await self._caps.list(caller.account):
            if _is_over(caller, cap) and cap.is_reached(await self._spent(cap, now)):
                raise _reached(cap)

    async def _spent(self, cap: Cap, now: float) -> int:
        return await self._ledger.spent_so_far(cap, month_start(now))


def _is_over(caller: Caller, cap: Cap) -> bool:
    ids = {
        Scope.ACCOUNT: caller.account,
        Scope.WORKSPACE: caller.workspace,
        Scope.KEY: caller.key_id,
    }
    return ids[cap.scope] == cap.scope_id


def _reached(cap: Cap) -> QuotaExceeded:
    message = (
        f"The monthly limit of this {cap.scope} ({text_of(cap.limit)} {cap.currency}) is reached: "
        "have it raised, or wait for the next month."
    )
    return QuotaExceeded(message, code="spending_limit_reached")
