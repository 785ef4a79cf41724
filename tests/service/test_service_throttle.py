"""Throttling: each rule by itself, refusals that say when, and a shut door that costs nothing."""

import asyncio

import pytest

from batchmill.domain.errors import RateLimited
from batchmill.domain.rates import Rate, RateRule, Ruling, judge_rate
from batchmill.service.caller import Caller
from batchmill.service.throttle import MOST_SHUT, Throttle

CALLER = Caller()
RULE = RateRule.FILE_UPLOAD


class HandClock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


class Tally:
    """Counts in memory, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.admitted: dict[tuple[str, RateRule], list[float]] = {}

    async def admit(self, account: str, rule: RateRule, rate: Rate, now: float) -> Ruling:
        self.asked += 1
        times = self.admitted.setdefault((account, rule), [])
        times[:] = [at for at in times if at > now - rate.seconds]
        leaving = times[-rate.limit] if len(times) >= rate.limit else None
        newest = times[-1] if times else None
        ruled = judge_rate(rate, admitted=len(times), newest=newest, leaving=leaving, now=now)
        if ruled.is_admitted:
            times.append(now)
        return ruled

    async def forget(self, before: float) -> int:
        raise NotImplementedError


def house(limit: int = 2, seconds: float = 10.0) -> tuple[Throttle, Tally, HandClock]:
    tally, clock = Tally(), HandClock()
    return Throttle({RULE: Rate(limit, seconds)}, tally, clock), tally, clock


def test_a_rule_without_a_rate_lets_everyone_pass_unasked() -> None:
    async def main() -> None:
        throttle, tally, _ = house()
        assert await throttle.admit(CALLER, RateRule.BATCH_LIST) is None
        assert tally.asked == 0

    asyncio.run(main())


def test_a_refusal_says_how_long_to_wait_and_no_less() -> None:
    async def main() -> None:
        throttle, _, clock = house()
        for _ in range(2):
            ruling = await throttle.admit(CALLER, RULE)
            assert ruling is not None
            clock.time += 1.0
        with pytest.raises(RateLimited) as refused:
            await throttle.admit(CALLER, RULE)
        assert refused.value.ruling.retry_after == 8.0
        assert refused.value.code == "rate_limit_exceeded"
        assert refused.value.message == (
            "Rate limit reached: files are uploaded at most 2 times in 10 s. "
            "Please try again in 8.000 s."
        )
        clock.time += 7.9
        with pytest.raises(RateLimited):
            await throttle.admit(CALLER, RULE)
        clock.time += 0.1
        assert await throttle.admit(CALLER, RULE) is not None

    asyncio.run(main())


def test_a_shut_door_is_not_asked_about_again() -> None:
    async def main() -> None:
        throttle, tally, clock = house(limit=1)
        await throttle.admit(CALLER, RULE)
        for _ in range(50):
            clock.time += 0.1
            with pytest.raises(RateLimited) as refused:
                await throttle.admit(CALLER, RULE)
            assert refused.value.ruling.retry_after == pytest.approx(1010.0 - clock.time)
        assert tally.asked == 2
        assert await throttle.admit(Caller(account="other"), RULE) is not None

    asyncio.run(main())


def test_a_clock_that_was_set_back_opens_the_door() -> None:
    async def main() -> None:
        throttle, tally, clock = house(limit=1)
        await throttle.admit(CALLER, RULE)
        with pytest.raises(RateLimited):
            await throttle.admit(CALLER, RULE)
        clock.time -= 500.0
        tally.admitted.clear()
        assert await throttle.admit(CALLER, RULE) is not None

    asyncio.run(main())


def test_a_name_is_counted_like_an_account() -> None:
    async def main() -> None:
        throttle, tally, clock = house(limit=1)
        assert await throttle.admit_name("192.0.2.1", RULE) is not None
        with pytest.raises(RateLimited):
            await throttle.admit_name("192.0.2.1", RULE)
        assert await throttle.admit_name("192.0.2.2", RULE) is not None
        assert await throttle.admit_name("192.0.2.1", RateRule.BATCH_LIST) is None
        clock.time += 10.0
        assert await throttle.admit_name("192.0.2.1", RULE) is not None
        assert set(tally.admitted) == {("192.0.2.1", RULE), ("192.0.2.2", RULE)}

    asyncio.run(main())


def test_a_caller_goes_by_the_name_of_the_account() -> None:
    async def main() -> None:
        throttle, tally, _ = house(limit=1)
        await throttle.admit(Caller(account="acme", workspace="ws_9"), RULE)
        assert set(tally.admitted) == {("acme", RULE)}

    asyncio.run(main())


@pytest.mark.parametrize("count", [MOST_SHUT, MOST_SHUT + 1])
def test_names_without_end_do_not_fill_the_memory(count: int) -> None:
    """What is forgotten is only that the store need not be asked."""

    async def main() -> None:
        throttle, tally, _ = house(limit=1)
        for n in range(count):
            await throttle.admit_name(str(n), RULE)
            with pytest.raises(RateLimited):
                await throttle.admit_name(str(n), RULE)
        assert len(throttle._shut) == (count if count <= MOST_SHUT else 1)
        asked = tally.asked
        for name in ("0", str(count - 1)):
            with pytest.raises(RateLimited):
                await throttle.admit_name(name, RULE)
        assert tally.asked - asked == (0 if count <= MOST_SHUT else 1)

    asyncio.run(main())


def test_doors_that_are_open_again_are_forgotten_first() -> None:
    async def main() -> None:
        throttle, _, clock = house(limit=1)
        for n in range(MOST_SHUT + 1):
            if n == MOST_SHUT - 1:
                clock.time += 10.0
            await throttle.admit_name(str(n), RULE)
            with pytest.raises(RateLimited):
                await throttle.admit_name(str(n), RULE)
        assert len(throttle._shut) == 2

    asyncio.run(main())
