"""A fleet within this process: workers that die, freeze, come back and go, on a clock to move."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from cluster_stub import LANE, UPSTREAM, StubWorker

from batchmill.cluster.hosting import WorkerHost
from batchmill.cluster.link import Caller, Gone, Letter, Link, Unreachable, Word
from batchmill.cluster.muster import Muster
from batchmill.cluster.remote import RemoteCluster
from batchmill.ports import Clock, RunKey, ShardEnd, ShardRun

FENCE_AFTER = 10.0
CAP = 8

T = TypeVar("T")


class LoopClock:
    """Stands still until ``advance``, which lets everything happen that is due on the way."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        entry = (self._now + seconds, asyncio.get_running_loop().create_future())
        self._sleepers.append(entry)
        try:
            await entry[1]
        finally:
            self._sleepers.remove(entry)

    async def advance(self, seconds: float = 0.0) -> None:
        end = self._now + seconds
        while True:
            for _ in range(50):
                await asyncio.sleep(0)
            due = [at for at, sleeper in self._sleepers if at <= end and not sleeper.done()]
            if not due:
                break
            self._now = max(self._now, min(due))
            for at, sleeper in self._sleepers:
                if at <= self._now and not sleeper.done():
                    sleeper.set_result(None)
        self._now = end


class Place:
    """Where a worker lives: a link to the process that is there now."""

    def __init__(self, name: str, clock: LoopClock) -> None:
        self.name = name
        self._clock = clock
        self._lives = 0
        self.is_frozen = False
        self.is_cut = False
        self.is_gone = False
        self.kills: list[bool] = []
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self.start()

    def start(self) -> None:
        """A new process."""
        self._lives += 1
        self.worker = StubWorker(f"{self.name}/{self._lives}", self._clock.now)
        self.host: WorkerHost | None = WorkerHost(self.worker, self.worker.process)

    def die(self) -> None:
        """The process is gone: its callers hear that it cannot be reached."""
        self.host = None
        self._break()

    def hiccup(self) -> None:
        """Every connection breaks; the process goes on."""
        self._break()

    def _break(self) -> None:
        self._broken.set_result(None)
        self._broken = asyncio.get_running_loop().create_future()

    def freeze(self) -> None:
        """As a process that is stopped by a signal: what is sent waits, nothing is answered."""
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    def leave(self) -> None:
        """The machine is gone."""
        self.is_gone = True
        self.die()

    # --- the link ---

    async def beat(self, letter: Letter) -> Word:
        async def answer(host: WorkerHost) -> Word:
            return host.beat(letter)

        return await self._ask(answer)

    async def run(self, caller: Caller, run: ShardRun) -> ShardEnd:
        return await self._ask(lambda host: host.run(caller, run))

    async def join(self, caller: Caller, key: RunKey) -> ShardEnd:
        return await self._ask(lambda host: host.join(caller, key))

    async def cancel(self, caller: Caller, batch_id: str, grace: float) -> None:
        await self._ask(lambda host: host.cancel(caller, batch_id, grace))

    async def stop(self, caller: Caller, grace: float) -> None:
        await self._ask(lambda host: host.stop(caller, grace))

    async def kill(self, *, for_good: bool) -> None:
        self.kills.append(for_good)

    async def _ask(self, question: Callable[[WorkerHost], Awaitable[T]]) -> T:
        """Ask the process; a break of the connection ends the wait, not what was asked for."""
        if self.is_gone:
            raise Gone
        asked = asyncio.ensure_future(self._answer(question))
        both: set[asyncio.Future[Any]] = {asked, self._broken}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            return asked.result()
        raise Gone if self.is_gone else Unreachable

    async def _answer(self, question: Callable[[WorkerHost], Awaitable[T]]) -> T:
        if self.host is None or self.is_cut:
            raise Unreachable
        host = self.host
        await self._thawed.wait()
        answer = await question(host)
        await self._thawed.wait()
        return answer


class FakeFleet:
    """Places that come and go."""

    def __init__(self, clock: LoopClock, *names: str) -> None:
        self.clock = clock
        self.places = {name: Place(name, clock) for name in names}
        self.is_silent = False

    async def links(self, *, make: bool) -> Mapping[str, Link]:
        if self.is_silent:
            raise Unreachable
        return {name: place for name, place in self.places.items() if not place.is_gone}

    async def forget(self, name: str) -> None:
        return


@dataclass
class FakeRegister:
    """The register, and whether the store can be asked; a row ``takes`` so many seconds."""

    clock: Clock
    processes: frozenset[str] = frozenset()
    error: Exception | None = None
    takes: float = 0.0

    async def read(self) -> frozenset[str]:
        return self.processes

    async def write(self, processes: frozenset[str]) -> None:
        if self.takes:
            await self.clock.sleep(self.takes)
        if self.error is not None:
            raise self.error
        self.processes = processes


@dataclass
class Stage:
    """A fleet, and dispatchers' clusters over it, one after the other."""

    clock: LoopClock
    fleet: FakeFleet
    register: FakeRegister
    epoch: int = 0
    fence_after: float = FENCE_AFTER

    @classmethod
    def of(cls, *names: str) -> "Stage":
        clock = LoopClock()
        return cls(clock, FakeFleet(clock, *names), FakeRegister(clock))

    def place(self, name: str) -> Place:
        return self.fleet.places[name]

    def cluster(self, cap: int = CAP, broke: frozenset[str] = frozenset()) -> RemoteCluster:
        """The cluster of the next dispatcher."""
        self.epoch += 1
        caps = {UPSTREAM: cap}
        muster = Muster(
            self.fleet,
            self.register,
            epoch=self.epoch,
            caps=caps,
            broke=lambda: broke,
            clock=self.clock,
            monotonic=self.clock.now,
            fence_after=self.fence_after,
        )
        return RemoteCluster(
            muster, caps=caps, own={}, lane_of=lambda model: LANE, clock=self.clock, shard_lines=10
        )
