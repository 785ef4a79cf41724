"""Who decides: one at a time, and nobody whom another has succeeded."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from postgres_server import PostgresServer, running
from sqlalchemy import text
from store_cases import KINDS, PLENTY, T0, a_batch, a_file, a_tally, get, planned

from batchmill.domain.errors import StorageAway, Superseded
from batchmill.ports import Sign
from batchmill.store import SqlStore, open_store
from batchmill.store.postgres_seat import PostgresSeat, Terms

# Long enough for a machine that others use, short enough for a test that waits for it once.
BRISK = Terms(sign=0.2, silence=60.0, again=0.02)


def hurried(store: SqlStore, terms: Terms = BRISK) -> SqlStore:
    """The same store, whose leadership waits for shorter times."""
    seat = store.leadership._seat
    if isinstance(seat, PostgresSeat):
        seat._terms = terms
    return store


@asynccontextmanager
async def stores(kind: str, folder: Path, count: int) -> AsyncIterator[list[SqlStore]]:
    """Several stores over one database, as several machines open it."""
    opened = [hurried(await KINDS[kind](folder)) for _ in range(count)]
    try:
        yield opened
    finally:
        for store in opened:
            await store.close()


async def cut(store: SqlStore) -> None:
    """End the connection that holds the seat, as a server does that restarts."""
    seat = store.leadership._seat
    assert isinstance(seat, PostgresSeat)
    assert seat._connection is not None
    pid = seat._connection.get_server_pid()  # type: ignore[attr-defined]
    async with store._database.read() as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_leader_begins_an_epoch(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        for expected in (1, 2, 3):
            async with stores(kind, tmp_path, 1) as (store,):
                assert await store.leadership.current() == expected - 1
                assert await store.leadership.take() == expected
                await store.files.add(a_file(str(expected)), PLENTY)
                over = asyncio.create_task(store.leadership.superseded())
                await asyncio.sleep(0)
                assert not over.done()
                over.cancel()

    asyncio.run(main())


def test_the_second_waits_until_the_first_has_left(tmp_path: Path) -> None:
    async def main() -> None:
        async with stores("postgres", tmp_path, 2) as (first, second):
            assert await first.leadership.take() == 1
            answers = answers_of(second)
            taking = asyncio.create_task(second.leadership.take())
            for _ in range(3):
                assert not await answers.get()
            assert not taking.done()
            assert await second.leadership.current() == 1
            await first.close()
            assert await taking == 2

    asyncio.run(main())


def answers_of(store: SqlStore) -> asyncio.Queue[bool]:
    """What each try at its seat came to, from now on."""
    seat, answers = store.leadership._seat, asyncio.Queue[bool]()
    try_take = seat.try_take

    async def noted() -> bool:
        answer = await try_take()
        answers.put_nowait(answer)
        return answer

    seat.try_take = noted  # type: ignore[method-assign]
    return answers


async def claim(store: SqlStore) -> object:
    return await store.shards.claim(await store.shards.of_batch("batch_1"))


async def tally(store: SqlStore) -> object:
    (shard, *_) = await store.shards.of_batch("batch_1")
    await store.shards.tally([a_tally(shard, 3)])
    return None


async def cancel(store: SqlStore) -> object:
    batch = await get(store, a_batch())
    return await store.batches.move(batch, batch)


WRITES: dict[str, Callable[[SqlStore], Awaitable[object]]] = {
    "a row": lambda store: store.files.add(a_file("late"), PLENTY),
    "a claim": claim,
    "a tally": tally,
    "a move": cancel,
    "a sign": lambda store: store.signs.put(Sign("engine.progress", b"late", T0)),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("write", sorted(WRITES))
def test_who_was_succeeded_without_noticing_writes_nothing(
    kind: str, write: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with stores(kind, tmp_path, 2) as (old, new):
            await planned(old, a_batch())
            await old.leadership.take()
            await old.shards.claim((await old.shards.of_batch("batch_1"))[:1])
            assert old.leadership._keeping is not None
            old.leadership._keeping.cancel()
            await old.leadership._seat.leave()  # as the server does to one that is frozen
            assert await new.leadership.take() == 2
            before = await everything(new)
            with pytest.raises(Superseded):
                await WRITES[write](old)
            assert await everything(new) == before
            await WRITES[write](new)
            assert await everything(new) != before or write == "a move"

    asyncio.run(main())


async def everything(store: SqlStore) -> list[object]:
    tables = ("files", "batches", "shards", "signs", "leadership")
    async with store._database.read() as connection:
        return [
            (await connection.execute(text(f"SELECT * FROM {table} ORDER BY 1"))).all()
            for table in tables
        ]


def test_a_leader_whose_connection_broke_goes_on_if_nobody_came(tmp_path: Path) -> None:
    async def main() -> None:
        async with stores("postgres", tmp_path, 1) as (store,):
            await store.leadership.take()
            answers = answers_of(store)
            for name in ("1", "2"):
                await cut(store)
                while await answers.get():
                    pass
                while not await answers.get():
                    pass
                await store.files.add(a_file(name), PLENTY)
            assert await store.leadership.current() == 1

    asyncio.run(main())


def test_a_leader_whose_connection_broke_is_over_if_somebody_came(tmp_path: Path) -> None:
    async def main() -> None:
        async with stores("postgres", tmp_path, 2) as (old, new):
            await old.leadership.take()
            over = asyncio.create_task(old.leadership.superseded())
            seat = old.leadership._seat
            assert isinstance(seat, PostgresSeat)
            tries = seat.try_take
            arrived = asyncio.Event()

            async def later() -> bool:
                await arrived.wait()
                return await tries()

            seat.try_take = later  # type: ignore[method-assign]
            await cut(old)
            assert await new.leadership.take() == 2
            assert not over.done()
            arrived.set()
            await over
            with pytest.raises(Superseded):
                await old.files.add(a_file(), PLENTY)
            await new.files.add(a_file(), PLENTY)

    asyncio.run(main())


def test_the_server_ends_the_hold_of_one_that_says_nothing(tmp_path: Path) -> None:
    """A process that is stopped keeps its connection; it must not keep the seat."""

    async def main() -> None:
        async with stores("postgres", tmp_path, 2) as (frozen, other):
            seat = hurried(frozen, Terms(sign=600.0, silence=0.3, again=0.02)).leadership._seat
            assert await frozen.leadership.take() == 1
            assert await other.leadership.take() == 2
            await frozen.leadership.superseded()
            assert isinstance(seat, PostgresSeat)
            assert seat._connection is None

    asyncio.run(main())


def test_a_writer_in_the_middle_commits_before_the_next_epoch_begins(tmp_path: Path) -> None:
    async def main() -> None:
        async with stores("postgres", tmp_path, 2) as (old, new):
            await old.leadership.take()
            async with old._database.write() as connection:
                assert old.leadership._keeping is not None
                old.leadership._keeping.cancel()
                await old.leadership._seat.leave()
                taking = asyncio.create_task(new.leadership.take())
                while not await is_blocked(old):
                    pass
                await connection.execute(text("UPDATE leadership SET since = 5"))
                assert not taking.done()
            assert await taking == 2
            with pytest.raises(Superseded):
                async with old._database.write():
                    raise AssertionError("it wrote")

    async def is_blocked(store: SqlStore) -> bool:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        here = " AND datname = current_database()"
        async with store._database.read() as connection:
            return bool((await connection.execute(text(waiting + here))).scalar_one())

    asyncio.run(main())


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running() as started:
        yield started


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_leader_outlives_a_restart_of_the_server(
    how: signal.Signals, server: PostgresServer
) -> None:
    """And rings the bell again."""

    async def main() -> None:
        store = hurried(await open_store(server.url(server.create())))
        rings: asyncio.Queue[None] = asyncio.Queue()
        listening = asyncio.create_task(store.bell.listen(lambda: rings.put_nowait(None)))
        await rings.get()
        await store.leadership.take()
        answers = answers_of(store)
        server.stop(how)
        await store.bell.ring()
        with pytest.raises(StorageAway):
            await store.files.add(a_file(), PLENTY)
        while await answers.get():
            pass
        server.start()  # by this thread: the server ends with the one that starts it
        await rings.get()
        while not await answers.get():
            pass
        await store.files.add(a_file(), PLENTY)
        assert await store.leadership.current() == 1
        listening.cancel()
        await store.close()

    asyncio.run(main())


def test_every_ring_is_heard_on_every_machine_and_none_is_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with stores("postgres", tmp_path, 3) as (api, *engines):
            queues: list[asyncio.Queue[None]] = [asyncio.Queue() for _ in engines]
            tasks = [
                asyncio.create_task(engine.bell.listen(partial(queue.put_nowait, None)))
                for engine, queue in zip(engines, queues, strict=True)
            ]
            for queue in queues:
                await queue.get()  # what was missed before
            for _ in range(3):
                await api.bell.ring()
                for queue in queues:
                    await queue.get()
            assert all(queue.empty() for queue in queues)
            for task in tasks:
                task.cancel()

    asyncio.run(main())


def test_one_machine_has_a_silent_bell(tmp_path: Path) -> None:
    async def main() -> None:
        async with stores("sqlite", tmp_path, 1) as (store,):
            rings: list[None] = []
            listening = asyncio.create_task(store.bell.listen(lambda: rings.append(None)))
            await store.bell.ring()
            await asyncio.sleep(0)
            assert not rings
            assert not listening.done()
            listening.cancel()

    asyncio.run(main())
