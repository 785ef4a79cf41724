"""Endpoints and the outbox: what is due, in which turn, and what a try leaves behind."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from store_cases import T0, a_batch, with_store

from batchmill.domain.account import Deed
from batchmill.domain.batch import Status
from batchmill.domain.post import FAILURES_TO_OPEN, Tried, after_try
from batchmill.domain.webhook import (
    CALLBACK_KEY,
    Delivery,
    WebhookEndpoint,
    WebhookEvent,
    batch_event,
)
from batchmill.ports import Backlog, CursorUnknown, Store, TooManyEndpoints
from batchmill.store import SqlStore, open_store, outbox
from batchmill.store.database import Database
from batchmill.store.outbox import PER_ACCOUNT, PER_RECEIVER
from batchmill.store.webhooks import announce

DAY = 86_400.0
DEED = Deed("deed_1", "acme", "key_1", "webhook.created", "we_1", T0)


def a_deed(name: str, **changes: Any) -> Deed:
    return replace(DEED, id=f"deed_{name}", **changes)


def an_endpoint(name: str = "1", **changes: Any) -> WebhookEndpoint:
    endpoint = WebhookEndpoint(
        id=f"we_{name}",
        account="acme",
        name=f"hook {name}",
        url=f"https://hook{name}.example.com/",
        event_types=("batch.completed", "batch.failed"),
        secret="whsec_c2VjcmV0",
        created_at=T0,
        updated_at=T0,
    )
    return replace(endpoint, **changes)


def a_delivery(name: str = "1", **changes: Any) -> Delivery:
    delivery = Delivery(
        id=f"whd_{name}",
        account="acme",
        event_id="evt_1",
        event_type="batch.completed",
        subject="batch_1",
        url="https://callback.example.com/",
        payload="{}",
        created_at=T0,
        next_at=T0,
    )
    return replace(delivery, **changes)


def the_event(name: str = "1", **changes: Any) -> WebhookEvent:
    event = batch_event(a_batch(name, status=Status.COMPLETED, **changes), T0)
    assert event is not None
    return event


async def add(store: Store, *endpoints: WebhookEndpoint) -> None:
    for one in endpoints:
        await store.webhooks.add(one, a_deed(one.id, target=one.id), most=1000)


async def tell(store: Store, *events: WebhookEvent) -> None:
    assert isinstance(store, SqlStore)
    async with store._database.write() as connection:
        for event in events:
            await announce(connection, event)


async def due_ids(store: Store, now: float = T0, limit: int = 64) -> list[str]:
    return [one.delivery.id for one in await store.webhooks.due(now, limit)]


async def receivers(store: Store, now: float = T0) -> list[str | None]:
    return [one.delivery.endpoint_id for one in await store.webhooks.due(now, 64)]


async def get(store: Store, delivery_id: str) -> Delivery:
    found = await store.webhooks.delivery("acme", delivery_id)
    assert found is not None
    return found


async def fail(store: Store, delivery: Delivery, now: float) -> None:
    tried = Tried(now, 500)
    after = after_try(delivery, tried, give_up_after=3 * DAY, jitter=0.5)
    await store.webhooks.settle(after, tried)


@with_store
async def test_an_endpoint_comes_back_as_it_was_added_to_its_account_alone(store: Store) -> None:
    endpoint = an_endpoint(old_secret="whsec_b2xk", old_secret_until=T0 + DAY)
    await add(store, endpoint)
    assert await store.webhooks.get("acme", "we_1") == endpoint
    assert await store.webhooks.get("other", "we_1") is None
    assert (await store.audit.list("acme", limit=9)).items[0].target == "we_1"


@with_store
async def test_an_account_has_as_many_endpoints_as_it_may_and_no_more(store: Store) -> None:
    adding = (store.webhooks.add(an_endpoint(str(n)), a_deed(str(n)), most=3) for n in range(8))
    outcomes = await asyncio.gather(*adding, return_exceptions=True)
    refused = [one for one in outcomes if isinstance(one, TooManyEndpoints)]
    assert len(refused) == 5
    assert len((await store.webhooks.list("acme", limit=100)).items) == 3
    assert len((await store.audit.list("acme", limit=100)).items) == 3
    await store.webhooks.add(an_endpoint("x", account="other"), a_deed("x"), most=1)


@with_store
async def test_endpoints_are_listed_newest_first_and_in_pages(store: Store) -> None:
    await add(store, *(an_endpoint(str(n), created_at=T0 + n) for n in range(3)))
    first = await store.webhooks.list("acme", limit=2)
    assert [one.id for one in first.items] == ["we_2", "we_1"]
    assert first.has_more
    second = await store.webhooks.list("acme", limit=2, after="we_1")
    assert [one.id for one in second.items] == ["we_0"]
    assert not second.has_more
    with pytest.raises(CursorUnknown):
        await store.webhooks.list("other", limit=2, after="we_1")


@with_store
async def test_of_two_changes_at_once_the_second_must_look_again(store: Store) -> None:
    before = an_endpoint()
    await add(store, before)
    renamed = replace(before, name="new", updated_at=T0 + 1)
    rotated = replace(before, secret="whsec_bmV3", updated_at=T0 + 1)
    assert await store.webhooks.update(before, rotated, a_deed("a"))
    assert not await store.webhooks.update(before, renamed, a_deed("b"))
    assert await store.webhooks.get("acme", "we_1") == rotated
    assert {one.id for one in (await store.audit.list("acme", limit=9)).items} == {
        "deed_we_1",
        "deed_a",
    }


@with_store
async def test_another_url_closes_the_breaker_and_another_name_does_not(store: Store) -> None:
    before = an_endpoint(failures=9, open_until=T0 + 60)
    await add(store, before)
    renamed = replace(before, name="new")
    assert await store.webhooks.update(before, renamed, a_deed("a"))
    assert await store.webhooks.get("acme", "we_1") == renamed
    moved = replace(renamed, url="https://other.example.com/")
    assert await store.webhooks.update(renamed, moved, a_deed("b"))
    closed = replace(moved, failures=0, open_until=None)
    assert await store.webhooks.get("acme", "we_1") == closed


@with_store
async def test_an_event_is_announced_once_to_all_who_want_it(store: Store) -> None:
    deaf = an_endpoint("2", event_types=("batch.expired",))
    foreign = an_endpoint("3", account="other")
    await add(store, an_endpoint(), deaf, foreign)
    event = the_event(metadata={CALLBACK_KEY: "https://me.example.com/"})
    await tell(store, event, event)
    await tell(store, event)
    page = await store.webhooks.deliveries("acme", endpoint_id=None, limit=9)
    assert [(one.endpoint_id, one.next_at) for one in page.items] == [(None, T0), ("we_1", T0)]
    assert (await store.webhooks.deliveries("other", endpoint_id=None, limit=9)).items == ()
    only = await store.webhooks.deliveries("acme", endpoint_id="we_1", limit=9)
    assert [one.endpoint_id for one in only.items] == ["we_1"]


@with_store
async def test_what_is_announced_in_a_transaction_that_fails_is_not_due(store: Store) -> None:
    assert isinstance(store, SqlStore)
    await add(store, an_endpoint())

    async def tell_and_break(database: Database) -> None:
        async with database.write() as connection:
            await announce(connection, the_event())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await tell_and_break(store._database)
    assert await due_ids(store) == []


@with_store
async def test_a_delivery_is_due_from_its_time_on(store: Store) -> None:
    await store.webhooks.enqueue(a_delivery(next_at=T0 + 5))
    assert await due_ids(store, T0 + 4.999) == []
    assert await due_ids(store, T0 + 5) == ["whd_1"]


@with_store
async def test_a_try_that_was_never_settled_is_due_again(store: Store) -> None:
    await store.webhooks.enqueue(a_delivery())
    assert await due_ids(store) == await due_ids(store) == ["whd_1"]


@with_store
async def test_one_receiver_gets_two_at_once_and_the_others_theirs(store: Store) -> None:
    await add(store, an_endpoint("1"), an_endpoint("2"))
    for n in range(5):
        await store.webhooks.enqueue(a_delivery(f"a{n}", endpoint_id="we_1"))
        await store.webhooks.enqueue(a_delivery(f"c{n}", url=f"https://c{n}.example.com/"))
    await store.webhooks.enqueue(a_delivery("b", endpoint_id="we_2", next_at=T0 + 1))
    found = await receivers(store, T0 + 1)
    assert found.count("we_1") == found.count(None) == PER_RECEIVER
    assert found.count("we_2") == 1


@with_store
async def test_one_account_cannot_fill_the_whole_turn(store: Store) -> None:
    await add(store, *(an_endpoint(str(n)) for n in range(PER_ACCOUNT + 2)))
    for n in range(PER_ACCOUNT + 2):
        await store.webhooks.enqueue(a_delivery(str(n), endpoint_id=f"we_{n}"))
    await store.webhooks.enqueue(a_delivery("late", account="other", next_at=T0 + 9))
    due = await store.webhooks.due(T0 + 9, 64)
    accounts = [one.delivery.account for one in due]
    assert accounts.count("acme") == PER_ACCOUNT
    assert "other" in accounts[:2]
    assert len(await due_ids(store, T0 + 9, limit=3)) == 3


@with_store
async def test_an_open_endpoint_waits_is_probed_by_one_and_is_closed_by_a_success(
    store: Store,
) -> None:
    await add(store, an_endpoint("1"), an_endpoint("2"))
    for n in range(3):
        await store.webhooks.enqueue(a_delivery(f"a{n}", endpoint_id="we_1"))
    await store.webhooks.enqueue(a_delivery("b", endpoint_id="we_2"))
    for _ in range(FAILURES_TO_OPEN):
        await fail(store, a_delivery("a0", endpoint_id="we_1"), T0)
    assert await receivers(store, T0 + 59) == ["we_2"]
    assert (await receivers(store, T0 + 60)).count("we_1") == 1
    probe = await get(store, "whd_a1")
    tried = Tried(T0 + 60, 200)
    await store.webhooks.settle(after_try(probe, tried, give_up_after=DAY, jitter=0.5), tried)
    endpoint = await store.webhooks.get("acme", "we_1")
    assert endpoint is not None
    assert (endpoint.failures, endpoint.open_until) == (0, None)
    assert (await receivers(store, T0 + 60)).count("we_1") == PER_RECEIVER


@with_store
async def test_a_due_delivery_goes_to_where_its_endpoint_is_now(store: Store) -> None:
    before = an_endpoint()
    await add(store, before)
    await tell(store, the_event())
    await store.webhooks.update(before, replace(before, url="https://new.example/"), DEED)
    (due,) = await store.webhooks.due(T0, 9)
    assert due.url == "https://new.example/"
    assert due.endpoint is not None


@with_store
async def test_deleting_an_endpoint_gives_up_what_is_due_to_it(store: Store) -> None:
    await add(store, an_endpoint("1"), an_endpoint("2"))
    await tell(store, the_event())
    assert not await store.webhooks.delete("other", "we_1", a_deed("x"))
    assert await store.webhooks.delete("acme", "we_1", a_deed("y", at=T0 + 5))
    assert not await store.webhooks.delete("acme", "we_1", a_deed("z"))
    assert await receivers(store) == ["we_2"]
    given_up = await store.webhooks.deliveries("acme", endpoint_id="we_1", limit=9)
    assert [one.given_up_at for one in given_up.items] == [T0 + 5]
    assert len((await store.audit.list("acme", limit=9)).items) == 3


@with_store
async def test_what_was_given_up_under_way_is_delivered_if_it_arrived(store: Store) -> None:
    for name, status in (("taken", 200), ("refused", 500)):
        await store.webhooks.enqueue(a_delivery(name, attempts=1))
        before = await get(store, f"whd_{name}")
        await store.webhooks.give_up(T0, T0 + 1)
        tried = Tried(T0 + 2, status)
        await store.webhooks.settle(after_try(before, tried, give_up_after=DAY, jitter=0), tried)
    taken, refused = await get(store, "whd_taken"), await get(store, "whd_refused")
    assert (taken.delivered_at, taken.given_up_at) == (T0 + 2, None)
    assert (refused.delivered_at, refused.given_up_at, refused.next_at) == (None, T0 + 1, None)


@with_store
async def test_what_is_too_old_is_given_up_unless_it_never_had_a_chance(store: Store) -> None:
    await add(store, an_endpoint("1", failures=FAILURES_TO_OPEN), an_endpoint("2", failures=7))
    rows = {
        "tried": a_delivery("tried", attempts=1),
        "young": a_delivery("young", attempts=1, created_at=T0 + 1),
        "untried": a_delivery("untried"),
        "failing": a_delivery("failing", endpoint_id="we_1"),
        "well": a_delivery("well", endpoint_id="we_2"),
        "done": a_delivery("done", attempts=1, next_at=None, delivered_at=T0),
    }
    for row in rows.values():
        await store.webhooks.enqueue(row)
    assert await store.webhooks.give_up(T0, T0 + 3 * DAY) == 2
    given_up = {name for name, row in rows.items() if (await get(store, row.id)).given_up_at}
    assert given_up == {"tried", "failing"}


@with_store
async def test_what_ended_long_ago_is_swept_and_what_waits_is_not(store: Store) -> None:
    await store.webhooks.enqueue(a_delivery("waits"))
    await store.webhooks.enqueue(a_delivery("done", next_at=None, delivered_at=T0))
    await store.webhooks.enqueue(a_delivery("lost", next_at=None, given_up_at=T0))
    await store.webhooks.enqueue(a_delivery("new", next_at=None, created_at=T0 + 1))
    assert await store.webhooks.sweep(T0, 1) == 1
    assert await store.webhooks.sweep(T0, 9) == 1
    assert await store.webhooks.sweep(T0, 9) == 0
    left = await store.webhooks.deliveries("acme", endpoint_id=None, limit=9)
    assert {one.id for one in left.items} == {"whd_waits", "whd_new"}


@with_store
async def test_the_backlog_is_counted(store: Store) -> None:
    assert await store.webhooks.backlog(T0) == Backlog(0, 0, None)
    for n in range(3):
        await store.webhooks.enqueue(a_delivery(str(n), next_at=T0 + n))
    await store.webhooks.enqueue(a_delivery("done", next_at=None))
    assert await store.webhooks.backlog(T0 + 1) == Backlog(3, 2, T0)


@with_store
async def test_deliveries_are_listed_newest_first_and_in_pages(store: Store) -> None:
    for n in range(3):
        await store.webhooks.enqueue(a_delivery(str(n), created_at=T0 + n))
    first = await store.webhooks.deliveries("acme", endpoint_id=None, limit=2)
    assert [one.id for one in first.items] == ["whd_2", "whd_1"]
    assert first.has_more
    rest = await store.webhooks.deliveries("acme", endpoint_id=None, limit=2, after="whd_1")
    assert [one.id for one in rest.items] == ["whd_0"]
    with pytest.raises(CursorUnknown):
        await store.webhooks.deliveries("other", endpoint_id=None, limit=2, after="whd_1")
    assert await store.webhooks.delivery("other", "whd_1") is None


def test_what_is_due_is_found_without_reading_what_has_ended(tmp_path: Path) -> None:
    asyncio.run(assert_found_by_an_index(tmp_path / "x.db"))


async def assert_found_by_an_index(path: Path) -> None:
    store = await open_store(path)
    async with store._database.read() as connection:
        statement = outbox._due_statement(T0, 64).compile(
            dialect=connection.dialect, compile_kwargs={"literal_binds": True}
        )
        for question in (statement, "SELECT count(*) FROM deliveries WHERE next_at >= 0"):
            rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}")
            assert "USING INDEX ix_deliveries_due" in str(rows.all()).replace("COVERING ", "")
    await store.close()
