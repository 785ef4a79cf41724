"""Request rates through the door: what is counted, what answers say, and 64 clients at once."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_house import House, fault, new_batch, open_house, run

from batchmill.api.identity import Doorkeeper, identify_anyone
from batchmill.api.throttle import duration_text, slowed_by
from batchmill.domain.rates import Rate, RateRule
from batchmill.service.throttle import Throttle

CALLS: Mapping[RateRule, tuple[str, str, dict[str, Any]]] = {
    RateRule.BATCH_CREATE: ("POST", "/v1/batches", {"json": new_batch()}),
    RateRule.BATCH_RETRIEVE: ("GET", "/v1/batches/batch_none", {}),
    RateRule.BATCH_LIST: ("GET", "/v1/batches", {}),
    RateRule.BATCH_CANCEL: ("POST", "/v1/batches/batch_none/cancel", {}),
    RateRule.FILE_UPLOAD: (
        "POST",
        "/v1/files",
        {"data": {"purpose": "batch"}, "files": {"file": ("a", b"{}")}},
    ),
    RateRule.FILE_OTHER: ("GET", "/v1/files", {}),
}


class Doors:
    """Two applications over one database, each with a throttle of its own, and one clock."""

    def __init__(self, first: House, second: House) -> None:
        self.houses = (first, second)

    async def call(self, rule: RateRule, door: int = 0) -> httpx2.Response:
        method, path, more = CALLS[rule]
        return await self.houses[door].client.request(method, path, **more)

    def move(self, seconds: float) -> None:
        for house in self.houses:
            house.clock.time += seconds


@asynccontextmanager
async def open_doors(root: Path, rates: Mapping[RateRule, Rate]) -> AsyncIterator[Doors]:
    async with open_house(root) as first, open_house(root, shared=True) as second:
        for house in (first, second):
            throttle = Throttle(rates, house.store.rates, house.clock)
            house.app.state.admit = Doorkeeper(identify_anyone, slowed_by(throttle))
        yield Doors(first, second)


def told(answer: httpx2.Response) -> dict[str, str]:
    """What an answer says of the rate."""
    names = ("x-ratelimit-", "retry-after", "x-should-retry")
    return {name: text for name, text in answer.headers.items() if name.startswith(names)}


def test_every_rule_but_that_of_the_console_has_a_request_that_it_counts() -> None:
    assert set(CALLS) == set(RateRule) - {RateRule.SIGN_IN}


@pytest.mark.parametrize("rule", list(CALLS))
def test_each_rule_lets_as_many_pass_as_it_says_over_both_doors(
    tmp_path: Path, rule: RateRule
) -> None:
    """64 clients at once, at three moments; everything else stays free meanwhile."""

    async def main() -> None:
        async with open_doors(tmp_path, {rule: Rate(7, 60.0)}) as doors:
            for wait, passes in ((0.0, 7), (59.9, 0), (0.2, 7)):
                doors.move(wait)
                answers = await asyncio.gather(*(doors.call(rule, n % 2) for n in range(64)))
                refused = [one for one in answers if one.status_code == 429]
                assert len(answers) - len(refused) == passes
                assert all(fault(one)["code"] == "rate_limit_exceeded" for one in refused)
            for other in set(CALLS) - {rule}:
                answer = await doors.call(other)
                assert answer.status_code != 429
                assert told(answer) == {}

    run(main())


def test_answers_say_what_is_left_and_refusals_when_to_come_again(tmp_path: Path) -> None:
    async def main() -> None:
        rule = RateRule.BATCH_RETRIEVE
        async with open_doors(tmp_path, {rule: Rate(2, 60.0)}) as doors:
            missing = await doors.call(rule)
            assert missing.status_code == 404
            assert told(missing) == {
                "x-ratelimit-limit-requests": "2",
                "x-ratelimit-remaining-requests": "1",
                "x-ratelimit-reset-requests": "1m0s",
            }
            doors.move(1.0)
            assert told(await doors.call(rule, 1))["x-ratelimit-remaining-requests"] == "0"
            doors.move(0.75)
            refused = await doors.call(rule)
            assert refused.status_code == 429
            assert told(refused) == {
                "x-ratelimit-limit-requests": "2",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "59.25s",
                "retry-after": "59",
                "retry-after-ms": "58250",
            }
            error = fault(refused)
            assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
            assert error["message"].startswith(
                "Rate limit reached: batches are retrieved at most 2"
            )
            doors.move(58.25)
            assert (await doors.call(rule)).status_code == 404

    run(main())


def test_whoever_waits_as_long_as_told_is_let_in(tmp_path: Path) -> None:
    async def main() -> None:
        rule = RateRule.FILE_UPLOAD
        async with open_doors(tmp_path, {rule: Rate(3, 1.0)}) as doors:
            for _ in range(5):
                for _ in range(3):
                    assert (await doors.call(rule)).status_code == 200
                    doors.move(0.01)
                refused = await doors.call(rule)
                assert refused.headers["retry-after"] == "1"
                doors.move(int(refused.headers["retry-after-ms"]) / 1000)
                # three came together, a hundredth of a second apart, and leave so
                doors.move(0.02)

    run(main())


def test_an_upload_that_comes_too_soon_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        rule = RateRule.FILE_UPLOAD
        async with open_doors(tmp_path, {rule: Rate(1, 60.0)}) as doors:
            assert (await doors.call(rule)).status_code == 200

            async def never() -> AsyncIterator[bytes]:
                yield pytest.fail("the body was read")

            kind = {"content-type": "multipart/form-data; boundary=x"}
            client = doors.houses[1].client
            answer = await client.post("/v1/files", headers=kind, content=never())
            assert answer.status_code == 429

    run(main())


def test_without_rates_nothing_is_counted(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_doors(tmp_path, {}) as doors:
            for rule in CALLS:
                answers = [await doors.call(rule) for _ in range(12)]
                assert all(one.status_code != 429 for one in answers)
                assert all(told(one).keys() <= {"x-should-retry"} for one in answers)

    run(main())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0ms"),
        (0.0121, "13ms"),
        (0.999, "999ms"),
        (0.9991, "1s"),
        (1.5, "1.5s"),
        (59.25, "59.25s"),
        (60.0, "1m0s"),
        (360.0, "6m0s"),
        (3600.0, "1h0m0s"),
        (3661.25, "1h1m1.25s"),
    ],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
