"""The worker: what it reads, skips, promises, reports, and how a shard's run ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from engine_fakes import (
    DAY,
    GOOD,
    POLICY,
    T0,
    FakeClock,
    Gate,
    ScriptedTransport,
    Sent,
    a_shard,
    an_upstream,
    settle_down,
)
from engine_house import CHAT, a_line

from batchmill.blobs import LocalBlobs
from batchmill.domain.ids import line_id
from batchmill.domain.ledger import Payer, Terms
from batchmill.domain.shards import Shard
from batchmill.domain.usage import ZERO, Usage
from batchmill.engine.budget import Budget
from batchmill.engine.lane import Lane
from batchmill.engine.purse import Treasury
from batchmill.engine.worker import LocalWorker, ShardBroken
from batchmill.journal.local import LocalJournal
from batchmill.ports import BlobMissing, Record, Reply, ShardEnd, ShardRun, ShardTally
from batchmill.telemetry import engine_metrics

LINES = 6


class Rows:
    """The rows of shards as the worker sees them."""

    def __init__(self) -> None:
        self.tallies: list[ShardTally] = []
        self.closed: list[ShardTally] = []

    async def tally(self, tallies: list[ShardTally]) -> None:
        self.tallies.extend(tallies)

    async def close(self, tally: ShardTally) -> bool:
        self.closed.append(tally)
        return True


@dataclass
class Shop:
    """A worker with one lane, over real blobs and a real journal."""

    worker: LocalWorker
    lane: Lane
    transport: ScriptedTransport
    rows: Rows
    journal: LocalJournal
    blobs: LocalBlobs
    budget: Budget
    clock: FakeClock
    shard: Shard

    def run(self, **changes: object) -> "asyncio.Task[ShardEnd]":
        shard = replace(self.shard, **changes)  # type: ignore[arg-type]
        terms = Terms(Payer("acme", "ws"))
        run = ShardRun(shard, CHAT, "files/x", T0 + DAY, terms)
        return asyncio.create_task(self.worker.run(run))

    async def leave(self, attempt: int, sent: list[int], settled: list[int]) -> None:
        """What an earlier attempt left in the journal."""
        segment = await self.journal.open(replace(self.shard, attempt=attempt), lambda _: None)
        for number in sent:
            segment.mark_sent(number)
        for number in settled:
            segment.append(Record(number, True, Usage(10, 20), b'{"old":%d}' % number))
        await segment.close()


@asynccontextmanager
async def open_shop(folder: Path, transport: ScriptedTransport) -> AsyncIterator[Shop]:
    blobs, journal = LocalBlobs(folder / "blobs"), LocalJournal(folder / "journal", 0.001, 1 << 20)
    data = b"".join(json.dumps(a_line(n)).encode() + b"\n" for n in range(1, LINES + 1))
    writer = await blobs.create("files/x")
    await writer.write(data)
    await writer.commit()
    clock, rows = FakeClock(), Rows()
    lane = Lane(
        "m",
        [an_upstream(transport, 4)],
        policy=POLICY,
        clock=clock,
        jitter=lambda: 0.5,
        metrics=engine_metrics(),
    )
    worker = LocalWorker(
        blobs=blobs,
        journal=journal,
        shards=rows,  # type: ignore[arg-type]
        treasury=Treasury(caps=None, ledger=None, clock=clock),  # type: ignore[arg-type]
        lane_of=lambda model: lane,
        max_bytes_in_flight=1 << 20,
        clock=clock,
        max_line_bytes=1 << 20,
        metrics=engine_metrics(),
    )
    budget = worker._budgets[lane]
    shard = a_shard(lines=LINES, start=0, end=len(data), attempt=3)
    try:
        yield Shop(worker, lane, transport, rows, journal, blobs, budget, clock, shard)
    finally:
        await worker.stop(0.0)
        await lane.close()
        await journal.close()


def test_a_shard_is_read_sent_journaled_and_closed(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_shop(tmp_path, ScriptedTransport()) as shop:
            assert await shop.run() is ShardEnd.FINISHED
            [closed] = shop.rows.closed
            usage = Usage(2 * LINES, 3 * LINES)
            assert replace(closed, entries=()) == ShardTally(
                "batch_1", 0, 3, LINES, 0, usage, 0, T0
            )
            [entry] = closed.entries
            assert (entry.model, entry.calls, entry.failures, entry.usage) == ("m", LINES, 0, usage)
            settled = await shop.journal.read("batch_1", 0)
            assert sorted(settled.records) == list(range(1, LINES + 1))
            assert (shop.budget.taken, shop.lane.wanted()) == (0, 8)

    asyncio.run(main())


def test_lines_that_earlier_attempts_settled_are_not_sent_and_do_count(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_shop(tmp_path, ScriptedTransport()) as shop:
            await shop.leave(1, sent=[1, 2, 3], settled=[1, 3])
            await shop.leave(2, sent=[4], settled=[3, 6])
            assert await shop.run() is ShardEnd.FINISHED
            sent = {one.key for one in shop.transport.sent}
            assert sent == {line_id("batch_1", n) for n in (2, 4, 5)}
            [tally] = shop.rows.closed
            assert (tally.completed, tally.failed, tally.resent) == (LINES, 0, 2)
            assert tally.usage == Usage(3 * 10 + 3 * 2, 3 * 20 + 3 * 3)

    asyncio.run(main())


def test_a_shard_that_is_settled_already_is_closed_without_a_request(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_shop(tmp_path, ScriptedTransport()) as shop:
            await shop.leave(1, sent=[], settled=list(range(1, LINES + 1)))
            assert await shop.run() is ShardEnd.FINISHED
            assert shop.transport.sent == []
            assert shop.rows.closed[0].completed == LINES

    asyncio.run(main())


def test_a_shards_lines_are_promised_before_they_are_read(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_shop(tmp_path, ScriptedTransport(Gate())) as shop:
            assert shop.worker.wanted("m") == 8
            running = shop.run()
            await asyncio.sleep(0)
            assert shop.worker.wanted("m") == 8 - LINES
            await shop.transport.until_sent(4)
            await settle_down()
            assert shop.worker.wanted("m") == 8 - (LINES - 4)
            await shop.worker.cancel("batch_1", 0.0)
            assert await running is ShardEnd.STOPPED
            assert shop.worker.wanted("m") == 8

    asyncio.run(main())


def test_lines_that_wait_for_room_are_promised_until_they_have_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_shop(tmp_path, ScriptedTransport()) as shop:
            assert shop.budget.take_at_once((1 << 20) - 1)
            running = shop.run()
            while not shop.budget._waiting:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
            assert (shop.worker.wanted("m"), shop.transport.sent) == (8 - LINES, [])
            shop.budget.release((1 << 20) - 1)
            assert await running is ShardEnd.FINISHED
            assert (shop.worker.wanted("m"), shop.budget.taken) == (8, 0)

    asyncio.run(main())


def test_a_broken_run_takes_its_promise_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_shop(tmp_path, ScriptedTransport()) as shop:
            await shop.blobs.delete("files/x")
            with pytest.raises(BlobMissing):
                await shop.run()
            assert shop.worker.wanted("m") == 8
            assert shop.budget.taken == 0

    asyncio.run(main())


@pytest.mark.parametrize("lines", [LINES - 1, LINES + 1])
def test_an_input_that_is_not_what_was_planned_breaks_the_run(tmp_path: Path, lines: int) -> None:
    async def main() -> None:
        gate = Gate()
        async with open_shop(tmp_path, ScriptedTransport(gate)) as shop:
            running = shop.run(lines=lines)
            with pytest.raises(ShardBroken, match=f"{LINES} lines, not {lines}"):
                await running
            assert shop.transport.aborted == len(shop.transport.sent)
            assert (shop.rows.closed, shop.budget.taken) == ([], 0)
            assert shop.worker.wanted("m") == 8

    asyncio.run(main())


def test_progress_is_reported_for_what_runs_and_only_what_is_durable(tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate()
        async with open_shop(tmp_path, ScriptedTransport(gate)) as shop:
            await shop.worker.report()
            assert shop.rows.tallies == []
            running = shop.run()
            await shop.transport.until_sent(4)
            gate.open(3)
            await shop.transport.until_sent(6)
            while sum(tally.completed for tally in shop.rows.tallies[-1:]) < 3:
                await shop.worker.report()
                await settle_down()
            assert shop.rows.tallies[-1].attempt == 3
            gate.open()
            assert await running is ShardEnd.FINISHED

    asyncio.run(main())


def test_a_stopped_shard_tells_how_far_it_came(tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate()
        async with open_shop(tmp_path, ScriptedTransport(gate)) as shop:
            running = shop.run()
            await shop.transport.until_sent(4)
            gate.open(1)
            await shop.transport.until_sent(5)
            await shop.worker.stop(0.0)
            assert await running is ShardEnd.STOPPED
            assert shop.rows.closed == []
            [tally] = shop.rows.tallies
            assert (tally.completed, tally.usage) == (1, Usage(2, 3))
            assert shop.worker.wanted("m") == 0, "a stopping worker wants nothing"
            assert shop.budget.taken == 0

    asyncio.run(main())


def test_a_shard_of_a_cancelled_batch_that_comes_late_sends_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_shop(tmp_path, ScriptedTransport()) as shop:
            await shop.worker.cancel("batch_1", 60.0)
            assert await shop.run() is ShardEnd.STOPPED
            assert shop.transport.sent == []
            assert shop.rows.tallies == [ShardTally("batch_1", 0, 3, 0, 0, ZERO, 0, T0)]

    asyncio.run(main())


def test_lines_that_were_not_sent_again_do_not_count_as_resent(tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate()
        async with open_shop(tmp_path, ScriptedTransport(gate)) as shop:
            await shop.leave(1, sent=[1, 2, 3, 4, 5, 6], settled=[])
            running = shop.run()
            await shop.transport.until_sent(4)
            await shop.worker.stop(0.0)
            assert await running is ShardEnd.STOPPED
            assert shop.rows.tallies[-1].resent == 4

    asyncio.run(main())


def test_a_broken_run_hears_no_more_of_requests_that_are_slow_to_abort(tmp_path: Path) -> None:
    """Else their answers would be written to a file that is closed, or is another by then."""

    async def behave(one: Sent) -> Reply:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await settle_down(20)
        return GOOD

    async def main() -> None:
        async with open_shop(tmp_path, ScriptedTransport(behave)) as shop:
            with pytest.raises(ShardBroken):
                await shop.run(lines=LINES + 1)
            await settle_down()
            assert (len(shop.transport.sent), shop.transport.in_flight) == (4, 0)
            assert len((await shop.journal.read("batch_1", 0)).records) == 0

    asyncio.run(main())
