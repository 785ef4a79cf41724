"""Purses that are read from the store: exact in the end, whatever happens between two readings."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from engine_fakes import DAY, FakeClock, a_shard

from batchmill.domain.account import Deed
from batchmill.domain.batch import Batch, Counts, Event, Halt, Status, advance
from batchmill.domain.caps import Cap, Scope, month_start
from batchmill.domain.ledger import Charge, Entry
from batchmill.domain.pricing import Item
from batchmill.domain.shards import Shard
from batchmill.domain.usage import ZERO
from batchmill.engine.remote_purse import ReadTreasury, RemotePurses
from batchmill.ports import LedgerStore, ShardTally, Standing
from batchmill.store import SqlStore, open_store

DEED = Deed("deed_1", "acme", "machine", "cap.changed", "acme", 0.0)
CAP = Cap("acme", Scope.ACCOUNT, "acme", "USD", 1000)


class Shaky:
    """The ledger, which may be out of reach."""

    def __init__(self, ledger: LedgerStore) -> None:
        self._ledger = ledger
        self.is_away = False

    async def standing(self, *args: Any, **options: Any) -> Standing:
        if self.is_away:
            raise OSError("away")
        return await self._ledger.standing(*args, **options)


class Desk:
    """The treasury of a dispatcher, and what workers elsewhere write into the store."""

    def __init__(self, store: SqlStore, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.ledger = Shaky(store.ledger)
        self.spent: dict[tuple[str, int], int] = {}
        self.owed: dict[tuple[str, int], Entry] = {}
        self.shards: dict[str, list[Shard]] = {}
        self.restart()

    def restart(self) -> None:
        """Another dispatcher, which knows nothing yet."""
        ledger = cast("LedgerStore", self.ledger)
        self.treasury = ReadTreasury(caps=self.store.caps, ledger=ledger, clock=self.clock)

    async def cap(self, limit: int, scope: Scope = Scope.ACCOUNT, scope_id: str = "acme") -> None:
        deed = replace(DEED, id=f"deed_{random.random()}")
        cap = replace(CAP, limit=limit, scope=scope, scope_id=scope_id)
        await self.store.caps.put(cap, deed)
        await self.treasury.refresh()

    async def submit(self, name: str, shards: int = 3, **changes: Any) -> Batch:
        now = self.clock.now()
        batch = Batch(
            id=f"batch_{name}",
            account="acme",
            input_file_id="file-1",
            endpoint="/v1/chat/completions",
            completion_window="24h",
            status=Status.VALIDATING,
            created_at=now,
            expires_at=now + 300 * DAY,
            currency="USD",
        )
        batch = replace(batch, **changes)
        await self.store.batches.create(batch, None, ())
        after = replace(advance(batch, Event.PLANNED, now), counts=Counts(total=shards))
        rows = [a_shard(n, 1, batch_id=batch.id, attempt=0) for n in range(shards)]
        assert await self.store.batches.plan(batch, after, rows)
        self.shards[batch.id] = list(await self.store.shards.claim(rows))
        return after

    def tally(self, batch: Batch, shard: Shard, price: int) -> ShardTally:
        self.spent[batch.id, shard.index] = price
        charges = (Charge(Item.INPUT, 1, price, price),)
        entry = Entry(
            batch.id, shard.index, "m", batch.payer, "v1", "USD", calls=1, charges=charges
        )
        now = self.clock.now()
        return ShardTally(batch.id, shard.index, shard.attempt, 1, 0, ZERO, 0, now, (entry,))

    async def spend(self, batch: Batch, index: int, price: int, *, is_last: bool = False) -> None:
        """A worker tells what a shard has cost so far, or closes it."""
        shard = self.shards[batch.id][index]
        tally = self.tally(batch, shard, price)
        if is_last:
            assert await self.store.shards.close(tally)
            self.owed.pop((batch.id, index), None)
        else:
            self.owed[batch.id, index] = tally.entries[0]
            await self.store.shards.tally([tally])

    async def deliver(self, batch: Batch) -> None:
        """As the deliverer does it; shards that were never closed are charged now."""
        mine = [self.owed.pop(key) for key in list(self.owed) if key[0] == batch.id]
        stopping = advance(batch, Event.CANCEL_REQUESTED, self.clock.now())
        assert await self.store.batches.move(batch, stopping)
        after = advance(stopping, Event.DELIVERED, self.clock.now())
        await self.treasury.admit(batch)
        async with self.treasury.steady:
            assert await self.store.batches.deliver(stopping, after, (), mine)
            await self.treasury.forget(batch.id)

    @property
    def known(self) -> int:
        """What the account's cap was charged, as far as it was read."""
        [purse] = self.treasury._shared.values()
        return purse.spent


@asynccontextmanager
async def open_desk(folder: Path) -> AsyncIterator[Desk]:
    store = await open_store(folder / "batchmill.db")
    try:
        yield Desk(store, FakeClock())
    finally:
        await store.close()


def run(folder: Path, test: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with open_desk(folder) as desk:
            await test(desk)

    asyncio.run(main())


@pytest.mark.parametrize(("spent", "is_broke"), [(99, False), (100, True)])
def test_a_budget_is_used_up_when_what_was_read_reaches_it(
    tmp_path: Path, spent: int, *, is_broke: bool
) -> None:
    async def test(desk: Desk) -> None:
        batch = await desk.submit("1", budget=100)
        other = await desk.submit("2")
        await desk.treasury.admit(batch)
        await desk.treasury.admit(other)
        await desk.spend(batch, 0, 40, is_last=True)
        await desk.spend(batch, 1, spent - 40)
        await desk.spend(other, 0, 10**6)
        assert desk.treasury.broke() == frozenset(), "not read yet"
        await desk.treasury.read()
        assert desk.treasury.broke() == ({batch.id} if is_broke else frozenset())
        assert desk.treasury.halt_of(batch.id) == (Halt.BUDGET if is_broke else None)
        await desk.spend(batch, 1, spent - 40, is_last=True)
        await desk.treasury.read()
        assert (batch.id in desk.treasury.broke()) == is_broke, "closing costs nothing more"

    run(tmp_path, test)


@pytest.mark.parametrize(("limit", "is_reached"), [(61, False), (60, True)])
def test_a_monthly_cap_counts_ended_running_and_adopted_batches_once(
    tmp_path: Path, limit: int, *, is_reached: bool
) -> None:
    async def test(desk: Desk) -> None:
        ended, before = await desk.submit("1"), await desk.submit("2")
        await desk.spend(ended, 0, 10, is_last=True)
        await desk.deliver(ended)
        await desk.spend(before, 0, 20, is_last=True)
        await desk.spend(before, 1, 5)
        desk.restart()
        await desk.cap(limit)
        assert desk.known == 10, "the batch that runs is not known yet"
        await desk.spend(before, 1, 25)
        await desk.treasury.admit(before)
        await desk.treasury.admit(before)
        assert desk.known == 55
        await desk.spend(before, 1, 25, is_last=True)
        fresh = await desk.submit("3")
        await desk.treasury.admit(fresh)
        await desk.spend(fresh, 0, 5)
        await desk.treasury.read()
        assert desk.known == 60
        assert desk.treasury.broke() == ({before.id, fresh.id} if is_reached else frozenset())
        await desk.spend(fresh, 0, 6)
        await desk.deliver(fresh)
        assert desk.known == 61
        await desk.deliver(before)
        desk.restart()
        await desk.treasury.refresh()
        assert desk.known == 61

    run(tmp_path, test)


def test_what_was_settled_since_the_last_reading_is_charged_at_the_end(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.cap(1000)
        batch = await desk.submit("1", budget=10**6)
        await desk.treasury.admit(batch)
        await desk.spend(batch, 0, 30, is_last=True)
        await desk.deliver(batch)
        assert desk.known == 30
        await desk.treasury.read()
        assert desk.known == 30

    run(tmp_path, test)


def test_a_new_month_counts_what_closes_in_it(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.cap(1000)
        batch = await desk.submit("1")
        await desk.treasury.admit(batch)
        await desk.spend(batch, 0, 30, is_last=True)
        await desk.spend(batch, 1, 7)
        await desk.treasury.read()
        desk.clock.advance(month_start(desk.clock.now() + 31 * DAY) - desk.clock.now())
        await desk.treasury.refresh()
        assert desk.known == 7
        await desk.spend(batch, 1, 9, is_last=True)
        await desk.treasury.read()
        assert desk.known == 9
        desk.restart()
        await desk.treasury.refresh()
        await desk.treasury.admit(batch)
        assert desk.known == 9

    run(tmp_path, test)


def test_a_batch_that_failed_is_taken_off_the_cap(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.cap(1000)
        batch, other = await desk.submit("1"), await desk.submit("2")
        await desk.treasury.admit(batch)
        await desk.treasury.admit(other)
        await desk.spend(batch, 0, 30, is_last=True)
        await desk.spend(other, 0, 4, is_last=True)
        await desk.treasury.read()
        assert desk.known == 34
        async with desk.treasury.steady:
            failed = advance(batch, Event.BROKE, desk.clock.now())
            assert await desk.store.batches.move(batch, failed)
            desk.treasury.refund(batch.id)
        await desk.treasury.refresh()
        assert desk.known == 4

    run(tmp_path, test)


def test_an_end_that_could_not_be_read_is_summed_anew(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.cap(1000)
        batch = await desk.submit("1")
        await desk.treasury.admit(batch)
        await desk.spend(batch, 0, 30, is_last=True)
        stopping = advance(batch, Event.CANCEL_REQUESTED, desk.clock.now())
        assert await desk.store.batches.move(batch, stopping)
        ended = advance(stopping, Event.DELIVERED, desk.clock.now())
        async with desk.treasury.steady:
            assert await desk.store.batches.deliver(stopping, ended, ())
            desk.ledger.is_away = True
            with pytest.raises(OSError, match="away"):
                await desk.treasury.forget(batch.id)
        desk.ledger.is_away = False
        await desk.treasury.read()
        await desk.treasury.refresh()
        assert desk.known == 30

    run(tmp_path, test)


class Chance:
    """Workers, restarts, caps and ends in any order."""

    def __init__(self, desk: Desk, rng: random.Random) -> None:
        self.desk = desk
        self.rng = rng
        self.running: dict[str, Batch] = {}
        self.open: list[tuple[str, int]] = []

    async def spend(self) -> None:
        if not self.open:
            return
        # Out of the list meanwhile, since one worker has a shard.
        name, index = one = self.open.pop(self.rng.randrange(len(self.open)))
        price = self.desk.spent.get(one, 0) + self.rng.randrange(10)
        is_last = self.rng.random() < 0.3
        await self.desk.spend(self.running[name], index, price, is_last=is_last)
        if not is_last:
            self.open.append(one)

    async def end(self) -> None:
        if self.running:
            name = self.rng.choice(list(self.running))
            self.open = [one for one in self.open if one[0] != name]
            await self.desk.deliver(self.running.pop(name))

    async def submit(self) -> None:
        batch = await self.desk.submit(str(self.rng.random()), budget=self.rng.choice([None, 50]))
        self.running[batch.id] = batch
        self.open += [(batch.id, index) for index in range(3)]

    async def restart(self) -> None:
        self.desk.restart()
        await self.desk.treasury.refresh()

    async def admit(self) -> None:
        if self.running:
            await self.desk.treasury.admit(self.rng.choice(list(self.running.values())))

    async def change_cap(self) -> None:
        if self.desk.treasury._shared and self.rng.random() < 0.5:
            deed = replace(DEED, id=f"deed_{self.rng.random()}")
            await self.desk.store.caps.remove(CAP, deed)
            await self.desk.treasury.refresh()
        else:
            await self.desk.cap(self.rng.randrange(1, 500))

    async def act(self) -> None:
        often = (self.spend, self.spend, self.spend, self.spend, self.admit, self.admit)
        await self.rng.choice((*often, self.submit, self.end, self.change_cap, self.restart))()
        if self.rng.random() < 0.3:
            await asyncio.gather(self.spend(), self.desk.treasury.read(), self.spend())

    async def settle(self) -> None:
        for batch in self.running.values():
            await self.desk.treasury.admit(batch)
        await self.desk.cap(100)
        await self.desk.treasury.read()


@pytest.mark.parametrize("seed", range(6))
def test_chance_never_makes_a_cap_or_a_budget_differ_from_the_store(
    tmp_path: Path, seed: int
) -> None:
    async def test(desk: Desk) -> None:
        chance = Chance(desk, random.Random(seed))
        for _ in range(100):
            await chance.act()
        await chance.settle()
        assert desk.known == sum(desk.spent.values())
        for name, purse in desk.treasury._own.items():
            assert purse.spent == sum(p for (batch, _), p in desk.spent.items() if batch == name)

    run(tmp_path, test)


def test_a_workers_purses_know_only_what_they_are_told() -> None:
    async def main() -> None:
        purses = RemotePurses()
        purses.note("batch_1", 0, 10**9)
        purses.pay("batch_1", 0, 10**9)
        async with purses.steady:
            purses.closed("batch_1", 0)
        assert not purses.is_empty("batch_1")
        purses.set_broke(frozenset({"batch_1"}))
        assert purses.is_empty("batch_1")
        purses.set_broke(frozenset({"batch_2"}))
        assert not purses.is_empty("batch_1")

    asyncio.run(main())
