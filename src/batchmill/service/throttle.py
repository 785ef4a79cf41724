"""Request rates: who asks too often is told when to come again.

Counted in the store, so that all processes of a server count together. A
refused request is not counted: patience is all it takes to be let in again.
"""

from collections.abc import Mapping
from typing import Final

from batchmill.domain.errors import RateLimited
from batchmill.domain.rates import Rate, RateRule, Ruling
from batchmill.ports import Clock, RateStore
from batchmill.service.caller import Caller

_WHAT = {
    RateRule.BATCH_CREATE: "batches are created",
    RateRule.BATCH_RETRIEVE: "batches are retrieved",
    RateRule.BATCH_LIST: "batches are listed",
    RateRule.BATCH_CANCEL: "batches are cancelled",
    RateRule.FILE_UPLOAD: "files are uploaded",
    RateRule.FILE_OTHER: "files are looked at, listed and deleted",
    RateRule.SIGN_IN: "people sign in",
}


MOST_SHUT: Final = 10_000
"""How many shut doors are remembered: addresses come without end."""


class Throttle:
    """Rules on requests. Rules without a rate let everyone pass."""

    def __init__(self, rates: Mapping[RateRule, Rate], store: RateStore, clock: Clock) -> None:
        self._rates = rates
        self._store = store
        self._clock = clock
        # Until when each name's next request of a rule is refused for certain: those who
        # storm a shut door cost the database, which others wait for, one question and no more.
        self._shut: dict[tuple[str, RateRule], float] = {}

    async def admit(self, caller: Caller, rule: RateRule) -> Ruling | None:
        """Count a request of an account; None where the rule has no rate. Raises RateLimited."""
        return await self.admit_name(caller.account, rule)

    async def admit_name(self, name: str, rule: RateRule) -> Ruling | None:
        """Count a request of whoever goes by ``name``: an account, or an address without one.

        None where the rule has no rate; raises RateLimited. A rule counts names of one kind.
        """
        rate = self._rates.get(rule)
        if rate is None:
            return None
        door, now = (name, rule), self._clock.now()
        self._refuse_while_shut(door, rate, now)
        ruling = await self._store.admit(name, rule, rate, now)
        if ruling.retry_after is not None:
            self._shut_until(now + ruling.retry_after, door, now)
            raise RateLimited(_sentence(rule, ruling), ruling)
        return ruling

    def _shut_until(self, until: float, door: tuple[str, RateRule], now: float) -> None:
        if len(self._shut) >= MOST_SHUT:
            self._shut = {shut: end for shut, end in self._shut.items() if end > now}
        if len(self._shut) >= MOST_SHUT:
            self._shut.clear()  # no more than what they save is lost: the store is asked again
        self._shut[door] = until

    def _refuse_while_shut(self, door: tuple[str, RateRule], rate: Rate, now: float) -> None:
        until = self._shut.get(door, now)
        # a wait that is longer than the window is that of a clock which was set back
        if now < until <= now + rate.seconds:
            ruling = Ruling(rate, 0, reset_after=rate.seconds, retry_after=until - now)
            raise RateLimited(_sentence(door[1], ruling), ruling)
        self._shut.pop(door, None)


def _sentence(rule: RateRule, ruling: Ruling) -> str:
    rate = ruling.rate
    return (
        f"Rate limit reached: {_WHAT[rule]} at most {rate.limit} times in {rate.seconds:g} s. "
        f"Please try again in {ruling.retry_after or 0.0:.3f} s."
    )
