"""Monthly limits at the door: where one is reached, nothing new is begun.

What runs already is ended by the engine; the same sums decide there.
"""

from batchmill.domain.caps import Cap, month_start
from batchmill.domain.errors import QuotaExceeded
from batchmill.domain.money import text_of
from batchmill.domain.periods import LATEST
from batchmill.ports import CapStore, UsageFilter, UsageStore
from batchmill.service.caller import Caller
from batchmill.service.caps import state_of


class SpendingLimits:
    """Checks the caps that a caller spends under."""

    def __init__(self, *, caps: CapStore, usage: UsageStore) -> None:
        self._caps = caps
        self._usage = usage

    async def check(self, caller: Caller, now: float) -> None:
        """Raise QuotaExceeded where a cap of the caller's is reached."""
        every = await self._caps.list(caller.account)
        over = [cap for cap in every if cap.covers(caller.payer)]
        if not over:
            return
        spent = await self._usage.spent(UsageFilter(caller.account, month_start(now), LATEST))
        for cap in over:
            if cap.is_reached(state_of(cap, spent).spent):
                raise _reached(cap)


def _reached(cap: Cap) -> QuotaExceeded:
    message = (
        f"The monthly limit of this {cap.scope} ({text_of(cap.limit)} {cap.currency}) is reached: "
        "have it raised, or wait for the next month."
    )
    return QuotaExceeded(message, code="spending_limit_reached")
