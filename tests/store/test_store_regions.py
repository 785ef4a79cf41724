"""The ledger by region: an entry for each, and what was charged before there were regions."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from postgres_server import database
from sqlalchemy import Connection, inspect, select, text
from store_cases import T0, a_batch, a_tally, get, planned, upgrade_to, with_store

from batchmill.domain.batch import Event, advance
from batchmill.domain.ledger import Charge, Entry, Payer
from batchmill.domain.periods import LATEST, Bucket
from batchmill.domain.pricing import Item
from batchmill.domain.shards import Shard
from batchmill.domain.usage import Usage
from batchmill.ports import Dimension, ShardTally, Store, UsageFilter, UsageQuery
from batchmill.store import SqlStore, open_store
from batchmill.store.database import Database
from batchmill.store.sql import backend_for
from batchmill.store.tables import ledger, ledger_items, metadata, meters

PAYER = Payer("acme", "ws_default", "key_1")
ALL_TIME = UsageFilter("acme", 0, LATEST)
EVERYWHERE: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "sqlite": lambda folder: nullcontext(str(folder / "x.db")),
    "postgres": lambda _: database(migrated=False),
}


def served(shard: Shard, region: str, calls: int) -> Entry:
    """Lines that ``region`` served, at 10 units each."""
    usage = Usage(calls * 3, calls * 2, 0, 0)
    charges = (Charge(Item.INPUT, calls * 3, calls * 20, calls * 10),)
    return Entry(
        *(shard.batch_id, shard.index, "m", PAYER, "v1", "USD", calls),
        usage=usage,
        charges=charges,
        region=region,
    )


def told(shard: Shard, **regions: int) -> ShardTally:
    """So many lines by region; ``nowhere`` is no region."""
    entries = tuple(
        served(shard, region.replace("nowhere", ""), calls) for region, calls in regions.items()
    )
    calls = sum(regions.values())
    return a_tally(shard, calls, entries=entries, at=T0)


async def running(store: Store, count: int = 1) -> Sequence[Shard]:
    batch = await planned(store, a_batch(), shards=count)
    return await store.shards.claim(await store.shards.of_batch(batch.id))


async def by_region(store: Store) -> dict[str | None, int]:
    query = UsageQuery(ALL_TIME, Bucket.MONTH, (Dimension.REGION,))
    return {one.group.region: one.calls for one in (await store.usage.usage(query)).items}


async def prices_by_region(store: Store) -> dict[str | None, int]:
    query = UsageQuery(ALL_TIME, Bucket.MONTH, (Dimension.REGION,))
    return {one.group.region: one.price for one in (await store.usage.spending(query)).items}


@with_store
async def test_each_region_of_a_shard_has_an_entry_and_items_of_its_own(store: Store) -> None:
    one, two = await running(store, 2)
    await store.shards.tally([told(one, eu=1), told(two, eu=100, us=2, nowhere=3)])
    assert await store.shards.close(told(one, eu=4, us=6))
    assert await by_region(store) == {None: 3, "eu": 104, "us": 8}
    assert await prices_by_region(store) == {"eu": 40, "us": 60}
    spent = await store.ledger.of_batch(one.batch_id)
    assert (spent.closed, spent.open) == (100, {1: 1050})
    [milestone, _] = await store.ledger.course(one.batch_id)
    assert milestone.calls in (10, 105), "a shard is one step, whoever served it"


@with_store
async def test_a_region_that_no_longer_counts_leaves_no_meter(store: Store) -> None:
    """A later tally replaces the whole of the one before."""
    [shard] = await running(store)
    await store.shards.tally([told(shard, eu=1, us=1)])
    await store.shards.tally([told(shard, us=2)])
    assert await by_region(store) == {"us": 2}


@with_store
async def test_a_batch_that_broke_gives_every_region_back_what_it_charged(store: Store) -> None:
    one, two = await running(store, 2)
    await store.shards.close(told(one, eu=4, us=6))
    await store.shards.close(told(two, eu=1, nowhere=9))
    batch = await get(store, a_batch())
    assert await store.batches.move(batch, advance(batch, Event.BROKE, T0 + 9))
    assert (await store.ledger.of_batch(batch.id)).closed == 0
    assert await prices_by_region(store) == {None: 0, "eu": 0, "us": 0}


@with_store
async def test_the_primary_keys_are_those_of_the_tables(store: Store) -> None:
    """Alembic's comparison does not look at them."""

    def keys(connection: Connection) -> dict[str, set[str]]:
        found = inspect(connection)
        return {
            name: set(found.get_pk_constraint(name)["constrained_columns"])
            for name in metadata.tables
        }

    assert isinstance(store, SqlStore)
    async with store._database.read() as connection:
        stored = await connection.run_sync(keys)
    assert stored == {
        name: {column.name for column in table.primary_key}
        for name, table in metadata.tables.items()
    }


BATCH = (
    "INSERT INTO batches (id, account, input_file_id, endpoint, completion_window, status, total, "
    "completed, failed, resent, input_tokens, output_tokens, cached_tokens, reasoning_tokens, "
    "created_at, expires_at) VALUES ('b', 'acme', 'f', '/v1/chat/completions', '24h', "
    "'in_progress', 1, 0, 0, 0, 0, 0, 0, 0, 1.0, 2.0)"
)
METERED = (
    "(batch_id, position, model, account, workspace, key_id, at, hour, price_version, currency, "
    "calls, failures, rejections, millis, input_tokens, output_tokens, cached_tokens, "
    "reasoning_tokens, list_millionths, list_rest, price_millionths, price_rest, retries) VALUES "
    "('b', {at}, 'm', 'acme', 'ws', NULL, 7.5, 0, 'v1', 'USD', {calls}, 1, 2, 3, 4, 5, 6, 7, 8, 9, "
    "10, 11, 12)"
)
ITEM = (
    "INSERT INTO ledger_items (batch_id, position, model, item, tokens, list_millionths, "
    "list_rest, price_millionths, price_rest) VALUES ('b', 0, 'm', 'input_token_batch', 4, 1, 2, "
    "3, 4)"
)
SHARD = (
    "INSERT INTO shards (batch_id, position, byte_start, byte_end, first_line, lines, models, "
    "status, attempt, completed, failed, resent, input_tokens, output_tokens, cached_tokens, "
    "reasoning_tokens) VALUES ('b', 1, 0, 1, 1, 23, '[\"m\"]', 'running', 1, 0, 0, 0, 0, 0, 0, 0)"
)
OLD_ROWS = (
    BATCH,
    SHARD,
    f"INSERT INTO ledger {METERED.format(at=0, calls=21)}",
    f"INSERT INTO ledger {METERED.format(at=2, calls=22)}",
    f"INSERT INTO meters {METERED.format(at=1, calls=23)}",
    ITEM,
)


@pytest.mark.parametrize("kind", sorted(EVERYWHERE))
def test_what_was_charged_before_there_were_regions_stays_what_it_was(
    kind: str, tmp_path: Path
) -> None:
    """Row by row and column by column; and then regions can be added to it."""

    async def main(where: str) -> None:
        await make_old(where)
        store = await open_store(where)
        try:
            entries, items, running_ = [
                await rows(store, table) for table in (ledger, ledger_items, meters)
            ]
            assert [(row["position"], row["calls"]) for row in entries] == [(0, 21), (2, 22)]
            assert [(row["position"], row["calls"]) for row in running_] == [(1, 23)]
            numbers = {"failures": 1, "at": 7.5, "reasoning_tokens": 7, "price_rest": 11}
            for row in (*entries, *running_):
                assert {name: row[name] for name in numbers} == numbers
                assert (row["region"], row["key_id"], row["retries"]) == ("", None, 12)
            [item] = items
            assert (item["item"], item["tokens"], item["price_rest"]) == ("input_token_batch", 4, 4)
            assert await by_region(store) == {None: 66}
            shard = Shard("b", 1, 0, 1, 1, 23, ("m",), attempt=1)
            assert await store.shards.close(replace(told(shard, nowhere=23, eu=1), at=8.0))
            assert await by_region(store) == {None: 66, "eu": 1}
        finally:
            await store.close()

    with EVERYWHERE[kind](tmp_path) as where:
        asyncio.run(main(where))


async def rows(store: SqlStore, table: Any) -> Sequence[Any]:
    async with store._database.read() as connection:
        found = await connection.execute(select(table).order_by(table.c.position))
        return [dict(row) for row in found.mappings()]


async def make_old(where: str) -> None:
    """A database as it was at revision 0004, with a little in its ledger."""
    old = Database(backend_for(where))
    async with old.opening(), old.write() as connection:
        await connection.run_sync(partial(upgrade_to, "0004"))
        for statement in OLD_ROWS:
            await connection.execute(text(statement))
    await old.close()
