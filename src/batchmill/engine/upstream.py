"""One model server as a lane sees it: where lines are sent, how many at once, and whether it is up.

Everything that an upstream's answers and faults mean for its pace is here; the
rules are those of ``domain.pacing``. What becomes of a line is the lane's affair.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from batchmill.domain.lines import STREAM_KEYS
from batchmill.domain.pacing import Pace, on_rejected, on_success, on_trouble, with_ceiling
from batchmill.engine.active import Job
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
    processes of a cluster; otherwise each process has as many.
    """

    _company: Company

    def __init__(
        self,
        name: str,
        transport: Transport,
        *,
        max_in_flight: int,
        weight: float = 1.0,
        model: str | None = None,
        drop: frozenset[str] = frozenset(),
        region: str = "",
        is_shared: bool = True,
    ) -> None:
        self.name = name
        self.is_shared = is_shared
        self.region = region
        self.transport = transport
        self.weight = weight
        self.model = model
        self.drop = drop
        self.is_passing_plain = model is None and drop <= STREAM_KEYS
        self.pace = Pace.full(max_in_flight)
        self.in_flight = 0
        self.parked: list[asyncio.Future[Job]] = []
        self._alarms: set[asyncio.Task[None]] = set()

    def join(self, company: Company) -> None:
        """Serve a lane from now on."""
        self._company = company
        company.metrics.upstream_up.labels(model=company.model, upstream=self.name).set(1)

    # --- how much it may hold ---

    def load(self) -> float:
        """How busy it is for its weight; the least loaded one gets the next line."""
        return (self.in_flight + 1) / self.weight

    @property
    def has_room(self) -> bool:
        """Whether a line may be sent now."""
        pace = self.pace
        limit = pace.allowed(self._company.clock.now()) if pace.pauses else pace.limit
        return self.in_flight < limit

    def set_ceiling(self, ceiling: int) -> None:
        """How many slots it has now. What is in flight above that goes on to its end."""
        if ceiling != self.pace.ceiling:
            self.pace = with_ceiling(self.pace, ceiling)

    # --- what its answers say of it ---

    def note_answer(self) -> None:
        """A whole answer came that is worth what any other is."""
        if not self.pace.is_settled:
            self._repace(on_success(self.pace))

    def note_bad_answer(self, status: int, reason: str) -> None:
        """An answer came after which the line may be sent again; ``reason`` names it in metrics."""
        self._count_fault(reason)
        if status in _REJECTING_STATUSES:
            self._repace(on_rejected(self.pace, self._company.clock.now()))
        if status in _DOWN_STATUSES:
            self._trouble(is_certain=False)
        elif self.pace.troubles:
            # Whatever it says, it is there to say it.
            self._repace(on_success(self.pace))

    def note_fault(self, kind: FaultKind) -> None:
        """No whole answer came."""
        self._count_fault(kind)
        if kind in (FaultKind.UNREACHABLE, FaultKind.RESET):
            self._trouble(is_certain=kind is FaultKind.UNREACHABLE)

    def is_down_by(self, status: int) -> bool:
        """Whether an answer of this status is a down server's: it says nothing of the line."""
        return self.pace.is_down and status in _DOWN_STATUSES

    def observe(self) -> None:
        """Bring the metrics up to date."""
        company = self._company
        metrics, model = company.metrics, company.model
        limit = self.pace.allowed(company.clock.now())
        metrics.in_flight.labels(model=model, upstream=self.name).set(self.in_flight)
        metrics.in_flight_limit.labels(model=model, upstream=self.name).set(limit)

    async def close(self) -> None:
        """Close its connections; what is in flight was ended before."""
        for alarm in self._alarms:
            alarm.cancel()
        await asyncio.gather(*self._alarms, return_exceptions=True)
        await self.transport.close()

    def _count_fault(self, reason: str) -> None:
        faults = self._company.metrics.upstream_faults
        faults.labels(model=self._company.model, upstream=self.name, reason=reason).inc()

    def _trouble(self, *, is_certain: bool) -> None:
        now, jitter = self._company.clock.now(), self._company.jitter()
        pace = on_trouble(self.pace, now, is_certain=is_certain, jitter=jitter)
        if pace.pauses > self.pace.pauses:
            alarm = asyncio.create_task(self._tell_after_pause())
            self._alarms.add(alarm)
            alarm.add_done_callback(self._alarms.discard)
        self._repace(pace)

    async def _tell_after_pause(self) -> None:
        clock = self._company.clock
        # More than once, since sleep may end early: by a rounded timer or a clock that was set.
        while (left := self.pace.paused_until - clock.now()) > 0:
            await clock.sleep(left)
        self._company.on_room()

    def _repace(self, pace: Pace) -> None:
        before, self.pace = self.pace, pace
        was_down = before.is_down
        if pace.is_down != was_down:
            fact = Fact.UPSTREAM_PAUSED if pace.is_down else Fact.UPSTREAM_RESUMED
            log.warning(fact, model=self._company.model, upstream=self.name)
            up = self._company.metrics.upstream_up
            up.labels(model=self._company.model, upstream=self.name).set(not pace.is_down)
        if pace.limit > before.limit or (was_down and not pace.is_down):
            self._company.on_room()
