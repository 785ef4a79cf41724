"""Price tables: kept by version, for ever, as they were first written."""

import asyncio

from store_cases import T0, with_store

from batchmill.ports import Store


@with_store
async def test_a_table_comes_back_as_it_was_kept(store: Store) -> None:
    assert await store.prices.get("v1") is None
    await store.prices.keep("v1", '{"a":"ä"}', T0)
    assert await store.prices.get("v1") == '{"a":"ä"}'
    assert await store.prices.get("v2") is None


@with_store
async def test_what_is_there_stays_as_it_is(store: Store) -> None:
    await store.prices.keep("v1", "first", T0)
    await store.prices.keep("v1", "second", T0 + 1)
    assert await store.prices.get("v1") == "first"


@with_store
async def test_many_may_keep_the_same_table_at_once(store: Store) -> None:
    await asyncio.gather(*(store.prices.keep("v1", "text", T0) for _ in range(8)))
    assert await store.prices.get("v1") == "text"
