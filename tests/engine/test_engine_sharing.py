"""Whatever is lost, late or frozen: together, processes never use more slots than the cap.

Processes with clocks of their own, a dispatcher that is replaced now and then,
and messages that overtake each other or never arrive; chance decides what
happens next. What is under test is both ends: the books and the holder.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.domain.sharing import Grant, Grants, Load, Outlet, fill
from batchmill.engine.granted import GrantedSlots
from batchmill.engine.lane import Lane
from batchmill.engine.lease import Lease

UP = Outlet("m", "up")
LEASE, LINGER = 5.0, 3.0
# Clocks here go at most this much too fast or too slow.
DRIFT = 0.01
PATIENCE = LINGER + 2 * DRIFT * (LEASE + LINGER)


class Slots:
    """A lane that counts: ``start`` sends what it may."""

    model = "m"

    def __init__(self) -> None:
        self.lines = 0
        self.in_flight = 0
        self.allowed = 0
        self.lease: Lease | None = None

    def put_under(self, lease: Lease) -> None:
        self.lease = lease

    def set_slots(self, slots: Mapping[Outlet, int]) -> None:
        self.allowed = slots.get(UP, 0)

    def shared_in_flight(self) -> dict[Outlet, int]:
        return {UP: self.in_flight}

    def outstanding(self) -> int:
        return self.lines

    @property
    def usable(self) -> int:
        """The most that may be in flight by what it believes now."""
        assert self.lease is not None
        return self.in_flight if self.lease.is_out else max(self.in_flight, self.allowed)

    def start(self) -> None:
        assert self.lease is not None
        if not self.lease.is_out:
            self.in_flight = max(self.in_flight, min(self.allowed, self.lines))

    def finish(self, count: int) -> None:
        done = min(count, self.in_flight)
        self.in_flight -= done
        self.lines -= done


class Process:
    """A worker's process with a clock of its own, which chance may freeze or kill."""

    def __init__(self, name: str, world: "World", chance: random.Random) -> None:
        offset, rate = chance.uniform(0, 1e6), 1 + chance.uniform(-DRIFT, DRIFT)
        self.lease = Lease(LINGER, lambda: offset + world.now * rate)
        self.lane = Slots()
        self.slots = GrantedSlots(name, lambda _: cast("Lane", self.lane), self.lease)
        self.slots.lane_of("m")
        self.is_frozen = False

    def live(self) -> None:
        """What the passing of time does. Upstreams have answered a frozen one by then."""
        if self.lease.is_lapsed:
            self.lease.forget()
            self.lane.in_flight = 0


@dataclass
class World:
    chance: random.Random
    cap: int
    now: float = 0.0
    epoch: int = 0
    born: int = 0
    processes: dict[str, Process] = field(default_factory=dict)
    to_processes: list[tuple[str, Grant]] = field(default_factory=list)
    to_dispatcher: list[Load] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begin_epoch()
        self.grants.all_known()

    def begin_epoch(self) -> None:
        """Another dispatcher takes over; what the last one sent is still under way."""
        self.epoch += 1
        self.grants = Grants(
            {UP: self.cap},
            epoch=self.epoch,
            lease=LEASE,
            patience=PATIENCE,
            strangers=LEASE + PATIENCE,
            now=self.now,
        )

    def spawn(self) -> None:
        self.born += 1
        name = f"w{self.born}"
        self.processes[name] = Process(name, self, self.chance)

    def some(self) -> Process | None:
        return self.chance.choice(list(self.processes.values())) if self.processes else None

    def pass_time(self) -> None:
        self.now += self.chance.choice([0.01, 0.3, 0.3, 1.0, 1.0, 4.0])
        for one in self.processes.values():
            one.live()

    def beat(self) -> None:
        given = self.grants.next_grants(self.now)
        for name in self.processes:
            self.to_processes.append((name, given.get(name, self.grants.greeting)))

    def deliver_orders(self) -> None:
        if self.to_processes:
            place = self.chance.randrange(len(self.to_processes))
            name, grant = self.to_processes[place]
            one = self.processes.get(name)
            if one is not None and one.is_frozen:
                return
            if self.chance.random() < 0.9:
                del self.to_processes[place]
            if one is not None:
                self.now += 1e-6  # it takes its time
                one.slots.obey(grant)
                self.to_dispatcher.append(one.slots.load())

    def deliver_report(self) -> None:
        if self.to_dispatcher:
            load = self.to_dispatcher.pop(self.chance.randrange(len(self.to_dispatcher)))
            self.grants.note(load, self.now)

    def lose(self) -> None:
        for queue in (self.to_processes, self.to_dispatcher):
            if queue and self.chance.random() < 0.5:
                queue.pop()

    def work(self) -> None:
        one = self.some()
        if one is not None and not one.is_frozen:
            one.lane.lines += self.chance.choice([0, 0, 1, 10, 60])
            one.lane.start()

    def finish(self) -> None:
        one = self.some()
        if one is not None:
            one.lane.finish(self.chance.randrange(10))

    def freeze_or_thaw(self) -> None:
        one = self.some()
        if one is not None:
            one.is_frozen = not one.is_frozen

    def kill(self) -> None:
        one = self.some()
        if one is not None and self.chance.random() < 0.3:
            del self.processes[one.slots.process]
            # Sometimes nobody tells the dispatcher.
            if self.chance.random() < 0.5:
                self.grants.lost(one.slots.process, self.now)

    def give_up_on(self) -> None:
        one = self.some()
        if one is not None and self.chance.random() < 0.2:
            self.grants.lost(one.slots.process)

    def replace_dispatcher(self) -> None:
        if self.chance.random() < 0.2:
            self.begin_epoch()

    def used(self) -> int:
        return sum(one.lane.usable for one in self.processes.values())

    def exchange(self) -> None:
        """Most of the time, everyone hears and is heard, in any order."""
        self.beat()
        for _ in range(2 * len(self.to_processes)):
            self.deliver_orders()
        for _ in range(len(self.to_dispatcher)):
            self.deliver_report()

    def acts(self) -> list[Callable[[], None]]:
        """What may happen in this world, the likely things more than once; few troubles at once."""
        troubles = (
            *(self.freeze_or_thaw, self.kill, self.give_up_on, self.replace_dispatcher),
            *(self.lose, self.beat, self.deliver_orders, self.deliver_report),
        )
        mine = [one for one in troubles if self.chance.random() < 0.4]
        normal = (self.exchange, self.pass_time, self.work, self.work, self.finish, self.finish)
        return [*normal * self.chance.choice([1, 2, 4]), *mine, self.spawn]

    def step(self, acts: Sequence[Callable[[], None]]) -> None:
        act = self.chance.choice(acts)
        if act != self.spawn or len(self.processes) < 4:
            act()
        assert self.used() <= self.cap

    def calm_down(self) -> None:
        """Everyone is there, hears everything and has plenty to do, for a good while."""
        self.to_processes.clear()
        self.to_dispatcher.clear()
        for one in self.processes.values():
            one.is_frozen = False
        for _ in range(30):
            self.now += 1.0
            for one in self.processes.values():
                one.live()
                one.lane.finish(10**6)
                one.lane.lines = 5 + len(one.slots.process) * 40
                one.lane.start()
            given = self.grants.next_grants(self.now)
            for name, one in self.processes.items():
                one.slots.obey(given.get(name, self.grants.greeting))
                self.grants.note(one.slots.load(), self.now)
            assert self.used() <= self.cap


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_chance_never_makes_processes_use_more_than_the_cap(seed: int, cap: int) -> None:
    world = World(random.Random(seed), cap)
    acts = world.acts()
    for _ in range(250):
        world.step(acts)
    world.spawn()
    world.calm_down()
    demand = {name: one.lane.lines for name, one in world.processes.items()}
    assert {name: one.lane.allowed for name, one in world.processes.items()} == fill(cap, demand)
