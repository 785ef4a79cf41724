"""The pace against upstreams of many kinds, over virtual time: what of the ideal it delivers.

An upstream has slots; what is beyond them it queues, or rejects at once. The
ideal is that no slot is ever empty.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import count

import pytest

from batchmill.domain.pacing import (
    BEGIN,
    Pace,
    on_beat,
    on_rejected,
    on_success,
    on_timeout,
    on_trouble,
)

RTT = 0.002
BACKOFF = 0.5
PATIENCE = 600.0

Slots = Callable[[float], int]


@dataclass(frozen=True)
class Server:
    """How an upstream is; ``mean`` seconds an answer, more or less by half.

    ``noise`` is the part that it rejects whatever it holds; of the rest it takes ``a_second``.
    """

    slots: Slots
    queues: bool = True
    mean: float = 1.0
    status: int = 429
    retry_after: float = 0.0
    patience: float = PATIENCE
    noise: float = 0.0
    a_second: float = math.inf


@dataclass(frozen=True)
class Outcome:
    """``share`` of the ideal, and what it took."""

    share: float
    rejections: int
    timeouts: int
    seconds: float
    pace: Pace


class World:
    """A source of lines, a pace, a server, and the time."""

    def __init__(self, server: Server, pace: Pace, lines: int, *, source: float = 1e9) -> None:
        self.server = server
        self.pace = pace
        self.now = 0.0
        self.room = 0.0
        self._source = source
        self._left = self._lines = lines
        self._random = random.Random(7)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._in_flight = self._busy = self._done = 0
        self._queue: list[float] = []
        self._allowance, self._allowed_at = 0.0, 0.0
        self._answered = self._hungry = self._rejections = self._timeouts = 0

    def run(self, until: float = 1e9) -> Outcome:
        """Until every line is answered."""
        self._at(0.4, self._beat)
        self._pump()
        while self._done < self._lines and self._events[0][0] < until:
            when, _, action = heappop(self._events)
            self.room += self.server.slots(self.now) * (when - self.now)
            self.now = when
            action()
        share = self._done * self.server.mean / self.room
        return Outcome(share, self._rejections, self._timeouts, self.now, self.pace)

    def _at(self, when: float, action: Callable[[], None]) -> None:
        heappush(self._events, (when, next(self._order), action))

    def _pump(self) -> None:
        ready = min(self._left, int(self.now * self._source) + 1 + self._left - self._lines)
        while ready > 0 and self._in_flight < self.pace.allowed(self.now):
            ready -= 1
            self._left -= 1
            self._in_flight += 1
            self._at(self.now + RTT / 2, partial(self._arrive, self.now))
        if self.pace.is_asking and self.now < self.pace.asks_at:
            self._at(self.pace.asks_at, self._pump)

    # --- the server ---

    def _arrive(self, sent: float) -> None:
        if not self._takes():
            self._at(self.now + RTT / 2, self._on_rejection)
        elif self._busy < self.server.slots(self.now):
            self._work(sent)
        elif self.server.queues:
            self._queue.append(sent)
        else:
            self._at(self.now + RTT / 2, self._on_rejection)

    def _takes(self) -> bool:
        """Whether neither chance nor its own rate has it reject one."""
        if self.server.noise and self._random.random() < self.server.noise:
            return False
        if math.isinf(self.server.a_second):
            return True
        self._allowance += (self.now - self._allowed_at) * self.server.a_second
        self._allowance = min(self._allowance, self.server.a_second)
        self._allowed_at = self.now
        is_allowed = self._allowance >= 1.0
        self._allowance -= is_allowed
        return is_allowed

    def _work(self, sent: float) -> None:
        self._busy += 1
        seconds = self.server.mean * (0.5 + self._random.random())
        self._at(self.now + seconds, partial(self._finish, sent))

    def _finish(self, sent: float) -> None:
        self._busy -= 1
        late = self.now - self.server.patience
        while self._queue and self._queue[0] <= late:
            self._queue.pop(0)  # its sender is gone
            self._on_timeout()
        while self._queue and self._busy < self.server.slots(self.now):
            self._work(self._queue.pop(0))
        self._at(self.now + RTT / 2, self._on_timeout if sent < late else self._on_answer)

    # --- the sender ---

    def _on_answer(self) -> None:
        self._in_flight -= 1
        self._done += 1
        self._answered += 1
        is_full = self._in_flight + 1 >= self.pace.limit
        self._hungry += not is_full
        if not self.pace.is_settled:
            self.pace = on_success(self.pace, self.now, is_full=is_full)
        self._pump()

    def _on_rejection(self) -> None:
        self._in_flight -= 1
        self._rejections += 1
        wait = self.server.retry_after
        seen = {"held": self._in_flight, "answered": self._answered}
        self.pace = on_rejected(self.pace, self.now, **seen, retry_after=wait)
        if self.server.status == 503:
            self.pace = on_trouble(self.pace, self.now, is_certain=False, jitter=0.5)
        self._at(self.now + wait + BACKOFF * self._random.random(), self._back)
        self._pump()

    def _on_timeout(self) -> None:
        self._in_flight -= 1
        self._timeouts += 1
        self.pace = on_timeout(self.pace, self.now)
        self._back()

    def _back(self) -> None:
        self._left += 1
        self._pump()

    def _beat(self) -> None:
        seen = {"answered": self._answered, "hungry": self._hungry}
        self._answered = self._hungry = 0
        self.pace = on_beat(self.pace, self.now, **seen, is_idle=not self._in_flight)
        self._pump()
        self._at(self.now + 1.0, self._beat)


def steady(slots: int) -> Slots:
    return lambda _: slots


def tuned(server: Server, lines: int = 10_000) -> Outcome:
    return World(server, Pace.tuned(server.patience), lines).run()


def test_an_engine_of_256_slots_is_kept_full_from_the_first_second_on() -> None:
    found = tuned(Server(steady(256)))
    assert found.share >= 0.97
    assert found.rejections == 0


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry_after", [0.0, 1.0, 10.0])
def test_an_upstream_of_256_slots_that_queues_nothing_is_kept_full_too(
    status: int, retry_after: float
) -> None:
    found = tuned(Server(steady(256), queues=False, status=status, retry_after=retry_after))
    assert found.share >= 0.95
    assert found.rejections < BEGIN - 256 + 40, "those at the start, and a few for each trial"
    assert 250 <= found.pace.good <= 260


@pytest.mark.parametrize("slots", [1, 8, 64, 300, 512])
@pytest.mark.parametrize("queues", [True, False])
def test_smaller_and_larger_ones_are_kept_full(slots: int, queues: bool) -> None:
    found = tuned(Server(steady(slots), queues=queues), lines=40 * slots + 100)
    assert found.share >= 0.95
    assert found.rejections < 2 * BEGIN


@pytest.mark.parametrize("queues", [True, False])
def test_one_of_more_slots_than_the_first_window_is_filled_within_a_few_rounds(
    queues: bool,
) -> None:
    found = tuned(Server(steady(2000), queues=queues), lines=60_000)
    assert found.share >= 0.85
    assert found.pace.good >= 1900
    assert found.rejections < 100


def changing(*steps: tuple[float, int]) -> Slots:
    """So many slots until each time."""
    return lambda now: next((slots for until, slots in steps if now < until), steps[-1][1])


@pytest.mark.parametrize("queues", [True, False])
def test_slots_that_come_and_go_are_followed(queues: bool) -> None:
    slots = changing((20.0, 256), (40.0, 64), (1e9, 256))
    found = tuned(Server(slots, queues=queues), lines=20_000)
    assert found.share >= 0.8
    assert found.pace.good >= 250
    assert found.rejections < 900


@pytest.mark.parametrize("end", [20.0, 40.0, 60.0])
@pytest.mark.parametrize(("status", "share"), [(429, 0.9), (503, 0.75)])
def test_one_that_takes_nothing_for_a_while_has_its_slots_filled_soon_after(
    status: int, share: float, end: float
) -> None:
    slots = changing((10.0, 256), (end, 0), (1e9, 256))
    found = tuned(Server(slots, queues=False, status=status), lines=20_000)
    assert found.share >= share, "a 503 pauses it, for half a minute in the end"
    assert found.rejections < 1000


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("noise", "share"), [(0.01, 0.9), (0.05, 0.9), (0.15, 0.85), (0.3, 0.7)])
@pytest.mark.parametrize("queues", [True, False])
def test_one_that_rejects_some_whatever_it_holds_is_kept_full_all_the_same(
    status: int, noise: float, share: float, queues: bool
) -> None:
    server = Server(steady(256), queues=queues, status=status, noise=noise)
    found = tuned(server, lines=40_000)
    assert found.share >= share


def test_a_small_one_that_rejects_some_is_kept_busy_too() -> None:
    server = Server(steady(4), noise=0.05)
    found = World(server, Pace.full(4), 2000).run()
    assert found.share >= 0.8


def test_few_lines_at_a_time_are_not_held_up_by_some_that_are_rejected() -> None:
    server = Server(steady(1000), mean=0.04, noise=0.15)
    found = World(server, Pace.tuned(PATIENCE), 5000, source=100.0).run()
    assert found.seconds < 1.1 * 5000 / 100


@pytest.mark.parametrize("a_second", [10.0, 30.0, 100.0])
def test_one_that_takes_so_many_a_second_is_not_flooded(a_second: float) -> None:
    lines = int(100 * a_second)
    found = tuned(Server(steady(4000), a_second=a_second), lines=lines)
    assert found.seconds < 1.1 * 100
    assert found.rejections < lines


def test_a_set_ceiling_above_the_slots_is_cut_to_them_and_never_passed() -> None:
    found = World(Server(steady(300), queues=False), Pace.full(512), 10_000).run()
    assert found.share >= 0.95
    assert found.pace.ceiling == 512
    found = World(Server(steady(300), queues=False), Pace.full(256), 10_000).run()
    assert (found.rejections, found.pace.limit) == (0, 256)


def test_a_slow_source_moves_nothing() -> None:
    pace = Pace.tuned(PATIENCE)
    found = World(Server(steady(256)), pace, 4_000, source=100.0).run()
    assert (found.pace.limit, found.pace.target, found.pace.good) == (BEGIN, BEGIN, BEGIN)


def test_a_slow_upstream_with_a_short_patience_times_out_in_one_wave_alone() -> None:
    server = Server(steady(4), mean=5.0, patience=60.0)
    found = tuned(server, lines=1200)
    assert found.timeouts < 1.1 * BEGIN
    assert found.pace.limit <= 60 / 5 * 4
    assert found.share >= 0.85, "the upstream works on some that nobody waits for any more"
