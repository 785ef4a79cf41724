"""Workers that share one upstream: together they keep to its cap, whatever becomes of one."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

from engine_fakes import DAY, POLICY, T0, FakeClock, a_shard
from engine_house import CHAT, a_line

from batchmill.blobs import LocalBlobs
from batchmill.domain.ledger import Payer, Terms
from batchmill.domain.shards import Shard
from batchmill.domain.sharing import Grant, Grants, Outlet
from batchmill.engine.granted import GrantedSlots, GrantedWorker
from batchmill.engine.lane import Lane
from batchmill.engine.lease import Lease
from batchmill.engine.remote_purse import RemotePurses
from batchmill.engine.upstream import Upstream
from batchmill.engine.worker import LocalWorker
from batchmill.journal.local import LocalJournal
from batchmill.ports import LeasedWorker, Orders, RunKey, ShardEnd, ShardRun, ShardTally, Target
from batchmill.telemetry import engine_metrics
from batchmill.upstream.http import HttpTransport
from batchmill.upstream.mock import MockUpstream, Script

UP = Outlet("m", "up")
CAP, LINES, SHARDS = 8, 40, 6
LEASE, LINGER, PATIENCE = 5.0, 3.0, 4.0


class Rows:
    """The rows of shards as workers see them; the newest attempt alone may close one."""

    def __init__(self) -> None:
        self.attempts: dict[int, int] = {}
        self.closed: dict[int, ShardTally] = {}

    async def tally(self, tallies: list[ShardTally]) -> None:
        """Nobody asks for these here."""

    async def close(self, tally: ShardTally) -> bool:
        if self.attempts[tally.index] != tally.attempt:
            return False
        self.closed[tally.index] = tally
        return True


class Process:
    """A worker with a lane of its own, as each process of a cluster has."""

    def __init__(self, name: str, site: "Site") -> None:
        clock, metrics = FakeClock(), engine_metrics()
        transport = HttpTransport(Target(site.url))
        self.lane = Lane(
            "m",
            [Upstream("up", transport, max_in_flight=1000)],
            policy=POLICY,
            clock=clock,
            jitter=lambda: 0.5,
            metrics=metrics,
        )
        self.slots = GrantedSlots(name, lambda _: self.lane, Lease(LINGER, lambda: site.now))
        purses = RemotePurses()
        self.local = LocalWorker(
            blobs=site.blobs,
            journal=site.journal,
            shards=site.rows,  # type: ignore[arg-type]
            treasury=purses,
            lane_of=self.slots.lane_of,
            max_bytes_in_flight=1 << 20,
            clock=clock,
            max_line_bytes=1 << 20,
            metrics=metrics,
        )
        self.worker: LeasedWorker = GrantedWorker(self.local, self.slots, purses)
        self.runs: dict[int, asyncio.Task[ShardEnd]] = {}
        self.is_reachable = True

    async def close(self) -> None:
        await self.local.stop(0.0)
        await asyncio.gather(*self.runs.values(), return_exceptions=True)
        await self.lane.close()


class Site:
    """What the processes share, and a dispatcher's half of the books."""

    def __init__(self, folder: Path, mock: MockUpstream, url: str) -> None:
        self.mock, self.url = mock, url
        self.blobs = LocalBlobs(folder / "blobs")
        self.journal = LocalJournal(folder / "journal", 0.001, 1 << 20)
        self.rows = Rows()
        self.now = 0.0
        silence = LEASE + PATIENCE
        self.grants = Grants(
            {UP: CAP}, epoch=1, lease=LEASE, patience=PATIENCE, strangers=silence, now=0.0
        )
        self.grants.all_known()
        self.broke: frozenset[str] = frozenset()
        self.processes: dict[str, Process] = {}
        self.shards: list[Shard] = []

    async def fill(self) -> None:
        rows = [json.dumps(a_line(n)).encode() + b"\n" for n in range(1, SHARDS * LINES + 1)]
        writer = await self.blobs.create("files/x")
        await writer.write(b"".join(rows))
        await writer.commit()
        start = 0
        for index in range(SHARDS):
            first = index * LINES
            end = start + sum(map(len, rows[first : first + LINES]))
            self.shards.append(a_shard(index, LINES, start=start, end=end, first_line=first + 1))
            start = end

    def spawn(self, name: str) -> Process:
        self.processes[name] = Process(name, self)
        return self.processes[name]

    def hand(self, process: Process, *indices: int) -> None:
        """Let a process run shards, with their next attempts."""
        for index in indices:
            attempt = self.rows.attempts[index] = self.rows.attempts.get(index, 0) + 1
            run = ShardRun(
                replace(self.shards[index], attempt=attempt),
                CHAT,
                "files/x",
                T0 + DAY,
                Terms(Payer("acme", "ws")),
            )
            process.runs[index] = asyncio.create_task(process.worker.run(run))

    def beat(self) -> None:
        """A second passes: orders go out, and reports come in."""
        self.now += 1.0
        given = self.grants.next_grants(self.now)
        for name, process in self.processes.items():
            if process.is_reachable:
                grant = given.get(name, self.grants.greeting)
                report = process.worker.obey(Orders(grant, self.broke))
                self.grants.note(report.load, self.now)

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self.beat()
            for process in self.processes.values():
                await process.worker.mind_lease()
            # A breath of real time for sockets; no test's outcome depends on it.
            await asyncio.sleep(0.0005)
        assert self.mock.stats.max_in_flight <= CAP

    async def until_all_closed(self) -> None:
        await self.until(lambda: len(self.rows.closed) == SHARDS)
        for shard in self.shards:
            settled = await self.journal.read(shard.batch_id, shard.index)
            assert len(settled.records) == LINES
            assert self.rows.closed[shard.index].completed == LINES

    def is_sent(self, count: int) -> Callable[[], bool]:
        return lambda: self.mock.stats.requests >= count


@asynccontextmanager
async def open_site(folder: Path) -> AsyncIterator[Site]:
    mock = MockUpstream(Script(latency=0.003))
    site = Site(folder, mock, await mock.start())
    await site.fill()
    try:
        yield site
    finally:
        for process in site.processes.values():
            await process.close()
        await site.journal.close()
        await mock.stop()


def run(folder: Path, test: Callable[[Site], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with open_site(folder) as site:
            await test(site)

    asyncio.run(main())


def test_two_workers_share_the_cap_and_use_all_of_it(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        a, b = site.spawn("a"), site.spawn("b")
        site.hand(a, 0, 1, 2)
        await site.until(site.is_sent(30))
        assert site.mock.stats.max_in_flight == CAP, "one alone has all of it"
        site.hand(b, 3, 4, 5)
        both = (a.slots, b.slots)
        await site.until(lambda: [one.load().slots.get(UP) for one in both] == [4, 4])
        await site.until_all_closed()
        assert site.mock.stats.requests == SHARDS * LINES, "nothing was sent twice"

    run(tmp_path, test)


def test_another_takes_the_slots_and_the_shards_of_a_worker_that_died(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        a, b = site.spawn("a"), site.spawn("b")
        site.hand(a, 0, 1, 2)
        site.hand(b, 3, 4, 5)
        await site.until(site.is_sent(60))
        del site.processes["a"]
        await a.close()
        await site.mock.wait_until(lambda stats: stats.in_flight <= CAP // 2)
        site.grants.lost("a", site.now)
        site.hand(b, *({0, 1, 2} - site.rows.closed.keys()))
        await site.until(lambda: b.slots.load().slots.get(UP) == CAP)
        await site.until_all_closed()
        assert site.mock.stats.requests <= SHARDS * LINES + CAP, "only what was in flight again"

    run(tmp_path, test)


def test_a_worker_that_hears_nothing_stops_before_its_slots_are_given_away(
    tmp_path: Path, log_text: StringIO
) -> None:
    async def test(site: Site) -> None:
        a, b = site.spawn("a"), site.spawn("b")
        site.hand(a, 0, 1, 2)
        site.hand(b, 3, 4, 5)
        await site.until(site.is_sent(60))
        a.is_reachable = False
        site.mock.hold()
        reported_at = site.now - 1.0  # the last orders answer the report before
        await site.until(lambda: a.slots.lease.is_out)
        assert site.now == reported_at + LEASE
        assert a.slots.load().slots == {UP: CAP // 2}, "nobody else can have them yet"
        assert sum(a.slots.load().in_flight.values()) > 0, "it still waits for what is in flight"
        await site.until(lambda: "lease_lapsed" in log_text.getvalue())
        assert site.now == reported_at + LEASE + LINGER
        assert set(await asyncio.gather(*a.runs.values())) <= {ShardEnd.STOPPED, ShardEnd.FINISHED}
        assert (a.slots.load().in_flight, a.slots.load().slots) == ({}, {})
        await site.mock.wait_until(lambda stats: stats.in_flight <= CAP // 2)
        site.mock.release()
        site.hand(b, *({0, 1, 2} - site.rows.closed.keys()))
        await site.until(lambda: b.slots.load().slots.get(UP) == CAP)
        a.is_reachable = True
        await site.until_all_closed()
        assert "a" in site.grants.next_grants(site.now), "it is one of them again"

    run(tmp_path, test)


def test_a_batch_whose_limit_is_used_up_stops_and_another_goes_on(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        a = site.spawn("a")
        site.hand(a, 0)
        await site.until(site.is_sent(10))
        site.broke = frozenset({"batch_1"})
        await site.until(a.runs[0].done)
        assert await a.runs[0] is ShardEnd.STOPPED
        sent = site.mock.stats.requests
        assert sent < LINES
        site.broke = frozenset({"batch_2"})
        site.beat()
        site.hand(a, 0)
        await site.until(a.runs[0].done)
        assert await a.runs[0] is ShardEnd.FINISHED
        assert site.mock.stats.requests == LINES

    run(tmp_path, test)


def test_a_report_tells_what_is_held_and_how_far_each_run_is(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        a = site.spawn("a")
        site.hand(a, 0, 1)
        site.mock.hold()
        await site.until(lambda: a.slots.load().in_flight == {UP: CAP})
        await site.until(lambda: len(a.local.settled()) == 2)
        report = a.worker.obey(Orders(Grant(epoch=1)))
        assert report.load.slots == {UP: CAP}
        assert report.load.outstanding == {"m": 2 * LINES}
        assert report.settled == {RunKey("batch_1", 0, 1): 0, RunKey("batch_1", 1, 1): 0}
        site.mock.release()
        await site.until(lambda: a.worker.obey(Orders(Grant(epoch=1))).settled == {})

    run(tmp_path, test)


def test_orders_that_were_overtaken_or_meant_for_another_change_nothing(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        a = site.spawn("a").worker
        first = a.obey(Orders(Grant(epoch=7)))
        assert (first.load.epoch, first.load.number, dict(first.load.slots)) == (7, 0, {})
        mine = Grant(7, 2, "a", 100.0, {UP: 3})
        assert a.obey(Orders(mine)).load.slots == {UP: 3}
        late = (Grant(7, 1, "a", 100.0, {UP: 5}), Grant(6, 9, "a", 100.0, {UP: 5}))
        other = Grant(7, 3, "the a before", 100.0, {UP: 5})
        for grant in (*late, mine, other):
            assert a.obey(Orders(grant, frozenset({"batch_9"}))).load.slots == {UP: 3}
        site.now = 99.9 + LINGER
        assert a.obey(Orders(Grant(epoch=7))).load.slots == {UP: 3}
        site.now = 100.0 + LINGER
        assert a.obey(Orders(Grant(epoch=7))).load.slots == {}

    run(tmp_path, test)
