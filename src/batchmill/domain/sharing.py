"""How the slots of upstreams are shared by processes that hear of each other late or never.

The cap of an upstream holds over all of them at every instant. So a share is
lowered at once, and raised only into what surely nobody uses any more: what a
process holds stays its own until it has said that it holds less, or until its
lease has run out. Leases are told in the holder's own clock, counted from the
moment of the report that asked for them; a message that comes late, twice or
never lengthens none.
"""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Outlet(NamedTuple):
    """What has slots of its own: an upstream of a model's lane."""

    model: str
    upstream: str


def outlets(model: str, upstreams: Sequence[str]) -> tuple[Outlet, ...]:
    """The outlets of a lane, in the order of its upstreams; a name that is used twice is told
    apart by its place."""
    return tuple(
        Outlet(model, name if name not in upstreams[:place] else f"{name} #{place + 1}")
        for place, name in enumerate(upstreams)
    )


@dataclass(frozen=True, slots=True)
class Grant:
    """The slots that one process may use until ``until``, by its own clock; others it has none.

    ``process`` empty is nobody's: it makes an epoch known and asks for a
    report. Of two grants the one with the lower (``epoch``, ``number``) is void.
    """

    epoch: int
    number: int = 0
    process: str = ""
    until: float = 0.0
    slots: Mapping[Outlet, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Load:
    """What a process holds and needs at ``clock``, in seconds of its own clock.

    ``epoch`` and ``number`` are those of the last grant that it has heard of.
    ``slots`` are those that nobody else can have: none once its lease has lapsed. ``in_flight`` may
    be above them where they were lowered. ``outstanding`` lines, by lane, are
    all that it was handed and has not settled. What is zero may be left out.
    """

    process: str
    clock: float
    epoch: int = 0
    number: int = 0
    slots: Mapping[Outlet, int] = field(default_factory=dict)
    in_flight: Mapping[Outlet, int] = field(default_factory=dict)
    outstanding: Mapping[str, int] = field(default_factory=dict)

    @property
    def order(self) -> tuple[float, int, int]:
        """Which of two loads of a process is the later one."""
        return self.clock, self.epoch, self.number


# --- the arithmetic of one instant ---


def fill(cap: int, demand: Mapping[str, int]) -> dict[str, int]:
    """The fair shares: nobody gets more than it asks for, and those who get less get the same.

    They sum to the whole cap, or to all that is asked for; what cannot be split
    evenly goes to those whose names come first.
    """
    shares = dict.fromkeys(demand, 0)
    left = cap
    waiting = sorted((name for name, lines in demand.items() if lines > 0), key=demand.__getitem__)
    for place, name in enumerate(waiting):
        most = left // (len(waiting) - place)
        if demand[name] > most:
            _split(left, sorted(waiting[place:]), shares)
            break
        shares[name] = demand[name]
        left -= demand[name]
    return shares


def _split(slots: int, names: Sequence[str], shares: dict[str, int]) -> None:
    each, rest = divmod(max(0, slots), len(names))
    for place, name in enumerate(names):
        shares[name] = each + (place < rest)


def toward(cap: int, target: Mapping[str, int], held: Mapping[str, int]) -> dict[str, int]:
    """The next grants on the way to ``target``: lower at once, higher only into what is free.

    ``held`` is the most that each may have in flight before it hears of its next
    grant. The sum over all of the greater of held and grant is at most ``cap``,
    if that of ``held`` was.
    """
    missing = {name: slots - held.get(name, 0) for name, slots in target.items()}
    more = fill(max(0, cap - sum(held.values())), missing)
    return {name: min(slots, held.get(name, 0)) + more[name] for name, slots in target.items()}


# --- the books of all outlets ---


@dataclass(slots=True)
class _Holder:
    """A process as it was last heard of; ``sent`` are grants that it has not confirmed.

    ``free_at`` is when whatever it holds is surely free again.
    """

    load: Load
    free_at: float
    is_lost: bool = False
    sent: list[tuple[int, Mapping[Outlet, int]]] = field(default_factory=list)
    expected: dict[str, int] = field(default_factory=dict)

    def held(self) -> dict[Outlet, int]:
        """The most that it may have in flight, by outlet."""
        most: dict[Outlet, int] = {}
        known = (slots for _, slots in self.sent)
        for slots in (self.load.slots, self.load.in_flight, *known):
            for outlet, count in slots.items():
                if count > most.get(outlet, 0):
                    most[outlet] = count
        return most

    def demand(self) -> Iterable[tuple[str, int]]:
        """Lines that it could use slots for, by lane."""
        if self.is_lost:
            return
        for model in self.load.outstanding.keys() | self.expected.keys():
            yield model, self.load.outstanding.get(model, 0) + self.expected.get(model, 0)


class Grants:
    """Who holds how many slots of each outlet, and what everyone is granted next.

    ``caps`` hold over all processes together. Those of ``even`` outlets are split evenly among the
    processes that have lines, however many: whose window tunes itself must know how much it may
    come to, and that must not change with every line. A lease lasts ``lease`` seconds;
    ``patience`` seconds after it has run out its holder has nothing in flight
    any more, clocks that go at different speeds included. Until ``all_known``
    is called nobody is given more than it holds, for ``strangers`` seconds: so
    long an unknown process may use what an earlier dispatcher gave it. ``now``
    is any clock that never goes back and stands still for nothing.
    """

    def __init__(
        self,
        caps: Mapping[Outlet, int],
        *,
        epoch: int,
        lease: float,
        patience: float,
        strangers: float,
        now: float,
        even: Container[Outlet] = (),
    ) -> None:
        self._caps = dict(caps)
        self._even = even
        self._by_model: dict[str, list[Outlet]] = {}
        for outlet in self._caps:
            self._by_model.setdefault(outlet.model, []).append(outlet)
        self._epoch = epoch
        self._number = 0
        self._lease = lease
        self._silence = lease + patience
        self._strangers_until = now + strangers
        self._holders: dict[str, _Holder] = {}
        self.is_moving = False

    @property
    def greeting(self) -> Grant:
        """What to send to a process that was not heard of, so that it reports."""
        return Grant(self._epoch)

    def all_known(self) -> None:
        """Every process that may hold a lease was noted or is surely dead."""
        self._strangers_until = -math.inf

    def note(self, load: Load, now: float) -> None:
        """What a process reports; reports that overtook each other are sorted out.

        A process that is started again must have another name.
        """
        holder = self._holders.get(load.process)
        if holder is None:
            self._holders[load.process] = _Holder(load, now + self._silence)
        elif not holder.is_lost and load.order >= holder.load.order:
            holder.load = load
            holder.free_at = now + self._silence
            holder.expected = {}
            if load.epoch == self._epoch:
                holder.sent = [sent for sent in holder.sent if sent[0] > load.number]

    def expect(self, process: str, model: str, lines: int) -> None:
        """Lines of a lane were handed to a process, which will not report them before later."""
        holder = self._holders.get(process)
        if holder is not None:
            holder.expected[model] = holder.expected.get(model, 0) + lines

    def lost(self, process: str, free_at: float | None = None) -> None:
        """The process gets nothing more; what it holds is free at ``free_at``.

        Without that, when its lease has surely run out. A dead process, whose
        connections its system has closed, holds nothing: pass the present.
        """
        holder = self._holders.get(process)
        if holder is not None:
            holder.is_lost = True
            holder.free_at = holder.free_at if free_at is None else min(free_at, holder.free_at)

    def next_grants(self, now: float) -> Mapping[str, Grant]:
        """What to send to each process that was heard of lately; to be sent, or lost, as it is."""
        self._holders = {name: one for name, one in self._holders.items() if now < one.free_at}
        self._number += 1
        slots = self._next_slots(now)
        return {
            name: self._grant(name, holder, slots.get(name, {}))
            for name, holder in self._holders.items()
            if not holder.is_lost
        }

    def held(self) -> Mapping[Outlet, int]:
        """The most that may be in flight over all processes, by outlet; for people to look at."""
        sums: dict[Outlet, int] = {}
        for holder in self._holders.values():
            for outlet, count in holder.held().items():
                sums[outlet] = sums.get(outlet, 0) + count
        return sums

    def _grant(self, name: str, holder: _Holder, slots: Mapping[Outlet, int]) -> Grant:
        holder.sent.append((self._number, slots))
        until = holder.load.clock + self._lease
        return Grant(self._epoch, self._number, name, until, slots)

    def _next_slots(self, now: float) -> dict[str, dict[Outlet, int]]:
        held: dict[Outlet, dict[str, int]] = {outlet: {} for outlet in self._caps}
        lines: dict[str, dict[str, int]] = {}
        for name, holder in self._holders.items():
            for outlet, count in holder.held().items():
                if outlet in held:
                    held[outlet][name] = count
            for model, count in holder.demand():
                lines.setdefault(model, {})[name] = count
        may_raise = now >= self._strangers_until
        self.is_moving = False
        slots: dict[str, dict[Outlet, int]] = {}
        for model, demand in lines.items():
            for outlet, target in self._targets(model, demand):
                mine = held[outlet]
                cap = self._caps[outlet] if may_raise else 0
                grants = toward(cap, target, mine)
                self.is_moving |= grants != target
                for name, count in grants.items():
                    if count:
                        slots.setdefault(name, {})[outlet] = count
        return slots

    def _targets(
        self, model: str, lines: Mapping[str, int]
    ) -> Iterable[tuple[Outlet, dict[str, int]]]:
        """The fair shares of each outlet of a lane.

        A line needs a slot of one of them, so lines are first split over the
        outlets; what is left of an outlet goes to whoever could use it as well.
        """
        mine = self._by_model.get(model, [])
        total = sum(self._caps[outlet] for outlet in mine)
        for outlet in mine:
            cap = self._caps[outlet]
            if outlet in self._even:
                asked = {name: cap if count else 0 for name, count in lines.items()}
                yield outlet, fill(cap, asked)
                continue
            need = {name: math.ceil(count * cap / total) for name, count in lines.items()}
            shares = fill(cap, need)
            spare = {name: count - shares[name] for name, count in lines.items()}
            more = fill(cap - sum(shares.values()), spare)
            yield outlet, {name: shares[name] + more[name] for name in lines}
