"""Budgets, costs, monthly limits and the audit log of batches, through the door."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_house import NOON, PRICES, House, as_object, fault, new_batch, open_house, run

from batchmill.domain.account import OPERATOR, OPERATOR_WORKSPACE, Deed
from batchmill.domain.batch import Batch, Event, Halt, advance
from batchmill.domain.caps import Cap, Scope
from batchmill.domain.catalog import TEST_ENDPOINT
from batchmill.domain.ledger import Charge, Entry, Payer
from batchmill.domain.money import UNITS
from batchmill.domain.pricing import Item
from batchmill.domain.shards import Shard
from batchmill.domain.usage import Usage
from batchmill.ports import Progress, ShardTally

PAYER = Payer(OPERATOR, OPERATOR_WORKSPACE)


async def planned(house: House, batch: Batch, shard: Shard) -> Batch:
    """The batch in progress, in dollars, with one shard."""
    after = replace(advance(batch, Event.PLANNED, NOON), currency="USD")
    assert await house.store.batches.plan(batch, after, [shard])
    return after


def deed(number: int) -> Deed:
    return Deed(f"deed_{number}", OPERATOR, "machine", "cap.changed", OPERATOR, NOON)


def test_a_new_batch_keeps_its_budget_its_room_and_the_prices_of_its_day(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            batch = await house.create_batch(batchmill={"budget": "20.50", "later": 1})
            additions = batch["batchmill"]
            assert additions["budget"] == "20.5"
            assert additions["workspace"] == OPERATOR_WORKSPACE
            assert additions["cost"] is additions["halted_by"] is None
            stored = await house.batch(batch["id"])
            assert stored.price_version == PRICES.version
            assert stored.budget == 20 * UNITS + UNITS // 2
            plain = await house.create_batch(batchmill=None)
            assert plain["batchmill"]["budget"] is None

    run(main())


@pytest.mark.parametrize("budget", ["0", "-1", "", "1e3", "a lot", "0.0000000000000001"])
def test_a_budget_is_an_amount_above_zero(budget: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            body = new_batch(batchmill={"budget": budget})
            refused = fault(await house.client.post("/v1/batches", json=body))
            assert (refused["param"], refused["code"]) == ("batchmill.budget", "invalid_value")
            least = await house.create_batch(batchmill={"budget": "0.000000000000001"})
            assert least["batchmill"]["budget"] == "0.000000000000001"

    run(main())


@pytest.mark.parametrize("wrong", [20, 20.5, True, [], {}])
def test_a_budget_that_is_no_text_is_of_the_wrong_type(wrong: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            body = new_batch(batchmill={"budget": wrong})
            refused = fault(await house.client.post("/v1/batches", json=body))
            assert refused["param"] == "batchmill.budget"

    run(main())


def an_entry(batch_id: str, price: int) -> Entry:
    charges = (Charge(Item.INPUT, 10, 2 * price, price),)
    return Entry(batch_id, 0, "qwen-plus", PAYER, "1", "USD", 1, usage=Usage(10), charges=charges)


def test_a_running_batch_shows_what_it_cost_so_far_and_what_it_waits_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = await house.create_batch()
            before = await house.batch(made["id"])
            shard = Shard(before.id, 0, 0, 10, 1, 10, ("qwen-plus",))
            after = await planned(house, before, shard)
            [claimed] = await house.store.shards.claim([shard])
            entry = an_entry(before.id, 1_500_000_000)
            tally = ShardTally(before.id, 0, claimed.attempt, 1, 0, Usage(10), 0, NOON, (entry,))
            await house.store.shards.tally([tally])
            house.progress[before.id] = Progress(1, None, "It waits for room.")
            shown = as_object(await house.client.get(f"/v1/batches/{before.id}"))["batchmill"]
            assert shown["cost"] == {
                "currency": "USD",
                "list_price": "0.000003",
                "price": "0.0000015",
                "is_final": False,
            }
            assert shown["progress"]["waits_for"] == "It waits for room."
            await house.move(after.id, Event.HALTED, halt=Halt.WORKSPACE)
            halted = as_object(await house.client.get(f"/v1/batches/{before.id}"))
            assert halted["batchmill"]["halted_by"] == "workspace"

    run(main())


@pytest.mark.parametrize(
    ("scope", "scope_id"), [(Scope.ACCOUNT, OPERATOR), (Scope.WORKSPACE, OPERATOR_WORKSPACE)]
)
def test_where_a_monthly_limit_is_reached_nothing_new_begins(
    scope: Scope, scope_id: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = await house.batch((await house.create_batch())["id"])
            shard = Shard(made.id, 0, 0, 10, 1, 10, ("qwen-plus",))
            await planned(house, made, shard)
            [claimed] = await house.store.shards.claim([shard])
            tally = ShardTally(
                made.id, 0, claimed.attempt, 10, 0, Usage(10), 0, NOON, (an_entry(made.id, UNITS),)
            )
            await house.store.shards.close(tally)
            await house.store.caps.put(Cap(OPERATOR, scope, scope_id, "USD", UNITS + 1), deed(1))
            await house.create_batch()
            await house.store.caps.put(Cap(OPERATOR, scope, scope_id, "USD", UNITS), deed(2))
            answer = await house.client.post("/v1/batches", json=new_batch())
            refused = fault(answer)
            assert (answer.status_code, refused["type"]) == (429, "insufficient_quota")
            assert refused["code"] == "spending_limit_reached"
            assert answer.headers["x-should-retry"] == "false"
            assert f"monthly limit of this {scope} (1 USD)" in refused["message"]
            await house.create_batch(endpoint=TEST_ENDPOINT)
            house.clock.time += 31 * 86_400
            await house.create_batch()

    run(main())


def test_who_created_and_cancelled_is_in_the_audit_log(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            batch = await house.create_batch()
            for _ in range(2):
                await house.client.post(f"/v1/batches/{batch['id']}/cancel")
            page = await house.store.audit.list(OPERATOR, limit=10)
            assert [(one.action, one.target, one.actor) for one in page.items] == [
                ("batch.cancelled", batch["id"], "anyone"),
                ("batch.created", batch["id"], "anyone"),
            ]

    run(main())


def test_a_repeated_create_is_one_entry_of_the_audit_log(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for _ in range(2):
                await house.create_batch(idempotency_key="once")
            page = await house.store.audit.list(OPERATOR, limit=10)
            assert [one.action for one in page.items] == ["batch.created"]

    run(main())
