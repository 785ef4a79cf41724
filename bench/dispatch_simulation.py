"""The dispatcher alone, on a virtual clock: a thousand workers and a billion lines a day.

A slice of the day is played: the real dispatcher over a store in memory, and
workers that take as long for a shard as their slots would. What came of each
batch is held against ideals that know no shards, no turns and no waiting for
a free worker.
"""

import asyncio
import logging
import math
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Final, cast

import structlog

from batchmill.domain.batch import Batch, Counts, Event, Status, advance
from batchmill.domain.schedule import FAIR_TURN
from batchmill.domain.shards import Shard
from batchmill.engine.delivery import Deliverer
from batchmill.engine.dispatcher import Dispatcher
from batchmill.engine.planning import Planner
from batchmill.engine.prices import PriceBook
from batchmill.engine.purse import Treasury
from batchmill.ports import ShardEnd, ShardRun, Store
from bench.dispatch_load import (
    DAY,
    Order,
    ends_by_deadline,
    ends_in_equal_parts,
    orders,
)
from bench.memory_store import MemoryStore, Stored
from bench.virtual_time import VirtualClock

MODELS: Final = {"large": 0.4, "medium": 0.3, "small": 0.2, "tiny": 0.1}
SHARD_LINES: Final = 500
SECONDS_A_SHARD: Final = 39.0
# A worker asks for more when its slots will run dry within so many seconds.
AHEAD_SECONDS: Final = 10.0
LOST: Final = 0.001
_START: Final = 1_800_000_000.0


@dataclass(frozen=True)
class Simulation:
    """What was played, and what came of it.

    ``misses`` are batches that did not end by their deadline, ``ideal_misses``
    those that end late where every line goes to the nearest deadline, and
    ``fair_misses`` are those where only the turns do that are not fair ones:
    three of four. ``slowdown`` is a batch's time
    in the system, against its time if all shared equally; ``fairness`` is
    Jain's index of the accounts' mean speeds by the same measure, 1 at best.
    """

    workers: int
    load: float
    seconds: float
    lines: int
    batches: int
    waiting: int
    decisions: int
    cpu: float
    use: float
    misses: int
    ideal_misses: int
    fair_misses: int
    slowdown: float
    slowdown_99: float
    first_turn: float
    fairness: float

    @property
    def decisions_a_second(self) -> float:
        """How many shards one core could hand out in a second."""
        return self.decisions / self.cpu

    @property
    def needed_a_second(self) -> float:
        """How many shards had to be handed out in a second."""
        return self.decisions / self.seconds


class Pool:
    """The workers of one model. Each runs one shard after the other."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.free_at = [0.0] * workers
        self.wanting = list(range(workers))
        self.seconds = 0.0

    def place(self, lasts: float, now: float, dice: random.Random) -> tuple[int, float]:
        """Give a shard to a worker; which, and when it ends."""
        # A batch of several small shards may be more than was wanted: it queues at somebody.
        worker = self.wanting.pop() if self.wanting else dice.randrange(self.workers)
        self.free_at[worker] = ends = max(now, self.free_at[worker]) + lasts
        self.seconds += lasts
        return worker, ends


class SimulatedCluster:
    """The port Cluster over pools of workers that only wait."""

    def __init__(self, store: MemoryStore, clock: VirtualClock, pools: Mapping[str, Pool]) -> None:
        self._store = store
        self._clock = clock
        self._pools = pools
        self._dice = random.Random(7)
        self._out: dict[str, dict[int, Callable[[ShardEnd], None]]] = defaultdict(dict)
        self.first_turns: dict[str, float] = {}

    async def attach(
        self,
        on_end: Callable[[Shard, ShardEnd], None],  # noqa: ARG002
    ) -> Sequence[Shard]:
        return ()

    def wanted(self, model: str) -> int:
        return len(self._pools[model].wanting) * SHARD_LINES

    def run(self, run: ShardRun, on_end: Callable[[Shard, ShardEnd], None]) -> None:
        shard, now = run.shard, self._clock.now()
        self.first_turns.setdefault(shard.batch_id, now)
        pool = self._pools[shard.models[0]]
        lasts = shard.lines / SHARD_LINES * SECONDS_A_SHARD * self._dice.uniform(0.8, 1.2)
        worker, ends = pool.place(lasts, now, self._dice)

        def end(how: ShardEnd) -> None:
            if self._out[shard.batch_id].pop(shard.index, None) is not None:
                self._store.shards.end(shard, is_done=how is ShardEnd.FINISHED)
                on_end(shard, how)

        self._out[shard.batch_id][shard.index] = end
        how = ShardEnd.LOST if self._dice.random() < LOST else ShardEnd.FINISHED
        self._clock.at(ends, lambda: end(how))
        self._clock.at(max(now, ends - AHEAD_SECONDS), lambda: pool.wanting.append(worker))

    async def cancel(self, batch_id: str, grace: float) -> None:  # noqa: ARG002
        """Tell of the ends at once; the workers are held as long as if they went on."""
        for end in list(self._out[batch_id].values()):
            end(ShardEnd.STOPPED)

    async def stop(self, grace: float) -> None:
        """Nothing is waited for."""


class _Delivery:
    """Ends batches without files."""

    def __init__(self, store: MemoryStore, clock: VirtualClock) -> None:
        self._batches = store.batches
        self._clock = clock

    async def deliver(self, batch: Batch) -> None:
        row = self._batches.rows[batch.id]
        done = sum(row.shard(index).lines for index in row.done)
        after = advance(batch, Event.DELIVERED, self._clock.now())
        counts = Counts(row.lines, done, row.lines - done)
        await self._batches.move(batch, replace(after, counts=counts))


class Play:
    """One run of the simulation: orders in, what became of them out."""

    def __init__(self, *, workers: int, backlog: int, some: Sequence[Order]) -> None:
        self.clock = VirtualClock(_START)
        self.store = MemoryStore(self._note_end)
        self.pools = {model: Pool(int(workers * part)) for model, part in MODELS.items()}
        self.cluster = SimulatedCluster(self.store, self.clock, self.pools)
        self.ended: dict[str, Stored] = {}
        self._open = len(some)
        self._some = {one.name for one in some}
        treasury = Treasury(
            caps=cast("Store", self.store).caps,
            ledger=cast("Store", self.store).ledger,
            clock=self.clock,
        )
        self.dispatcher = Dispatcher(
            store=cast("Store", self.store),
            cluster=self.cluster,
            planner=cast("Planner", None),
            deliverer=cast("Deliverer", _Delivery(self.store, self.clock)),
            prices=PriceBook(cast("Store", self.store).prices),
            treasury=treasury,
            clock=self.clock,
            poll_interval=1.0,
            cancel_grace=0.0,
        )
        for number in range(backlog):
            self._add(_waiting_behind(number))
        for one in some:
            self.clock.at(_START + one.at, partial(self._come, one))

    async def run(self) -> None:
        """Play until every order has ended; the backlog may go on waiting."""
        going = asyncio.create_task(self.dispatcher.run())
        await self.clock.run(lambda: not self._open)
        stopping = asyncio.create_task(self.dispatcher.stop(0.0))
        await asyncio.gather(going, stopping)

    def _come(self, order: Order) -> None:
        self._add(order)
        self.dispatcher.wake()

    def _add(self, order: Order) -> None:
        batch = Batch(
            id=order.name,
            account=order.account,
            input_file_id="file-1",
            endpoint="/v1/chat/completions",
            completion_window="24h",
            status=Status.IN_PROGRESS,
            created_at=_START + order.at,
            expires_at=_START + order.deadline,
            model=order.model,
            counts=Counts(order.lines),
        )
        row = Stored(batch, (order.model,), order.lines, SHARD_LINES)
        self.store.batches.rows[order.name] = row

    def _note_end(self, row: Stored) -> None:
        self.ended[row.batch.id] = row
        self._open -= row.batch.id in self._some

    def time_of(self, order: Order) -> float:
        """How long a batch was in the system."""
        return self.ended[order.name].batch.ended_at - _START - order.at

    def is_missed(self, order: Order) -> bool:
        """Whether the batch did not end as it should."""
        return self.ended[order.name].batch.status is not Status.COMPLETED


def _waiting_behind(number: int) -> Order:
    """A batch that was there before, with all the time of the world."""
    model = list(MODELS)[number % len(MODELS)]
    return Order(f"behind_{number}", f"behind-{number % 50}", model, 50_000, -DAY, 14 * DAY)


def simulate(*, workers: int, seconds: float, load: float, backlog: int) -> Simulation:
    """Play so many seconds of the day, ``load`` times a thousandth of its lines a worker."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    share = load * workers / 1_000
    some = list(orders(seconds=seconds, load=share, models=MODELS, seed=1))
    play = Play(workers=workers, backlog=backlog, some=some)
    asyncio.run(play.run())
    by_deadline: dict[str, float] = {}
    in_turns: dict[str, float] = {}
    in_parts: dict[str, float] = {}
    for model, pool in play.pools.items():
        pace = pool.workers * SHARD_LINES / SECONDS_A_SHARD
        own = [one for one in some if one.model == model]
        by_deadline |= ends_by_deadline(own, pace)
        in_turns |= ends_by_deadline(own, pace * (1 - 1 / FAIR_TURN))
        in_parts |= ends_in_equal_parts(own, pace)
    good = [one for one in some if not play.is_missed(one)]
    slow = sorted(play.time_of(one) / _least(one, in_parts) for one in good)
    turns = play.cluster.first_turns
    spent = sum(pool.seconds for pool in play.pools.values())
    ends = max(one.at + play.time_of(one) for one in some)
    return Simulation(
        workers=workers,
        load=load,
        seconds=ends,
        lines=sum(one.lines for one in some),
        batches=len(some),
        waiting=backlog,
        decisions=play.store.shards.claims,
        cpu=play.clock.busy,
        use=min(1.0, spent / ends / workers),
        misses=len(some) - len(good),
        ideal_misses=sum(one == math.inf for one in by_deadline.values()),
        fair_misses=sum(one == math.inf for one in in_turns.values()),
        slowdown=median(slow),
        slowdown_99=slow[int(0.99 * (len(slow) - 1))],
        first_turn=max(turns[one.name] - _START - one.at for one in some if one.name in turns),
        fairness=_jain(play, good, in_parts),
    )


def _least(one: Order, ends: Mapping[str, float]) -> float:
    """The time in the ideal system: but no line is faster than it is, and a shard is one's."""
    return max(ends[one.name] - one.at, min(one.lines, SHARD_LINES) / SHARD_LINES * SECONDS_A_SHARD)


def _jain(play: Play, some: Sequence[Order], ends: Mapping[str, float]) -> float:
    speeds: dict[str, list[float]] = defaultdict(list)
    for one in some:
        speeds[one.account].append(_least(one, ends) / play.time_of(one))
    means = [sum(each) / len(each) for each in speeds.values()]
    return sum(means) ** 2 / (len(means) * sum(mean * mean for mean in means))
