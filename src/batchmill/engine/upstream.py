"""One model server as a lane sees it: where lines are sent, how many at once, and whether it is up.

Everything that an upstream's answers and faults mean for its pace is here; the
rules are those of ``domain.pacing``. What becomes of a line is the lane's affair.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from batchmill.domain.lines import STREAM_KEYS
from batchmill.domain.pacing import (
    Bound,
    Pace,
    bound_of,
    on_beat,
    on_presence,
    on_rejected,
    on_success,
    on_timeout,
    on_trouble,
    with_ceiling,
)
from batchmill.ports import Clock, FaultKind, Transport
from batchmill.telemetry import Fact, LaneMetrics, get_logger

log = get_logger()

_REJECTING_STATUSES = frozenset({429, 503})
_DOWN_STATUSES = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Company:
    """What an upstream needs of the lane that it serves: ``on_room`` is called as soon as more
    may be sent than before."""

    model: str
    clock: Clock
    jitter: Callable[[], float]
    metrics: LaneMetrics
    on_room: Callable[[], None]


class Upstream:
    """A transport, a pace, and slots. Serves the one lane that it has joined.

    ``model`` is the name that is sent, None for the line's own; ``drop`` names
    the keys of a body that are not sent. ``region`` is where it computes, empty
    where nobody has named that. ``max_in_flight`` of a shared one holds over all
    processes of a cluster; otherwise each process has as many. Where it is None
    the upstream's answers tell. ``patience`` is how long it may take to answer, in seconds.
    """

    _company: Company

    def __init__(
        self,
        name: str,
        transport: Transport,
        *,
        max_in_flight: int | None,
        weight: float = 1.0,
        model: str | None = None,
        drop: frozenset[str] = frozenset(),
        region: str = "",
        is_shared: bool = True,
        patience: float = math.inf,
    ) -> None:
        self.name = name
        self.is_shared = is_shared
        self.region = region
        self.transport = transport
        self.weight = weight
        self.model = model
        self.drop = drop
        self.is_passing_plain = model is None and drop <= STREAM_KEYS
        if max_in_flight is None:
            self.pace = Pace.tuned(patience)
        else:
            self.pace = Pace.full(max_in_flight, patience)
        self.in_flight = 0
        # In this turn of the loop: slots that are free at its end, good answers that were not
        # noted yet, and lines that were rejected.
        self.leaving = self.good = self._rejected = 0
        # Copies of what the pace says: they are read for every line.
        self._limit = self.pace.limit
        self._is_settled = True
        self._answered = 0
        self._hungry = 0
        self._alarms: set[asyncio.Task[None]] = set()

    def join(self, company: Company) -> None:
        """Serve a lane from now on."""
        self._company = company
        company.metrics.upstream_up.labels(model=company.model, upstream=self.name).set(1)

    @property
    def _labels(self) -> dict[str, str]:
        return {"model": self._company.model, "upstream": self.name}

    # --- how much it may hold ---

    def load(self) -> float:
        """How busy it is for its weight; the least loaded one gets the next line."""
        return (self.in_flight + 1) / self.weight

    @property
    def room(self) -> int:
        """How many lines may be sent now; not above 0 where none may."""
        limit = self._limit or self.pace.allowed(self._company.clock.now())
        return limit - self.in_flight

    def end_turn(self) -> None:
        """Free the slots of all that are ``leaving``; they counted as taken until now."""
        self.in_flight -= self.leaving
        self.leaving = self._rejected = 0

    def set_ceiling(self, ceiling: int) -> None:
        """How many slots it has now. What is in flight above that goes on to its end."""
        if ceiling != self.pace.ceiling:
            self._adopt(with_ceiling(self.pace, ceiling))

    # --- what its answers say of it: told before ``end_turn`` ---

    def note_good(self) -> None:
        """Learn from the ``good`` answers that came: whole ones, each worth what any other is."""
        count, self.good = self.good, 0
        self._answered += count
        for left in range(count, 0, -1):
            is_full = self.in_flight >= self._limit
            if self._is_settled:
                self._hungry += 0 if is_full else left
                return
            self._hungry += not is_full
            self._repace(on_success(self.pace, self._company.clock.now(), is_full=is_full))

    def note_bad_answer(self, status: int, reason: str, retry_after: float | None = None) -> None:
        """An answer came after which the line may be sent again; ``reason`` names it in metrics.

        ``retry_after`` is what it asks for, in seconds.
        """
        self._count_fault(reason)
        now, wait = self._company.clock.now(), retry_after or 0.0
        if status in _REJECTING_STATUSES:
            self._rejected += 1
            seen = {"held": self.in_flight - self._rejected, "answered": self._answered}
            self._repace(on_rejected(self.pace, now, **seen, retry_after=wait))
        if status in _DOWN_STATUSES:
            self._trouble(is_certain=False)
        elif status in _REJECTING_STATUSES:
            self._repace(on_presence(self.pace))
        elif self.pace.is_asked:
            # Whatever it says, it is there to say it.
            self._repace(on_success(self.pace, now, is_full=False))

    def note_fault(self, kind: FaultKind) -> None:
        """No whole answer came."""
        self._count_fault(kind)
        if kind in (FaultKind.UNREACHABLE, FaultKind.RESET):
            self._trouble(is_certain=kind is FaultKind.UNREACHABLE)
        elif kind is FaultKind.TIMEOUT:
            self._repace(on_timeout(self.pace, self._company.clock.now()))

    def is_down_by(self, status: int) -> bool:
        """Whether an answer of this status is a down server's: it says nothing of the line."""
        return self.pace.is_down and status in _DOWN_STATUSES

    def observe(self) -> None:
        """Learn from the answers since the last time, and bring the metrics up to date."""
        company = self._company
        now = company.clock.now()
        answered, hungry = self._answered, self._hungry
        self._answered = self._hungry = 0
        is_idle = not self.in_flight
        self._repace(on_beat(self.pace, now, answered=answered, hungry=hungry, is_idle=is_idle))
        metrics, limit = company.metrics, self.pace.allowed(now)
        metrics.in_flight.labels(**self._labels).set(self.in_flight)
        metrics.in_flight_limit.labels(**self._labels).set(limit)
        metrics.rejections_borne.labels(**self._labels).set(self.pace.noise.share)
        bound = bound_of(self.pace, now, self.in_flight)
        for one in Bound:
            metrics.in_flight_bound.labels(**self._labels, bound=one).set(one is bound)

    async def close(self) -> None:
        """Close its connections; what is in flight was ended before."""
        for alarm in self._alarms:
            alarm.cancel()
        await asyncio.gather(*self._alarms, return_exceptions=True)
        await self.transport.close()

    def _count_fault(self, reason: str) -> None:
        faults = self._company.metrics.upstream_faults
        faults.labels(**self._labels, reason=reason).inc()

    def _trouble(self, *, is_certain: bool) -> None:
        now, jitter = self._company.clock.now(), self._company.jitter()
        self._repace(on_trouble(self.pace, now, is_certain=is_certain, jitter=jitter))

    async def _tell_when_it_may_ask(self) -> None:
        clock = self._company.clock
        # More than once, since sleep may end early: by a rounded timer or a clock that was set.
        while (left := self.pace.asks_at - clock.now()) > 0:
            await clock.sleep(left)
        self._company.on_room()

    def _repace(self, pace: Pace) -> None:
        before = self.pace
        self._adopt(pace)
        if pace.is_down != before.is_down:
            fact = Fact.UPSTREAM_PAUSED if pace.is_down else Fact.UPSTREAM_RESUMED
            log.warning(fact, **self._labels)
            self._company.metrics.upstream_up.labels(**self._labels).set(not pace.is_down)
        self._count_change(before)
        if pace.limit > before.limit or (before.is_down and not pace.is_down):
            self._company.on_room()

    def _adopt(self, pace: Pace) -> None:
        before, self.pace = self.pace, pace
        self._limit = 0 if pace.is_asking else pace.limit
        self._is_settled = pace.is_settled
        is_told = before.is_asking and pace.asks_at == before.asks_at
        if pace.is_asking and not is_told and pace.asks_at > self._company.clock.now():
            alarm = asyncio.create_task(self._tell_when_it_may_ask())
            self._alarms.add(alarm)
            alarm.add_done_callback(self._alarms.discard)

    def _count_change(self, before: Pace) -> None:
        pace, metrics = self.pace, self._company.metrics
        if before.is_trying and (pace.good, pace.target) != (before.good, before.target):
            outcome = "kept" if pace.good > before.good else "undone"
            metrics.in_flight_trials.labels(**self._labels, outcome=outcome).inc()
        elif pace.cut_at != before.cut_at:
            metrics.in_flight_cuts.labels(**self._labels).inc()
