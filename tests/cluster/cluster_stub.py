"""A worker that does as the run says, for clusters of every kind; importable in any process."""

import asyncio
import secrets
import time
from collections.abc import Callable

from batchmill.cluster.link import key_of
from batchmill.domain.ledger import Payer, Terms
from batchmill.domain.shards import Shard
from batchmill.domain.sharing import Grant, Load, Outlet
from batchmill.ports import Orders, RunKey, ShardEnd, ShardRun, WorkerReport

FINISH, BREAK, HOLD = "finish", "break", "hold"
LANE = "m"
UPSTREAM = Outlet(LANE, "up")
LINES = 10


def a_run(
    index: int, behave: str = FINISH, *, batch_id: str = "batch_1", lines: int = LINES
) -> ShardRun:
    """A run that ends at once, breaks, or goes on until it is stopped or cancelled."""
    shard = Shard(
        batch_id=batch_id,
        index=index,
        start=0,
        end=1,
        first_line=1,
        lines=lines,
        models=(LANE,),
        attempt=1,
    )
    return ShardRun(shard, behave, "files/x", 1e12, Terms(Payer("acme", "ws_1")))


class StubWorker:
    """Runs nothing; what it was told to is in ``calls``. It keeps to its grants as others do."""

    def __init__(self, process: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.process = process or secrets.token_hex(4)
        self.calls: list[tuple[object, ...]] = []
        self.settled: dict[RunKey, int] = {}
        self.runs: dict[RunKey, ShardRun] = {}
        self._clock = clock
        self._grant = Grant(0)
        self._gates: dict[RunKey, asyncio.Event] = {}

    async def run(self, run: ShardRun) -> ShardEnd:
        key = key_of(run.shard)
        self.runs[key], self._gates[key] = run, asyncio.Event()
        self.calls.append(("run", run.shard.index))
        try:
            return await self._behave(run, self._gates[key])
        finally:
            del self.runs[key], self._gates[key]
            self.settled.pop(key, None)

    async def _behave(self, run: ShardRun, gate: asyncio.Event) -> ShardEnd:
        await asyncio.sleep(0)
        if run.endpoint == BREAK:
            raise OSError(5, "Input/output error")
        if run.endpoint == HOLD:
            await gate.wait()
            return ShardEnd.FINISHED if run.shard.index in self._finished else ShardEnd.STOPPED
        return ShardEnd.FINISHED

    _finished: frozenset[int] = frozenset()

    def finish(self, *indexes: int) -> None:
        """Let held runs come to their end."""
        self._finished |= set(indexes)
        self._release(lambda key: key.index in indexes)

    async def cancel(self, batch_id: str, grace: float) -> None:
        self.calls.append(("cancel", batch_id, grace))
        self._release(lambda key: key.batch_id == batch_id)

    async def stop(self, grace: float) -> None:
        self.calls.append(("stop", grace))
        self._release(lambda key: True)

    def _release(self, chosen: Callable[[RunKey], bool]) -> None:
        for key, gate in self._gates.items():
            if chosen(key):
                gate.set()

    def wanted(self, model: str) -> int:
        return 100 - sum(run.shard.lines for run in self.runs.values())

    # --- a worker in a process of its own ---

    @property
    def slots(self) -> int:
        """What it may have in flight now."""
        is_good = self._clock() < self._grant.until
        return self._grant.slots.get(UPSTREAM, 0) if is_good else 0

    def obey(self, orders: Orders) -> WorkerReport:
        grant = orders.grant
        is_mine = grant.process == self.process
        if is_mine and (grant.epoch, grant.number) > (self._grant.epoch, self._grant.number):
            self._grant = grant
        outstanding = sum(
            run.shard.lines - self.settled.get(key, 0) for key, run in self.runs.items()
        )
        load = Load(
            self.process,
            self._clock(),
            self._grant.epoch,
            self._grant.number,
            slots={UPSTREAM: self.slots},
            in_flight={UPSTREAM: min(self.slots, outstanding)},
            outstanding={LANE: outstanding},
        )
        return WorkerReport(load, dict(self.settled))

    async def mind_lease(self) -> None:
        return


class Ends:
    """What the cluster told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[int, ShardEnd]] = []
        self._more = asyncio.Event()

    def __call__(self, shard: Shard, end: ShardEnd) -> None:
        self.told.append((shard.index, end))
        self._more.set()

    async def until(self, count: int) -> None:
        while len(self.told) < count:
            self._more.clear()
            await self._more.wait()
