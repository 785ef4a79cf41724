"""Signs of life and shared secrets: a row a name."""

import asyncio

from store_cases import T0, with_store

from batchmill.ports import Sign, Store


@with_store
async def test_the_last_word_counts(store: Store) -> None:
    assert await store.signs.get("engine.progress") is None
    for body, durably in ((b"{}", False), (b"\x00\xff", True), (b"", False), (b"{}", True)):
        await store.signs.put(Sign("engine.progress", body, T0), durably=durably)
        assert await store.signs.get("engine.progress") == Sign("engine.progress", body, T0)


@with_store
async def test_names_are_listed_by_how_they_begin(store: Store) -> None:
    names = ("worker.b.metrics", "worker.a.metrics", "Worker.c", "work", "engine.metrics", "w_%")
    for name in names:
        await store.signs.put(Sign(name, name.encode(), T0))
    for prefix in ("worker.", "", "w_", "nobody"):
        found = [sign.name for sign in await store.signs.list(prefix)]
        assert found == sorted(name for name in names if name.startswith(prefix))


@with_store
async def test_old_ones_are_forgotten(store: Store) -> None:
    for name, at in (("a", T0 - 0.5), ("b", T0), ("c", T0 + 1)):
        await store.signs.put(Sign(name, b"", at))
    await store.signs.forget(T0)
    assert [sign.name for sign in await store.signs.list("")] == ["b", "c"]


@with_store
async def test_many_may_speak_at_once(store: Store) -> None:
    said = [Sign(f"worker.{n % 4}", str(n).encode(), T0) for n in range(24)]
    await asyncio.gather(*(store.signs.put(sign) for sign in said))
    found = await store.signs.list("worker.")
    assert [sign.name for sign in found] == [f"worker.{n}" for n in range(4)]
    assert all(sign in said for sign in found)


@with_store
async def test_a_secret_is_that_of_whoever_was_first(store: Store) -> None:
    offers = [bytes([n]) * 32 for n in range(8)]
    kept = await asyncio.gather(*(store.secrets.keep("sessions", offer) for offer in offers))
    assert len(set(kept)) == 1
    assert kept[0] in offers
    assert await store.secrets.keep("sessions", b"late") == kept[0]
    assert await store.secrets.keep("other", b"new") == b"new"
