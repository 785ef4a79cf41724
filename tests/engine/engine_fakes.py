"""Doubles for the engine's tests: a clock that is moved by hand, transports that follow a script.

Nothing here waits for real time; tests wait for what happens.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchmill.domain.account import OPERATOR_WORKSPACE
from batchmill.domain.ledger import Payer, Terms
from batchmill.domain.lines import Request
from batchmill.domain.retry import RetryPolicy
from batchmill.domain.shards import Shard
from batchmill.engine.active import ActiveShard, Job
from batchmill.engine.budget import Budget
from batchmill.engine.lane import Lane
from batchmill.engine.remote_purse import RemotePurses
from batchmill.engine.upstream import Upstream
from batchmill.ports import Record, Reply, Settled, ShardRun
from batchmill.telemetry import EngineMetrics, engine_metrics
from batchmill.upstream.awaited import AwaitedTransport

T0 = 1_700_000_000.0
DAY = 86_400.0
GOOD = Reply(200, b'{"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":3}}')


class FakeClock:
    """Stands still until ``advance``; whoever sleeps wakes when its time has come."""

    def __init__(self, now: float = T0) -> None:
        self._now = now
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._changed = asyncio.Event()

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        entry = (self._now + seconds, asyncio.get_running_loop().create_future())
        self._sleepers.append(entry)
        self._changed.set()
        try:
            await entry[1]
        finally:
            if entry in self._sleepers:
                self._sleepers.remove(entry)

    @property
    def waits(self) -> list[float]:
        """For how long each sleeper still sleeps, the shortest first."""
        return sorted(at - self._now for at, _ in self._sleepers)

    def advance(self, seconds: float) -> None:
        """Move on, and wake whose time has come."""
        self._move_to(self._now + seconds)

    def _move_to(self, now: float) -> None:
        self._now = now
        for at, sleeper in list(self._sleepers):
            if at <= self._now and not sleeper.done():
                sleeper.set_result(None)

    async def until_asleep(self, count: int) -> list[float]:
        """Return the waits when at least so many are asleep."""
        while len(self._sleepers) < count:
            self._changed.clear()
            await self._changed.wait()
        return self.waits

    async def until_waiting(self, low: float, high: float) -> None:
        """Return when somebody sleeps for more than ``low`` and at most ``high`` seconds."""
        while not any(low < wait <= high for wait in self.waits):
            self._changed.clear()
            await self._changed.wait()

    async def skip(self) -> float:
        """Wait until somebody sleeps, and move on to the first one's end; by how much it was."""
        wait = (await self.until_asleep(1))[0]
        self._move_to(min(at for at, _ in self._sleepers))
        return wait


async def settle_down(turns: int = 50) -> None:
    """Let everything happen that needs no more than the event loop's turns."""
    for _ in range(turns):
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as the transport saw it."""

    path: str
    body: bytes
    key: str
    timeout: float | None


Behaviour = Callable[[Sent], Awaitable[Reply]]


class ScriptedTransport:
    """Answers by ``behave``; remembers what was sent, and how many were in flight at most."""

    def __init__(self, behave: Behaviour | Sequence[Reply | Exception] | None = None) -> None:
        self._script = list(behave) if isinstance(behave, Sequence) else []
        self.behave: Behaviour = behave if callable(behave) else self._next
        self.sent: list[Sent] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.aborted = 0
        self.is_closed = False
        self._more = asyncio.Event()

    async def send(
        self, path: str, body: bytes, idempotency_key: str, timeout: float | None = None
    ) -> Reply:
        one = Sent(path, body, idempotency_key, timeout)
        self.sent.append(one)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self._more.set()
        try:
            return await self.behave(one)
        except asyncio.CancelledError:
            self.aborted += 1
            raise
        finally:
            self.in_flight -= 1

    async def close(self) -> None:
        self.is_closed = True

    async def until_sent(self, count: int) -> None:
        """Return when so many requests were sent in all."""
        while len(self.sent) < count:
            self._more.clear()
            await self._more.wait()

    async def _next(self, one: Sent) -> Reply:
        what = self._script.pop(0) if self._script else GOOD
        if isinstance(what, Exception):
            raise what
        return what


class Gate:
    """A behaviour that holds every request until it is let through."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Sent, asyncio.Future[Reply]]] = []

    async def __call__(self, one: Sent) -> Reply:
        turn: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.waiting.append((one, turn))
        try:
            return await turn
        finally:
            self.waiting.remove((one, turn))

    def open(self, count: int | None = None, reply: Reply | Exception = GOOD) -> None:
        """Answer the first ``count`` that wait, or all of them."""
        for _, turn in [w for w in self.waiting if not w[1].done()][:count]:
            if isinstance(reply, Exception):
                turn.set_exception(reply)
            else:
                turn.set_result(reply)


@dataclass
class FakeSegment:
    """Makes every record durable at once."""

    active: ActiveShard
    marks: list[int] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def mark_sent(self, *numbers: int) -> None:
        self.marks += numbers

    def append(self, *records: Record) -> None:
        self.records += records
        self.active.note_durable(records)

    async def close(self) -> None:
        return


def a_shard(index: int = 0, lines: int = 1000, **changes: Any) -> Shard:
    spec: dict[str, Any] = {
        "batch_id": "batch_1",
        "index": index,
        "start": 0,
        "end": 1,
        "first_line": 1,
        "lines": lines,
        "models": ("m",),
        "attempt": 1,
    }
    return Shard(**{**spec, **changes})


@dataclass
class Desk:
    """An active shard with lines to hand to a lane, and what became of them."""

    active: ActiveShard
    segment: FakeSegment
    budget: Budget

    def job(self, number: int, body: bytes = b'{"model":"m"}') -> Job:
        """A fed line; its share of the budget must be free."""
        self.budget._taken += len(body)
        request = Request(b'"c%d"' % number, body, "m", is_plain=False)
        return self.active.jobs([(number, request)])[0]

    def offer(self, lane: Lane, *numbers: int) -> None:
        for number in numbers:
            lane.offer(self.job(number))

    @property
    def numbers(self) -> list[int]:
        return [record.number for record in self.segment.records]

    @property
    def record(self) -> Record:
        """The one record that there is."""
        [record] = self.segment.records
        return record


class Unlimited(RemotePurses):
    """Purses without a bottom: nobody ever tells of a limit."""


def a_desk(*, deadline: float = T0 + DAY, before: Settled | None = None, **shard: Any) -> Desk:
    terms = Terms(Payer("acme", OPERATOR_WORKSPACE))
    run = ShardRun(a_shard(**shard), "/v1/chat/completions", "files/x", deadline, terms)
    budget = Budget(1 << 30)
    active = ActiveShard(run, before or Settled({}, frozenset()), budget, Unlimited())
    segment = FakeSegment(active)
    active.segment = segment
    return Desk(active, segment, budget)


POLICY = RetryPolicy(max_attempts=3, max_rejections=5, backoff_base=1.0, backoff_cap=60.0)


@dataclass
class Rig:
    """A lane over scripted upstreams, with a clock to move."""

    lane: Lane
    clock: FakeClock
    upstreams: list[Upstream]
    metrics: EngineMetrics

    def reading(self, name: str, **labels: str) -> float:
        """A metric's value; 0 where it was never touched."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


async def run_rig(
    upstreams: Sequence[Upstream],
    test: Callable[[Rig], Coroutine[Any, Any, None]],
    policy: RetryPolicy = POLICY,
) -> None:
    """Run ``test`` with a lane, and close the lane."""
    clock, metrics = FakeClock(), engine_metrics()
    lane = Lane("m", upstreams, policy=policy, clock=clock, jitter=lambda: 0.5, metrics=metrics)
    try:
        await test(Rig(lane, clock, list(upstreams), metrics))
    finally:
        await lane.close()


def an_upstream(
    transport: ScriptedTransport, max_in_flight: int | None = 4, name: str = "up", **options: Any
) -> Upstream:
    return Upstream(name, AwaitedTransport(transport), max_in_flight=max_in_flight, **options)
