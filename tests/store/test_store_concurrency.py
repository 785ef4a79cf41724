"""Many callers at once, over two openings of one database: as if they had come one by one."""

import asyncio
import random
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

from sqlalchemy import func, select
from store_cases import T0, a_batch, a_file, a_tally, an_upload, get, planned, with_stores

from batchmill.domain.account import OPERATOR, OPERATOR_WORKSPACE, Deed, Key, Role
from batchmill.domain.batch import Event, Status, advance
from batchmill.domain.caps import Cap, Scope
from batchmill.domain.file import UploadPart, UploadStatus
from batchmill.domain.ledger import Charge, Entry, Payer
from batchmill.domain.post import Tried, after_try
from batchmill.domain.pricing import Item
from batchmill.domain.rates import Rate, RateRule
from batchmill.domain.shards import Shard
from batchmill.domain.usage import Usage
from batchmill.domain.webhook import Delivery, WebhookEndpoint, batch_event
from batchmill.ports import (
    Idempotency,
    IdempotencyMismatch,
    Quota,
    QuotaReached,
    Reservation,
    ShardTally,
    Store,
    TooManyEndpoints,
    TooManyUnfinished,
    UnfinishedCap,
)
from batchmill.store import SqlStore
from batchmill.store.tables import api_keys, batches, deliveries, ledger, meters, price_tables

MANY = 24
PAYER = Payer("acme", "ws_default", "key_1")


def a_deed(name: object = 1) -> Deed:
    return Deed(f"deed_{name}", "acme", "key_1", "test.done", "thing", T0)


async def count(store: Store, table: Any, *conditions: Any) -> int:
    assert isinstance(store, SqlStore)
    counting = select(func.count()).select_from(table).where(*conditions)
    async with store._database.read() as connection:
        return int((await connection.execute(counting)).scalar_one())


async def accepted(*doing: Awaitable[Any], refusal: type[Exception]) -> int:
    """How many were not refused; any other error is one."""
    ends = await asyncio.gather(*doing, return_exceptions=True)
    others = [end for end in ends if isinstance(end, BaseException) and type(end) is not refusal]
    assert others == []
    return sum(not isinstance(end, refusal) for end in ends)


# --- what an account may keep, begin and ask for ---


@with_stores
async def test_reservations_files_and_uploads_never_exceed_their_quota(
    one: Store, two: Store
) -> None:
    quota = Quota(files=7, bytes=10**9)

    def keep(number: int, store: Store) -> Awaitable[None]:
        if number % 3 == 0:
            room = Reservation(f"file-batch-{number}", "acme", 10, T0 + 600)
            return store.files.reserve(room, quota, T0)
        if number % 3 == 1:
            return store.files.add(a_file(f"whole{number}"), quota)
        return store.uploads.add(an_upload(str(number)), quota)

    keeping = (keep(n, store) for n, store in zip(range(MANY), cycle((one, two)), strict=False))
    assert await accepted(*keeping, refusal=QuotaReached) == 7
    assert (await one.files.kept("acme", T0)).files == 7


@with_stores
async def test_the_last_bytes_are_given_once(one: Store, two: Store) -> None:
    quota = Quota(files=10**6, bytes=350)
    adding = (store.files.add(a_file(f"{n}{store is one}"), quota) for n in range(8)
              for store in (one, two))  # fmt: skip
    assert await accepted(*adding, refusal=QuotaReached) == 3


@with_stores
async def test_an_upload_ends_once(one: Store, two: Store) -> None:
    """Completed by one of many, or cancelled; a part comes before that, or not at all."""
    plenty = Quota(10**6, 10**12)
    for number in range(4):
        upload = an_upload(str(number))
        await one.uploads.add(upload, plenty)
        part = UploadPart(f"part_{number}", upload.id, 10, f"parts/{number}", T0)
        file = a_file(f"done{number}")
        done = replace(upload, status=UploadStatus.COMPLETED, file_id=file.id)
        given_up = replace(upload, status=UploadStatus.CANCELLED)
        ends = await asyncio.gather(
            one.uploads.complete(done, file, plenty),
            two.uploads.close(given_up),
            two.uploads.complete(done, file, plenty),
            one.uploads.close(given_up),
            two.uploads.add_part(part),
        )
        stored = await one.uploads.get("acme", upload.id)
        assert stored is not None
        assert ends[:4].count(True) == 1
        is_there = await one.files.get("acme", file.id) is not None
        assert is_there == (stored.status is UploadStatus.COMPLETED) == (ends[0] or ends[2])
        assert len(await two.uploads.parts(upload.id)) == ends[4]


@with_stores
async def test_no_more_batches_are_unfinished_than_may_be(one: Store, two: Store) -> None:
    cap = [UnfinishedCap(5)]
    creating = (
        store.batches.create(a_batch(str(number)), None, cap)
        for number, store in zip(range(MANY), cycle((one, two)), strict=False)
    )
    assert await accepted(*creating, refusal=TooManyUnfinished) == 5
    assert len(await one.batches.unfinished()) == 5


@with_stores
async def test_an_idempotency_key_makes_one_batch(one: Store, two: Store) -> None:
    """Whoever repeats it gets that one; whoever means another thing is refused."""

    async def create(number: int) -> str:
        store, meant = ((one, "same"), (two, "same"), (one, "other"))[number % 3]
        key = Idempotency("key", meant)
        return (await store.batches.create(a_batch(str(number)), key, ())).id

    doing = (create(number) for number in range(MANY))
    ends = await asyncio.gather(*doing, return_exceptions=True)
    made = [end for end in ends if isinstance(end, str)]
    assert len(set(made)) == await count(one, batches) == 1
    refused = [end for end in ends if isinstance(end, IdempotencyMismatch)]
    assert len(made) + len(refused) == MANY
    assert len(refused) in (MANY // 3, MANY * 2 // 3)


@with_stores
async def test_a_rate_admits_exactly_as_many_as_it_says(one: Store, two: Store) -> None:
    rate = Rate(5, 60.0)
    rulings = await asyncio.gather(
        *(
            store.rates.admit("acme", RateRule.BATCH_CREATE, rate, T0 + number / 100)
            for number, store in zip(range(MANY), cycle((one, two)), strict=False)
        )
    )
    admitted = [ruling for ruling in rulings if ruling.is_admitted]
    assert sorted(ruling.remaining for ruling in admitted) == [0, 1, 2, 3, 4]


# --- batches and shards ---


@with_stores
async def test_one_of_many_moves_a_batch_and_tells_of_it(one: Store, two: Store) -> None:
    before = await one.batches.create(a_batch(), None, ())
    cancelling = advance(before, Event.CANCEL_REQUESTED, T0 + 1)
    failed = advance(before, Event.REJECTED, T0 + 1)
    await one.webhooks.add(an_endpoint(), a_deed("hook"), most=9)
    ends = await asyncio.gather(
        *(
            store.batches.move(before, (cancelling, failed)[number % 2], a_deed(number))
            for number, store in zip(range(MANY), cycle((one, two)), strict=False)
        )
    )
    assert ends.count(True) == 1
    moved = await get(one, before)
    told = await count(one, deliveries)
    assert told == (moved.status is Status.FAILED)
    deeds = (await one.audit.list("acme", limit=100)).items
    assert {deed.id for deed in deeds} == {"deed_hook", f"deed_{ends.index(True)}"}


@with_stores
async def test_one_of_many_plans_a_batch(one: Store, two: Store) -> None:
    before = await one.batches.create(a_batch(), None, ())
    after = advance(before, Event.PLANNED, T0 + 1)
    doing = [
        store.batches.plan(before, after, [shard_of(before.id, n) for n in range(size)])
        for size, store in enumerate((one, two) * 3, 1)
    ]
    ends = await asyncio.gather(*doing)
    assert ends.count(True) == 1
    assert len(await one.shards.of_batch(before.id)) == ends.index(True) + 1


def shard_of(batch_id: str, index: int) -> Shard:
    return Shard(batch_id, index, index * 1000, index * 1000 + 1000, 1 + index * 10, 10, ("m",))


@with_stores
async def test_no_shard_is_claimed_twice(one: Store, two: Store) -> None:
    """Each claim asks for all of them, in an order of its own."""
    order = random.Random(5)
    running = [await planned(one, a_batch(str(n)), shards=20) for n in range(2)]
    waiting = [shard for batch in running for shard in await one.shards.of_batch(batch.id)]
    claiming = (store.shards.claim(order.sample(waiting, len(waiting))) for store in (one, two) * 4)
    claims = await asyncio.gather(*claiming)
    keys = [(shard.batch_id, shard.index) for claim in claims for shard in claim]
    assert sorted(keys) == sorted((shard.batch_id, shard.index) for shard in waiting)
    assert {shard.attempt for claim in claims for shard in claim} == {1}


def an_entry(shard: Shard, calls: int) -> Entry:
    price = 10**15 // 7 * calls  # neither column of an amount is a round number
    charges = (Charge(Item.INPUT, 30, 2 * price, price),)
    usage = Usage(30 * calls, 20, 5, 2)
    return Entry(
        shard.batch_id,
        shard.index,
        "m",
        PAYER,
        "v1",
        "USD",
        calls=calls,
        usage=usage,
        charges=charges,
    )


def told(shard: Shard, calls: int) -> ShardTally:
    return replace(a_tally(shard, calls), entries=(an_entry(shard, calls),), at=T0)


async def claimed(store: Store, name: str, shards: int) -> Sequence[Shard]:
    batch = await planned(store, a_batch(name), shards=shards)
    return await store.shards.claim(await store.shards.of_batch(batch.id))


@with_stores
async def test_a_shard_that_many_close_while_others_tally_is_charged_once(
    one: Store, two: Store
) -> None:
    for number in range(4):
        [shard] = await claimed(one, str(number), 1)
        closing = [store.shards.close(told(shard, 10)) for store in (one, two) * 3]
        tallying = [store.shards.tally([told(shard, 4)]) for store in (one, two) * 3]
        doing: list[Awaitable[Any]] = [*closing, *tallying]
        random.Random(number).shuffle(doing)
        ends = await asyncio.gather(*doing)
        assert ends.count(True) == 6
        assert await count(one, ledger, ledger.c.batch_id == shard.batch_id) == 1
        assert await count(one, meters) == 0
        spent = await two.ledger.of_batch(shard.batch_id)
        assert spent.closed == an_entry(shard, 10).price
        assert spent.open == {}


@with_stores
async def test_tallies_in_any_order_do_not_wait_for_each_other_in_a_circle(
    one: Store, two: Store
) -> None:
    shards = await claimed(one, "1", 12)
    order = random.Random(7)
    await asyncio.gather(
        *(
            store.shards.tally([told(shard, calls) for shard in order.sample(shards, len(shards))])
            for calls, store in enumerate((one, two) * 6, 1)
        )
    )
    stored = await one.shards.of_batch(shards[0].batch_id)
    assert {shard.completed for shard in stored} <= set(range(1, 13))
    assert len({shard.completed for shard in stored}) == 1, "a tally is written as a whole"
    assert await count(one, meters) == 12


@with_stores
async def test_whoever_tallies_or_closes_while_the_batch_ends_leaves_nothing_open(
    one: Store, two: Store
) -> None:
    """Of a batch that failed nothing is owed, whichever of them came first."""
    for number in range(4):
        shards = await claimed(one, str(number), 4)
        running = await get(one, a_batch(str(number)))
        failed = replace(advance(running, Event.BROKE, T0 + 2), list_price=0, price=0)
        doing: list[Awaitable[Any]] = [
            store.shards.tally([told(shard, 3) for shard in reversed(shards)])
            for store in (one, two) * 2
        ]
        doing.insert(2, two.batches.move(running, failed))
        doing.insert(number, one.shards.close(told(shards[1], 10)))
        await asyncio.gather(*doing)
        assert await count(one, meters) == 0
        assert (await one.ledger.of_batch(running.id)).closed == 0
        assert not await one.shards.close(told(shards[0], 10)), "a late worker has nothing to close"
        await two.shards.tally([told(shard, 5) for shard in shards])
        assert await count(one, meters) == 0


# --- webhooks, caps, keys, prices ---


def an_endpoint(name: object = 1) -> WebhookEndpoint:
    return WebhookEndpoint(
        id=f"we_{name}",
        account="acme",
        name=f"hook {name}",
        url="https://hook.example.com/",
        event_types=("batch.completed", "batch.failed"),
        secret="whsec_c2VjcmV0",
        created_at=T0,
        updated_at=T0,
    )


def a_delivery(name: object, endpoint: str = "we_1") -> Delivery:
    return Delivery(
        id=f"whd_{name}",
        account="acme",
        event_id=f"evt_{name}",
        event_type="batch.completed",
        subject="batch_1",
        url="https://hook.example.com/",
        payload="{}",
        created_at=T0,
        next_at=T0,
        endpoint_id=endpoint,
    )


@with_stores
async def test_no_more_endpoints_are_added_than_may_be(one: Store, two: Store) -> None:
    adding = (
        store.webhooks.add(an_endpoint(number), a_deed(number), most=5)
        for number, store in zip(range(MANY), cycle((one, two)), strict=False)
    )
    assert await accepted(*adding, refusal=TooManyEndpoints) == 5


@with_stores
async def test_every_failure_counts_for_the_circuit_breaker(one: Store, two: Store) -> None:
    await one.webhooks.add(an_endpoint(), a_deed(), most=5)
    tried = Tried(T0 + 1, status=500)
    due = [a_delivery(number) for number in range(6)]
    for delivery in due:
        await one.webhooks.enqueue(delivery)
    settled = [after_try(one_, tried, give_up_after=9e9, jitter=0.5) for one_ in due]
    await asyncio.gather(
        *(
            store.webhooks.settle(delivery, tried)
            for delivery, store in zip(settled, cycle((one, two)), strict=False)
        )
    )
    endpoint = await one.webhooks.get("acme", "we_1")
    assert endpoint is not None
    assert endpoint.failures == 6
    assert (await one.webhooks.due(T0 + 2, 100)) == []


@with_stores
async def test_nothing_stays_due_to_an_endpoint_that_is_deleted_meanwhile(
    one: Store, two: Store
) -> None:
    """Whether a batch ends, a try is settled or a delivery is replayed at that moment."""
    for number in range(6):
        await one.webhooks.add(an_endpoint(number), a_deed(f"add{number}"), most=99)
        before = await one.batches.create(a_batch(str(number)), None, ())
        failed = advance(before, Event.REJECTED, T0 + 1)
        old = [a_delivery(f"{number}-{n}", f"we_{number}") for n in range(3)]
        for delivery in old:
            await one.webhooks.enqueue(delivery)
        tried = Tried(T0 + 1, status=500)
        doing: list[Awaitable[Any]] = [
            two.batches.move(before, failed),
            *(
                one.webhooks.settle(after_try(each, tried, give_up_after=9e9, jitter=0.5), tried)
                for each in old[:2]
            ),
            two.webhooks.give_up(T0 + 9, T0 + 9),
            two.webhooks.enqueue(a_delivery(f"{number}-again", f"we_{number}")),
        ]
        doing.insert(number, one.webhooks.delete("acme", f"we_{number}", a_deed(f"del{number}")))
        await asyncio.gather(*doing)
        assert (await one.webhooks.backlog(T0 + 99)).waiting == 0


@with_stores
async def test_an_alert_goes_out_once_and_a_cap_is_one_row(one: Store, two: Store) -> None:
    stores = (one, two) * 6
    caps = [Cap("acme", Scope.ACCOUNT, "acme", "USD", 1000 + n, 80) for n in range(12)]
    putting = zip(stores, caps, strict=True)
    await asyncio.gather(*(store.caps.put(cap, a_deed(cap.limit)) for store, cap in putting))
    [cap] = await one.caps.list("acme")
    await one.webhooks.add(an_endpoint(), a_deed("hook"), most=9)
    event = batch_event(a_batch(status=Status.COMPLETED), T0)
    assert event is not None
    firsts = await asyncio.gather(*(store.caps.alert(cap, "2026-11", event) for store in stores))
    assert firsts.count(True) == 1
    assert await count(one, deliveries) == 1
    assert await two.caps.alert(cap, "2026-12", event)


@with_stores
async def test_a_key_is_revoked_once_and_remembers_its_last_use(one: Store, two: Store) -> None:
    key = Key(
        id="key_9",
        account=OPERATOR,
        workspace=OPERATOR_WORKSPACE,
        name="Key",
        role=Role.MEMBER,
        prefix="sk-bm-00000009",
        digest="d" * 64,
        created_at=T0,
    )
    await one.keys.add(key, replace(a_deed("add"), account=OPERATOR))
    stores = (one, two) * 6
    revoking = [
        store.keys.revoke(OPERATOR, key.id, replace(a_deed(n), account=OPERATOR, at=T0 + n))
        for n, store in enumerate(stores)
    ]
    touching = [store.keys.touch(key.id, T0 + n) for n, store in enumerate(stores)]
    seen = (await asyncio.gather(*revoking, *touching))[: len(stores)]
    revoked = await one.keys.get(OPERATOR, key.id)
    assert revoked is not None
    assert {each.revoked_at for each in seen if each is not None} == {revoked.revoked_at}
    assert revoked.last_used_at == T0 + len(stores) - 1
    assert len((await one.audit.list(OPERATOR, limit=99)).items) == 2
    assert await count(one, api_keys) == 1


@with_stores
async def test_a_price_table_is_kept_once(one: Store, two: Store) -> None:
    await asyncio.gather(
        *(store.prices.keep("v1", f"text {n}", T0) for n, store in enumerate((one, two) * 6))
    )
    assert await count(one, price_tables) == 1
