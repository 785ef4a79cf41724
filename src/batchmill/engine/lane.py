"""A lane: the slots of one model, over all of its upstreams.

Slots belong to the model, not to a shard: a line is handed to an upstream that
has a slot free, whichever shard or batch it comes from, at the end of the event
loop's turn in which both are there. What follows an answer is decided by the
rules in ``domain``; this module carries it out.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from batchmill import faultpoint
from batchmill.domain.ledger import is_thinking
from batchmill.domain.lines import rewrite_body
from batchmill.domain.results import OK, UPSTREAM_CODE, Answer, error_line, judge, output_line
from batchmill.domain.retry import Again, RetryPolicy, after_fault, is_retried_status
from batchmill.domain.sharing import Outlet, outlets
from batchmill.domain.usage import ZERO, Usage
from batchmill.engine.active import ActiveShard, Job
from batchmill.engine.lease import Lease
from batchmill.engine.upstream import Company, Upstream
from batchmill.ports import Clock, Exchange, FaultKind, Outcome, Record, Reply, TransportFault
from batchmill.telemetry import EngineMetrics, Fact, get_logger

log = get_logger()

_LOOKAHEAD = 2

# The stop of the batch aborts what is in flight at the deadline; the request's
# own timeout is only there should that stop be late.
_DEADLINE_SLACK = 5.0

_FAULT_TEXT = {
    FaultKind.UNREACHABLE: "The upstream could not be reached.",
    FaultKind.RESET: "The upstream closed the connection before its whole answer was there.",
    FaultKind.TIMEOUT: "The upstream did not answer in time.",
    FaultKind.TOO_LARGE: "The upstream's answer is larger than max_answer_bytes allows.",
    FaultKind.GARBLED: "The upstream's answer is not HTTP.",
}


class Promise:
    """Lines that will be offered to a lane: ``left`` of them are still to come."""

    __slots__ = ("left",)

    def __init__(self, lines: int) -> None:
        self.left = lines


class Lane:
    """The way of a model's lines: a queue in front of its upstreams' slots."""

    def __init__(
        self,
        model: str,
        upstreams: Sequence[Upstream],
        *,
        policy: RetryPolicy,
        clock: Clock,
        jitter: Callable[[], float],
        metrics: EngineMetrics,
    ) -> None:
        self.model = model
        self._upstreams = tuple(upstreams)
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._metrics = metrics.lanes
        self._durations = metrics.lanes.answer_seconds.of(model)
        company = Company(model, clock, jitter, metrics.lanes, self._pump)
        for one in self._upstreams:
            one.join(company)
        self._completed = 0
        self._failed = 0
        self._ready: deque[Job] = deque()
        self._resting: dict[Job, asyncio.Task[None]] = {}
        self._is_closing = False
        # In this turn of the loop: whether lines are handed out at its end, and the upstreams that
        # lines have left.
        self._is_pump_due = False
        self._left: set[Upstream] = set()
        self._lease: Lease | None = None
        self._outlets: dict[Outlet, Upstream] = {}
        self.promises: set[Promise] = set()

    # --- slots that are shared with other processes ---

    def put_under(self, lease: Lease) -> None:
        """From now on send only while ``lease`` is good, and on the slots that are set."""
        self._lease = lease
        places = outlets(self.model, [one.name for one in self._upstreams])
        pairs = zip(places, self._upstreams, strict=True)
        self._outlets = {outlet: one for outlet, one in pairs if one.is_shared}
        self.set_slots({})

    def set_slots(self, slots: Mapping[Outlet, int]) -> None:
        """How many slots each shared upstream has now, none where it is not named.

        What is in flight above that goes on to its end.
        """
        for outlet, upstream in self._outlets.items():
            upstream.set_ceiling(slots.get(outlet, 0))
        self._pump()

    def shared_in_flight(self) -> dict[Outlet, int]:
        """What is at each shared upstream now."""
        return {outlet: one.in_flight for outlet, one in self._outlets.items() if one.in_flight}

    def outstanding(self) -> int:
        """Lines that are promised, queued, in flight, or waiting to be sent again."""
        in_flight = sum(one.in_flight for one in self._upstreams)
        return self._promised + len(self._ready) + len(self._resting) + in_flight

    # --- what the worker asks and tells ---

    def wanted(self) -> int:
        """How many more lines would keep every slot busy; promised ones are on their way."""
        slots = sum(one.pace.target for one in self._upstreams)
        return slots * _LOOKAHEAD - self._promised - len(self._ready)

    @property
    def _promised(self) -> int:
        return sum(max(0, one.left) for one in self.promises)

    def offer(self, job: Job) -> None:
        """Queue a line behind the others."""
        job.carrier = self
        self._ready.append(job)
        if not self._is_pump_due:
            self._pump_soon()

    def purge(self, active: ActiveShard) -> None:
        """Forget the lines of a stopped shard that are not in flight."""
        mine = [job for job in self._ready if job.active is active]
        if mine:
            self._ready = deque(job for job in self._ready if job.active is not active)
        for job in [job for job in self._resting if job.active is active]:
            self._resting.pop(job).cancel()
            mine.append(job)
        for job in mine:
            active.end(job)

    def observe(self) -> None:
        """Bring the metrics up to date: to count a line there costs more than to queue it."""
        metrics, model = self._metrics, self.model
        metrics.settled.labels(model=model, outcome="completed").inc(self._completed)
        metrics.settled.labels(model=model, outcome="failed").inc(self._failed)
        self._completed = self._failed = 0
        metrics.queued.labels(model=model).set(len(self._ready))
        metrics.resting.labels(model=model).set(len(self._resting))
        for one in self._upstreams:
            one.observe()

    async def close(self) -> None:
        """End what is in flight. The lines' shards were stopped before."""
        self._is_closing = True
        tasks = list(self._resting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for upstream in self._upstreams:
            await upstream.close()

    # --- handing lines to slots ---

    def _choose(self) -> Upstream | None:
        """The least loaded upstream that may take a line now."""
        best: Upstream | None = None
        if self._lease is not None and self._lease.is_out:
            return None
        for one in self._upstreams:
            if one.has_room and (best is None or one.load() < best.load()):
                best = one
        return best

    def _pump_soon(self) -> None:
        """Hand queued lines out at the end of the loop's turn.

        So all answers that are there are looked at before more is sent: lines that are sent in a
        row cost less than one between two answers, since the system need not wake the upstream
        for each. And connections that were aborted are closed before others take their places.
        """
        self._is_pump_due = True
        asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Hand queued lines out while slots are free."""
        self._is_pump_due = False
        for upstream in self._left:
            upstream.end_turn()
        self._left.clear()
        while self._ready:
            free = self._choose()
            if free is None:
                return
            self._send(free, self._ready.popleft())

    # --- one line at one upstream ---

    def _send(self, upstream: Upstream, job: Job) -> None:
        """Send a line that has a slot, unless there is no more sense in it."""
        active = job.active
        job.sent_at = self._clock.now()
        left = active.deadline - job.sent_at
        if active.is_broke:
            active.stop()
        if active.is_stopped or left <= 0:
            active.end(job)
            return
        upstream.in_flight += 1
        job.upstream, job.region = upstream, upstream.region
        try:
            if active.begin(job):
                self._metrics.resent.inc()
            faultpoint.passed("line.before_sent")
            job.exchange = self._post(upstream, job, left + _DEADLINE_SLACK)
        except Exception as error:  # noqa: BLE001 - a lane outlives what a line runs into
            # Later, as every end is told: else many lines of that kind would be a deep recursion.
            job.exchange = asyncio.get_running_loop().call_soon(self._on_end, job, error)

    def _post(self, upstream: Upstream, job: Job, patience: float) -> Exchange:
        request = job.request
        body = request.body
        if not (request.is_plain and upstream.is_passing_plain):
            body = rewrite_body(body, drop=upstream.drop, model=upstream.model)
        on_end = partial(self._on_end, job)
        return upstream.transport.post(job.active.path, body, job.id, patience, on_end)

    def abort(self, job: Job) -> None:
        """End a line that is at an upstream, without an answer."""
        if job.exchange is not None:
            job.exchange.cancel()
        self._free(job)
        job.active.end(job)

    def _on_end(self, job: Job, outcome: Outcome) -> None:
        """Act on what came back. Never raises."""
        upstream = self._free(job)
        if self._is_closing:
            job.active.end(job)
            return
        try:
            if isinstance(outcome, Reply):
                faultpoint.passed("line.after_answer")
                self._on_reply(upstream, job, outcome)
            elif isinstance(outcome, TransportFault):
                self._on_fault(upstream, job, outcome)
            else:
                self._on_breakage(job, outcome)
        except Exception as error:  # noqa: BLE001 - a lane outlives what a line runs into
            self._on_breakage(job, error)

    def _free(self, job: Job) -> Upstream:
        """Give the line's slot back, which is free at the end of the loop's turn; whose it was."""
        upstream, job.exchange = job.upstream, None
        assert upstream is not None  # noqa: S101 - the line was sent
        if not self._is_pump_due:
            self._pump_soon()
        self._left.add(upstream)
        upstream.leaving += 1
        return upstream

    def _on_reply(self, upstream: Upstream, job: Job, reply: Reply) -> None:
        answer = judge(reply.status, reply.body)
        if answer.fault is None and (answer.status == OK or not is_retried_status(answer.status)):
            upstream.note_answer()
            self._settle(job, answer)
            return
        reason = "bad_answer" if answer.fault else str(answer.status)
        upstream.note_bad_answer(answer.status, reason, reply.retry_after)
        if upstream.is_down_by(answer.status):
            # To the back: should it be this line that is answered so, another one asks next.
            self._wait_for_upstream(job, self._ready.append)
        elif (again := self._again(job, answer.status, reply.retry_after)) is not None:
            self._retry(job, again, reason=str(answer.status))
        else:
            self._settle(job, answer)

    def _on_fault(self, upstream: Upstream, job: Job, fault: TransportFault) -> None:
        upstream.note_fault(fault.kind)
        if fault.kind is FaultKind.UNREACHABLE:
            self._wait_for_upstream(job, self._ready.appendleft)
        elif fault.kind is FaultKind.TOO_LARGE:
            self._settle_unanswered(job, _FAULT_TEXT[fault.kind])
        else:
            self._retry_unanswered(job, fault.kind, _FAULT_TEXT[fault.kind])

    def _on_breakage(self, job: Job, error: Exception) -> None:
        """Neither an answer nor a fault of the transport's kinds: an attempt all the same."""
        log.error(Fact.SLOT_BROKE, model=self.model, exc_info=error)
        if job in job.active.in_flight:
            self._retry_unanswered(job, "broke", "The request could not be carried out.")

    def _retry_unanswered(self, job: Job, reason: str, message: str) -> None:
        again = self._again(job, None, None)
        if again is not None:
            self._retry(job, again, reason=reason)
        else:
            self._settle_unanswered(job, message)

    def _again(self, job: Job, status: int | None, retry_after: float | None) -> Again | None:
        return after_fault(
            self._policy,
            job.tries,
            status=status,
            retry_after=retry_after,
            now=self._clock.now(),
            deadline=job.active.deadline,
            jitter=self._jitter(),
        )

    # --- what became of the line ---

    def _settle(self, job: Job, answer: Answer) -> None:
        if answer.fault is not None:
            self._settle_unanswered(job, f"The upstream sent {answer.fault}.")
            return
        line = output_line(job.id, job.request.custom_id, answer, job.region)
        self._record(job, line, answer.usage if answer.is_success else None)

    def _settle_unanswered(self, job: Job, message: str) -> None:
        line = error_line(job.id, job.request.custom_id, code=UPSTREAM_CODE, message=message)
        self._record(job, line, None)

    def _record(self, job: Job, line: bytes, used: Usage | None) -> None:
        """The line is settled, with what it ``used`` where it succeeded."""
        ok = used is not None
        self._completed += ok
        self._failed += not ok
        seconds = self._clock.now() - job.sent_at
        if seconds < 0:  # the clock was set
            seconds = 0.0
        self._durations.note(seconds)
        record = Record(
            job.number,
            ok,
            used or ZERO,
            line,
            model=job.model,
            thinks=used is not None and is_thinking(used, asked=job.request.thinks),
            millis=int(seconds * 1000),
            rejections=job.tries.rejections,
            retries=job.tries.faults + job.tries.rejections,
            region=job.region,
        )
        job.active.settle(job, record)

    def _retry(self, job: Job, again: Again, *, reason: str) -> None:
        """Offer the line once more when its time has come."""
        self._metrics.retried.labels(model=self.model, reason=reason).inc()
        log.debug(
            Fact.LINE_RETRIED, batch_id=job.active.batch_id, line=job.number, reason=str(reason)
        )
        job.tries = again.tries
        wait = again.at - self._clock.now()
        task = asyncio.create_task(self._offer_later(job, wait))
        self._resting[job] = task
        job.active.rest(job)

    async def _offer_later(self, job: Job, seconds: float) -> None:
        await self._clock.sleep(seconds)
        del self._resting[job]
        if job.active.is_stopped:
            job.active.end(job)
        else:
            self.offer(job)

    def _wait_for_upstream(self, job: Job, queue: Callable[[Job], None]) -> None:
        """The line goes back into the queue, as if it had not been sent."""
        job.active.rest(job)
        if job.active.is_stopped:
            job.active.end(job)
        else:
            queue(job)
