"""Every line is charged once, by the price of its batch; limits of spending end batches."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from engine_house import House, a_line, open_house, some_lines
from engine_money import DEARER, PRICES, bill_of, check_bill

from batchmill.config import ModelSettings, UpstreamSettings
from batchmill.domain.account import OPERATOR_WORKSPACE, Deed
from batchmill.domain.batch import Batch, Halt, Status
from batchmill.domain.caps import Cap, Scope
from batchmill.domain.catalog import TEST_ENDPOINT, TEST_MODEL
from batchmill.domain.money import UNITS, decimal_of
from batchmill.domain.pricing import ModelPrice, PriceTable, Tier
from batchmill.domain.results import BUDGET_CODE, HALT_MESSAGES
from batchmill.upstream.mock import MockUpstream
from batchmill.upstream.mock import Script as Upstream

Test = Callable[[House, MockUpstream], Coroutine[Any, Any, None]]

DEED = Deed("deed_1", "acme", "machine", "cap.changed", "acme", 0.0)


def run(tmp_path: Path, test: Test, script: Upstream | None = None, **options: Any) -> None:
    async def main() -> None:
        mock = MockUpstream(script)
        url = await mock.start()
        try:
            async with open_house(tmp_path, url, **{"prices": PRICES, **options}) as house:
                await test(house, mock)
        finally:
            await mock.stop()

    asyncio.run(main())


def varied_lines(count: int) -> list[dict[str, Any]]:
    """Lines of many lengths, so that both tiers are met, and of no thinking mode."""
    return [
        a_line(n, messages=[{"role": "user", "content": "word " * (n % 23)}])
        for n in range(1, count + 1)
    ]


def test_the_ledger_is_the_sum_over_the_output_lines(tmp_path: Path) -> None:
    async def test(house: House, _: MockUpstream) -> None:
        lines = varied_lines(47)
        done = await house.until(await house.submit(lines))
        bill = await check_bill(house, done, lines)
        assert bill.entries == 5, "one a shard"
        assert bill.price > 0
        assert done.currency == "USD"

    run(tmp_path, test)


def test_lines_that_ask_to_think_pay_for_thinking(tmp_path: Path) -> None:
    async def test(house: House, _: MockUpstream) -> None:
        plain, thinking = some_lines(5), [a_line(n, enable_thinking=True) for n in range(1, 6)]
        first = await house.until(await house.submit(plain))
        second = await house.until(await house.submit(thinking))
        await check_bill(house, first, plain)
        await check_bill(house, second, thinking)
        assert second.price > first.price

    run(tmp_path, test)


def test_failed_lines_cost_nothing(tmp_path: Path) -> None:
    async def test(house: House, _: MockUpstream) -> None:
        lines = some_lines(30)
        async with house.hurry():
            done = await house.until(await house.submit(lines))
        bill = await check_bill(house, done, lines)
        assert done.counts.failed > 0
        assert (bill.calls, bill.failures) == (30, done.counts.failed)

    run(tmp_path, test, Upstream(rate_error_body=0.5, seed=4), max_attempts=1)


def test_mixed_models_have_an_entry_each(tmp_path: Path) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        lines = [a_line(n, "mn"[n % 2]) for n in range(1, 25)]
        done = await house.until(await house.submit(lines))
        bill = await check_bill(house, done, lines)
        assert bill.entries == 6

    async def main() -> None:
        mock = MockUpstream()
        url = await mock.start()
        models = [ModelSettings(name=n, upstreams=(UpstreamSettings(url=url),)) for n in "mn"]
        options: dict[str, Any] = {"models": models, "mixed_models": True, "prices": PRICES}
        async with open_house(tmp_path, url, **options) as house:
            await test(house, mock)
        await mock.stop()

    asyncio.run(main())


def test_a_cancelled_batch_pays_for_what_was_answered(tmp_path: Path) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        lines = some_lines(40)
        batch = await house.submit(lines)
        await house.script.until(lambda: house.script.calls["shards.close"] >= 1)
        await house.cancel(batch)
        async with house.hurry():
            done = await house.until(batch)
        assert done.status is Status.CANCELLED
        assert 0 < done.counts.completed < 40
        await check_bill(house, done, lines)

    run(tmp_path, test, Upstream(latency=0.01), max_in_flight=4, cancel_grace=60.0)


def test_an_expired_batch_pays_for_what_was_answered(tmp_path: Path) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        lines = some_lines(40)
        batch = await house.submit(lines)
        await house.script.until(lambda: house.script.calls["shards.close"] >= 1)
        house.clock.advance(90_000)
        done = await house.until(batch)
        assert done.status is Status.EXPIRED
        assert done.counts.completed < 40
        await check_bill(house, done, lines)

    run(tmp_path, test, Upstream(latency=0.01), max_in_flight=4)


def test_what_failed_validation_and_the_test_model_cost_nothing(tmp_path: Path) -> None:
    async def test(house: House, _: MockUpstream) -> None:
        bad = await house.until(await house.submit([b"{", *some_lines(3)]))
        assert bad.status is Status.FAILED
        assert (await bill_of(house, bad)).entries == 0
        free = [{**a_line(n, TEST_MODEL), "url": TEST_ENDPOINT} for n in range(1, 4)]
        tested = await house.until(await house.submit(free, endpoint=TEST_ENDPOINT))
        assert tested.counts.completed == 3
        assert (tested.currency, tested.price) == (None, 0)
        bill = await bill_of(house, tested)
        assert bill.price == bill.list_price == 0
        assert bill.calls == 3

    run(tmp_path, test)


def test_a_new_price_table_changes_nothing_for_batches_that_were_created_before(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        mock = MockUpstream(Upstream(latency=0.005))
        url = await mock.start()
        lines = some_lines(40)
        options: dict[str, Any] = {"max_in_flight": 4, "sync_interval": 0.0}
        async with open_house(tmp_path, url, prices=PRICES, **options) as house:
            batch = await house.submit(lines)
            await house.script.until(lambda: house.script.calls["shards.close"] >= 1)
        async with open_house(tmp_path, url, prices=DEARER, **options) as house:
            assert not (await house.get(batch)).status.is_terminal
            await check_bill(house, await house.until(batch), lines)
            dear = await house.until(await house.submit(lines))
            await check_bill(house, dear, lines, DEARER)
        await mock.stop()

    asyncio.run(main())


def test_while_a_batch_runs_its_cost_so_far_can_be_read(tmp_path: Path) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        batch = await house.submit(some_lines(10))
        async with house.hurry():
            while (seen := await house.get(batch)).price == 0:
                await house.script.until_finished(house.script.finished + 1)
        assert not seen.status.is_terminal
        assert seen.currency == "USD"
        assert seen.list_price == 2 * seen.price

    run(tmp_path, test, Upstream(latency=0.05), max_in_flight=1)


# --- limits of spending ---


async def price_of_lines(house: House, count: int) -> int:
    """What so many of ``some_lines`` cost, in units."""
    done = await house.until(await house.submit(some_lines(count)))
    return done.price


def code_of(line: dict[str, Any]) -> Any:
    return line["error"]["code"]


def test_a_budget_ends_the_batch_with_what_was_in_flight_at_most(tmp_path: Path) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        one = await price_of_lines(house, 9) // 9
        lines = some_lines(9)
        sent = len(mock.hits)
        budget = 4 * one
        batch = await house.submit(lines, budget=budget)
        async with house.hurry():
            done = await house.until(batch)
        assert (done.status, done.halt) == (Status.COMPLETED, Halt.BUDGET)
        assert 4 <= done.counts.completed <= 4 + 1, "two slots: one more was in flight"
        assert len(mock.hits) - sent == done.counts.completed
        output, error = await house.results(done)
        await check_bill(house, done, lines)
        assert {code_of(line) for line in error} == {BUDGET_CODE}
        assert {line["error"]["message"] for line in error} == {HALT_MESSAGES[Halt.BUDGET]}
        assert len(output) + len(error) == 9

    run(tmp_path, test, max_in_flight=2, shard_lines=3)


def test_a_budget_that_is_enough_is_no_limit(tmp_path: Path) -> None:
    async def test(house: House, _: MockUpstream) -> None:
        whole = await price_of_lines(house, 25)
        done = await house.until(await house.submit(some_lines(25), budget=whole + 1))
        assert (done.counts.completed, done.halt) == (25, None)

    run(tmp_path, test)


def test_a_budget_holds_over_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        mock = MockUpstream(Upstream(latency=0.005))
        url = await mock.start()
        options: dict[str, Any] = {"max_in_flight": 1, "sync_interval": 0.0, "prices": PRICES}
        async with open_house(tmp_path, url, **options) as house:
            one = await price_of_lines(house, 9) // 9
            sent = len(mock.hits)
            batch = await house.submit(some_lines(9), budget=6 * one)
            while len(mock.hits) < sent + 3:
                await house.script.until_finished(house.script.finished + 1)
                await asyncio.sleep(0.001)
        async with open_house(tmp_path, url, **options) as house, house.hurry():
            done = await house.until(batch)
            assert done.halt is Halt.BUDGET
            assert done.counts.completed in (6, 7)
            await check_bill(house, done, some_lines(9))
        await mock.stop()

    asyncio.run(main())


def test_a_budget_for_a_model_without_a_price_is_refused(tmp_path: Path) -> None:
    async def test(house: House, _: MockUpstream) -> None:
        failed = await house.until(await house.submit(some_lines(2), budget=UNITS))
        assert failed.status is Status.FAILED
        assert [error.code for error in failed.errors] == ["model_not_priced"]

    run(tmp_path, test, prices=DEARER.__class__())


async def set_cap(house: House, scope: Scope, scope_id: str, limit: int) -> None:
    cap = Cap("acme", scope, scope_id, "USD", limit, alert_percent=50)
    await house.rows.caps.put(cap, DEED)


@pytest.mark.parametrize(
    ("scope", "scope_id"),
    [(Scope.ACCOUNT, "acme"), (Scope.WORKSPACE, OPERATOR_WORKSPACE), (Scope.KEY, "key_1")],
)
def test_a_monthly_cap_ends_every_batch_under_it_and_counts_what_was_spent_before(
    scope: Scope, scope_id: str, tmp_path: Path
) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        first = await house.until(await house.submit(some_lines(10), key_id="key_1"))
        one = first.price // 10
        await set_cap(house, scope, scope_id, 15 * one)
        async with house.hurry():
            second = await house.until(await house.submit(some_lines(10), key_id="key_1"))
            third = await house.until(await house.submit(some_lines(10), key_id="key_1"))
        assert second.halt is Halt(scope)
        assert 5 <= second.counts.completed <= 6
        assert (third.counts.completed, third.halt) == (0, Halt(scope))
        _, error = await house.results(second)
        assert {line["error"]["message"] for line in error} == {HALT_MESSAGES[Halt(scope)]}
        for done in (first, second, third):
            await check_bill(house, done, some_lines(10))

    run(tmp_path, test, max_in_flight=2, shard_lines=3)


def test_a_cap_of_another_key_or_currency_limits_nothing(tmp_path: Path) -> None:
    async def test(house: House, _: MockUpstream) -> None:
        await set_cap(house, Scope.KEY, "key_2", 1)
        yuan = Cap("acme", Scope.ACCOUNT, "acme", "CNY", 1)
        await house.rows.caps.put(yuan, replace(DEED, id="deed_2"))
        done = await house.until(await house.submit(some_lines(10), key_id="key_1"))
        assert (done.counts.completed, done.halt) == (10, None)

    run(tmp_path, test)


def test_a_new_month_begins_at_zero(tmp_path: Path) -> None:
    async def test(house: House, _: MockUpstream) -> None:
        first: Batch = await house.until(await house.submit(some_lines(10)))
        await set_cap(house, Scope.ACCOUNT, "acme", first.price)
        async with house.hurry():
            stopped = await house.until(await house.submit(some_lines(10)))
        assert stopped.counts.completed == 0
        house.clock.advance(31 * 86_400)
        # What costs as much as the limit reaches it only when all is answered.
        again = await house.until(await house.submit(some_lines(10)))
        assert again.counts.completed == 10
        assert decimal_of(again.price) == decimal_of(first.price)

    run(tmp_path, test)


def test_the_alert_of_a_month_is_sent_once(tmp_path: Path) -> None:
    async def test(house: House, _: MockUpstream) -> None:
        one = await price_of_lines(house, 10) // 10
        await set_cap(house, Scope.ACCOUNT, "acme", 100 * one)
        async with house.hurry():
            await house.until(await house.submit(some_lines(30)))
            [cap] = await house.rows.caps.list("acme")
            assert cap.alerted_month is None, "40 of 100 were spent"
            await house.until(await house.submit(some_lines(10)))
            await house.until(await house.submit(some_lines(10)))
            while (await house.rows.caps.list("acme"))[0].alerted_month is None:
                await house.script.until_finished(house.script.finished + 1)
        assert house.script.calls["caps.alert"] == 1

    run(tmp_path, test)


def random_prices(rng: random.Random) -> PriceTable:
    """One model, up to three tiers, prices and a discount of as many decimals as there may be."""

    def price() -> Decimal:
        return Decimal(rng.randrange(0, 10**9)).scaleb(-6)

    bounds = [*sorted(rng.sample(range(1, 40), rng.randrange(3))), None]
    tiers = tuple(Tier(price(), price(), rng.choice([None, price()]), up_to=b) for b in bounds)
    return PriceTable(
        f"random-{rng.random()}",
        (ModelPrice("m", "USD", tiers),),
        discount=Decimal(rng.randrange(1001)).scaleb(-3),
    )


@pytest.mark.parametrize("seed", range(8))
def test_random_batches_are_charged_exactly_over_restarts_and_repricing(
    seed: int, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    thinks: dict[str, Any] = rng.choice([{}, {"enable_thinking": True}, {"enable_thinking": False}])
    lines = [
        a_line(n, messages=[{"role": "user", "content": "word " * rng.randrange(40)}], **thinks)
        for n in range(1, rng.randrange(20, 90))
    ]
    first = random_prices(rng)
    script = Upstream(seed=seed, latency=0.002, rate_error_body=0.1, rate_5xx=0.1)

    async def main() -> None:
        mock = MockUpstream(script)
        url = await mock.start()
        options: dict[str, Any] = {"max_in_flight": 5, "shard_lines": 7, "max_attempts": 2}
        batch: Batch | None = None
        prices = first
        for _ in range(rng.randrange(1, 4)):
            open_now = open_house(tmp_path, url, prices=prices, **options)
            async with open_now as house, house.hurry():
                batch = batch or await house.submit(lines)
                stop_after = len(mock.hits) + rng.randrange(5, 25)
                while len(mock.hits) < stop_after:
                    if (await house.get(batch)).status.is_terminal:
                        break
                    await house.script.until_finished(house.script.finished + 1)
            prices = random_prices(rng)
        async with open_house(tmp_path, url, prices=prices, **options) as house, house.hurry():
            assert batch is not None
            await check_bill(house, await house.until(batch), lines, first)
        await mock.stop()

    asyncio.run(main())
