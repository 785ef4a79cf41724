"""The engine over a bucket: workers that die or sleep, dispatchers that wake up too late."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from bucket_server import new_place
from engine_house import House, Proxy, Script, open_house, some_lines

from batchmill.domain.batch import Batch, Counts, Event, Status, advance
from batchmill.domain.ids import line_id
from batchmill.domain.results import judge, output_line
from batchmill.domain.shards import Shard
from batchmill.domain.usage import Usage
from batchmill.engine.delivery import Deliverer
from batchmill.engine.prices import PriceBook
from batchmill.engine.purse import Treasury
from batchmill.ports import Blobs, Record, Sealed, Settled, ShardTally
from batchmill.upstream.mock import MockUpstream
from batchmill.wiring import parts

URL = "http://127.0.0.1:9/v1"
BODY = b'{"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":3}}'
LINES = 40


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings of a fresh bucket, in which groups are made as fast as on a disk."""
    monkeypatch.setattr(parts, "_LEAST_OBJECT_INTERVAL", 0.0)
    place = new_place()
    return {"blobs": place.url, "blob_options": place.options}


async def assert_exact(house: House, batch: Batch) -> None:
    """Every line once in the files, and once on the bill."""
    assert batch.counts == Counts(LINES, LINES, 0)
    output, _ = await house.results(batch)
    assert len(output) == LINES
    billed = await house.rows.ledger.course(batch.id)
    assert sum(one.calls for one in billed) == LINES
    assert sum(one.input_tokens for one in billed) == batch.usage.input
    assert sum(one.output_tokens for one in billed) == batch.usage.output


def test_a_batch_goes_through_a_bucket_and_leaves_nothing_in_the_journal(
    tmp_path: Path, data: dict[str, Any]
) -> None:
    async def main() -> None:
        mock = MockUpstream()
        async with open_house(tmp_path, await mock.start(), data=data) as house:
            done = await house.until(await house.submit(some_lines(LINES)))
            assert done.status is Status.COMPLETED
            await assert_exact(house, done)
            assert set(mock.hits.values()) == {1}
            await house.stop()
            assert list(await house.parts.journal.held()) == []
        await mock.stop()
        assert not (tmp_path / "blobs").exists()
        assert not (tmp_path / "journal").exists()

    asyncio.run(main())


@pytest.mark.parametrize("interval", [0.0, 3600.0])
@pytest.mark.parametrize("thaws", ["never", "meanwhile", "afterwards"])
def test_a_worker_that_sleeps_through_its_successor_changes_nothing(
    tmp_path: Path,
    data: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    interval: float,
    thaws: str,
) -> None:
    """Asleep with lines in flight and records that were not durable yet; or never awake again."""

    async def main() -> None:
        old, new = MockUpstream(), MockUpstream()
        old_url, new_url = await old.start(), await new.start()
        monkeypatch.setattr(parts, "_LEAST_OBJECT_INTERVAL", interval)
        async with open_house(tmp_path, old_url, data=data, max_in_flight=4) as first:
            batch = await first.submit(some_lines(LINES))
            await old.wait_until(lambda stats: stats.answered >= LINES // 3)
            old.hold()
            await old.wait_until(lambda stats: stats.held == 4)
            monkeypatch.setattr(parts, "_LEAST_OBJECT_INTERVAL", 0.0)
            async with open_house(tmp_path, new_url, data=data, start=False) as second:
                kept = await settled_lines(second, batch)
                if thaws == "meanwhile":
                    new.hold()
                second.start()
                if thaws == "meanwhile":
                    await new.wait_until(lambda stats: stats.held > 0)
                    await thaw(first, old)
                    new.release()
                done = await second.until(batch)
                if thaws == "afterwards":
                    await thaw(first, old)
                await assert_exact(second, done)
                assert not kept & new.hits.keys(), "what was durable is not sent again"
            await first.stop()
            assert await first.get(batch) == done
            await assert_exact(first, done)
        await old.stop()
        await new.stop()

    asyncio.run(main())


async def settled_lines(house: House, batch: Batch) -> set[str]:
    shards = await house.rows.shards.of_batch(batch.id)
    found = [await house.parts.journal.read(batch.id, shard.index) for shard in shards]
    return {line_id(batch.id, number) for settled in found for number in settled.records}


async def thaw(house: House, mock: MockUpstream) -> None:
    """It goes on as if nothing had been: answers come, are journaled, and shards closed."""
    mock.release()
    await house.stop()


# --- dispatchers that wake up too late ---


class SleepyJournal:
    """Stops at ``where``, tells of it, and goes on when it is woken."""

    def __init__(self, inner: Any, where: str) -> None:
        self._inner = inner
        self._where = where
        self.asleep, self.woken = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def pause(self, where: str) -> None:
        if where == self._where:
            self.asleep.set()
            await self.woken.wait()

    async def seal(self, batch_id: str) -> Sealed:
        await self.pause("before sealing")
        inner = await self._inner.seal(batch_id)
        await self.pause("after sealing")
        return SleepySealed(self, inner)


class SleepySealed:
    def __init__(self, journal: SleepyJournal, inner: Sealed) -> None:
        self._journal = journal
        self._inner = inner
        self.shards_ahead = inner.shards_ahead

    async def read(self, index: int) -> Settled:
        if index == 1:
            await self._journal.pause("between two shards")
        return await self._inner.read(index)

    async def stands(self) -> bool:
        return await self._inner.stands()


def a_deliverer(house: House, journal: Any = None, blobs: Blobs | None = None) -> Deliverer:
    return Deliverer(
        store=house.store,
        blobs=blobs or house.parts.blobs,
        journal=journal or house.parts.journal,
        clock=house.clock,
        prices=PriceBook(house.store.prices),
        treasury=Treasury(caps=house.store.caps, ledger=house.store.ledger, clock=house.clock),
        max_line_bytes=1 << 20,
    )


async def cancelled(house: House) -> tuple[Batch, list[Shard]]:
    """A batch of three shards that is being cancelled, with half of its lines settled."""
    batch = await house.submit(some_lines(12))
    one = (await house.upload(some_lines(12))).bytes // 12
    planned = [
        Shard(batch.id, n, n * 4 * one, (n + 1) * 4 * one, n * 4 + 1, 4, ("m",)) for n in range(3)
    ]
    planned[2] = replace(planned[2], end=12 * one + 100)
    running = advance(batch, Event.PLANNED, house.clock.now())
    assert await house.rows.batches.plan(batch, running, planned)
    shards = list(await house.rows.shards.claim(planned))
    for shard in shards:
        await journal_lines(house, shard, shard.first_line, shard.first_line + 1)
    stopping = advance(running, Event.CANCEL_REQUESTED, house.clock.now())
    assert await house.rows.batches.move(running, stopping)
    return stopping, shards


async def journal_lines(house: House, shard: Shard, *numbers: int) -> None:
    segment = await house.parts.journal.open(shard, lambda records: None)
    for number in numbers:
        line = output_line(line_id(shard.batch_id, number), b'"c%d"' % number, judge(200, BODY))
        segment.append(Record(number, True, Usage(2, 3), line))
    await segment.close()


def with_house(
    tmp_path: Path, data: dict[str, Any], test: Callable[[House], Coroutine[Any, Any, None]]
) -> None:
    async def main() -> None:
        async with open_house(tmp_path, URL, data=data, start=False) as house:
            await test(house)

    asyncio.run(main())


@pytest.mark.parametrize("where", ["before sealing", "after sealing", "between two shards"])
def test_a_delivery_that_slept_through_another_leaves_its_files_alone(
    tmp_path: Path, data: dict[str, Any], where: str
) -> None:
    """The journal is gone when it wakes: read as it is, every line would seem undone."""

    async def test(house: House) -> None:
        batch, _ = await cancelled(house)
        journal = SleepyJournal(house.parts.journal, where)
        late = asyncio.create_task(a_deliverer(house, journal).deliver(batch))
        await journal.asleep.wait()
        await a_deliverer(house).deliver(batch)
        done = await house.get(batch)
        assert done.counts == Counts(12, 6, 6)
        before = await house.results(done)
        journal.woken.set()
        await late
        assert await house.get(batch) == done
        assert await house.results(done) == before
        assert list(await house.parts.journal.held()) == []

    with_house(tmp_path, data, test)


def test_a_delivery_that_slept_before_its_last_request_writes_the_same_bytes(
    tmp_path: Path, data: dict[str, Any]
) -> None:
    async def test(house: House) -> None:
        batch, shards = await cancelled(house)
        script = Script(house.clock)
        gate = script.hold("writer.commit")
        blobs = cast("Blobs", Proxy(house.blobs, "blobs", script))
        late = asyncio.create_task(a_deliverer(house, blobs=blobs).deliver(batch))
        await script.until(lambda: script.calls["writer.commit"] == 1)
        # A twin that nobody waits for any more writes on; it must be in neither delivery.
        await journal_lines(house, replace(shards[0], attempt=2), 3, 4)
        await a_deliverer(house).deliver(batch)
        done = await house.get(batch)
        before = await house.results(done)
        gate.set()
        await late
        assert await house.results(done) == before
        assert done.counts == Counts(12, 6, 6)

    with_house(tmp_path, data, test)


def test_a_worker_that_wakes_while_or_after_its_batch_is_delivered_bills_nothing(
    tmp_path: Path, data: dict[str, Any]
) -> None:
    async def test(house: House) -> None:
        batch, shards = await cancelled(house)
        late = ShardTally(
            batch_id=batch.id,
            index=2,
            attempt=shards[2].attempt,
            completed=4,
            failed=0,
            usage=Usage(8, 12),
            resent=0,
            at=house.clock.now(),
            entries=(),
        )
        journal = SleepyJournal(house.parts.journal, "after sealing")
        delivering = asyncio.create_task(a_deliverer(house, journal).deliver(batch))
        await journal.asleep.wait()
        assert not await house.rows.shards.close(late)
        journal.woken.set()
        await delivering
        done = await house.get(batch)
        billed = await house.rows.ledger.course(batch.id)
        assert not await house.rows.shards.close(late)
        assert await house.get(batch) == done
        assert await house.rows.ledger.course(batch.id) == billed
        assert done.counts == Counts(12, 6, 6)

    with_house(tmp_path, data, test)
