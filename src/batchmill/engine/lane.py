"""A lane: the slots of one model, over all of its upstreams.

Slots belong to the model, not to a shard: a line is handed to an upstream that
has a slot free, whichever shard or batch it comes from. All of it happens at the
end of a turn of the event loop: what came back in the turn is settled together,
then queued lines are sent in a row; so what is common to them costs once. What
follows an answer is decided by the rules in ``domain``; this module carries it out.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter

from batchmill import faultpoint
from batchmill.domain.lines import rewrite_body
from batchmill.domain.results import Answer, judge, output_line
from batchmill.domain.retry import Again, RetryPolicy, after_fault, is_retried_status
from batchmill.domain.sharing import Outlet, outlets
from batchmill.engine.active import ActiveShard, Job
from batchmill.engine.lease import Lease
from batchmill.engine.settling import Result, Settler
from batchmill.engine.upstream import Company, Upstream
from batchmill.ports import Clock, FaultKind, Outcome, Reply, TransportFault
from batchmill.telemetry import EngineMetrics, Fact, get_logger

log = get_logger()

_LOOKAHEAD = 2

_SHARD = attrgetter("active")

# From where what came back, and of which line.
_Ended = tuple[Upstream, Job, Outcome]

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
        self._settler = Settler(model, clock, metrics.lanes)
        company = Company(model, clock, jitter, metrics.lanes, self._hand_out)
        for one in self._upstreams:
            one.join(company)
        self._ready: deque[Job] = deque()
        self._resting: dict[Job, asyncio.Task[None]] = {}
        self._is_closing = False
        # In this turn of the loop: whether its end was asked for, and what came back of lines.
        self._is_turn_due = False
        self._ended: list[_Ended] = []
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
        self._hand_out()

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

    def offer(self, *jobs: Job) -> None:
        """Queue lines behind the others."""
        for job in jobs:
            job.carrier = self
        self._ready += jobs
        self._end_turn_soon()

    def purge(self, active: ActiveShard) -> None:
        """Forget the lines of a stopped shard that are not in flight."""
        mine = [job for job in self._ready if job.active is active]
        if mine:
            self._ready = deque(job for job in self._ready if job.active is not active)
        for job in [job for job in self._resting if job.active is active]:
            self._resting.pop(job).cancel()
            mine.append(job)
        active.end(mine)

    def observe(self) -> None:
        """Bring the metrics up to date."""
        metrics, model = self._metrics, self.model
        self._settler.observe()
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
        self._end_turn()

    # --- the end of the loop's turn ---

    def _end_turn_soon(self) -> None:
        """Act at the end of the loop's turn on what came back in it.

        So all answers that are there are looked at before more is sent: lines that are sent in a
        row cost less than one between two answers, since the system need not wake the upstream
        for each. And connections that were aborted are closed before others take their places.
        """
        if not self._is_turn_due:
            self._is_turn_due = True
            asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        """Act on what came back, then hand queued lines out on the slots that are free."""
        self._is_turn_due = False
        ended, self._ended = self._ended, []
        if self._is_closing:
            self._drop(ended)
        elif ended:
            self._take_back(ended)
        for upstream in self._upstreams:
            upstream.end_turn()
        self._hand_out()

    # --- handing lines to slots ---

    def _hand_out(self) -> None:
        """Send queued lines while slots are free."""
        ready = self._ready
        while ready and (upstream := self._choose()) is not None:
            # Where there are several, each line goes to the least loaded one.
            room = upstream.room if len(self._upstreams) == 1 else 1
            lines = [ready.popleft() for _ in range(min(room, len(ready)))]
            for active, jobs in groupby(lines, _SHARD):
                self._send(upstream, active, list(jobs))

    def _choose(self) -> Upstream | None:
        """The least loaded upstream that may take a line now."""
        best: Upstream | None = None
        if self._lease is not None and self._lease.is_out:
            return None
        for one in self._upstreams:
            if one.room > 0 and (best is None or one.load() < best.load()):
                best = one
        return best

    def _send(self, upstream: Upstream, active: ActiveShard, jobs: Sequence[Job]) -> None:
        """Send lines of a shard that have slots, unless there is no more sense in it."""
        now = self._clock.now()
        left = active.deadline - now
        if active.is_broke:
            active.stop()
        if active.is_stopped or left <= 0:
            active.end(jobs)
            return
        upstream.in_flight += len(jobs)
        if resent := active.begin(jobs):
            self._metrics.resent.inc(resent)
        post, patience = upstream.transport.post, left + _DEADLINE_SLACK
        for job in jobs:
            job.upstream, job.region, job.sent_at = upstream, upstream.region, now
            try:
                faultpoint.passed("line.before_sent")
                request = job.request
                is_as_it_is = request.is_plain and upstream.is_passing_plain
                body = request.body if is_as_it_is else _rewritten(request.body, upstream)
                on_end = partial(self._on_end, upstream, job)
                job.exchange = post(active.path, body, job.id, patience, on_end)
            except Exception as error:  # noqa: BLE001 - a lane outlives what a line runs into
                self._on_end(upstream, job, error)

    def _on_end(self, upstream: Upstream, job: Job, outcome: Outcome) -> None:
        """Keep what came back of a line until the end of the turn. Never raises."""
        job.exchange = None
        self._ended.append((upstream, job, outcome))
        if not self._is_turn_due:
            self._end_turn_soon()

    def abort(self, job: Job) -> None:
        """End a line that is at an upstream, without an answer; what has come back counts."""
        if job.exchange is None:
            return
        job.exchange.cancel()
        job.exchange = None
        assert job.upstream is not None  # noqa: S101 - the line was sent
        job.upstream.leaving += 1
        job.active.end([job])
        self._end_turn_soon()

    # --- what came back ---

    def _drop(self, ended: Iterable[_Ended]) -> None:
        """The lane is closing: what came back now leads to nothing more."""
        for upstream, job, _ in ended:
            upstream.leaving += 1
            job.active.end([job])

    def _take_back(self, ended: Iterable[_Ended]) -> None:
        """Act on what came back: the good answers together, then all else one by one."""
        good: list[Result] = []
        others: list[tuple[Upstream, Job, Outcome, Answer | None]] = []
        for upstream, job, outcome in ended:
            upstream.leaving += 1
            answer = None
            try:
                if isinstance(outcome, Reply):
                    faultpoint.passed("line.after_answer")
                    answer = judge(outcome.status, outcome.body)
                    if answer.is_success:
                        line = output_line(job.id, job.request.custom_id, answer, job.region)
                        upstream.good += 1
                        good.append((job, line, answer.usage))
                        continue
            except Exception as error:  # noqa: BLE001 - a lane outlives what a line runs into
                others.append((upstream, job, error, None))
            else:
                others.append((upstream, job, outcome, answer))
        if good:
            self._on_good(good)
        for other in others:
            self._on_other(*other)

    def _on_good(self, results: Sequence[Result]) -> None:
        """Act on what nearly all that comes back is."""
        try:
            for upstream in self._upstreams:
                upstream.note_good()
            self._settler.settle(results)
        except Exception as error:  # noqa: BLE001 - a lane outlives what a line runs into
            for job, _, _ in results:
                self._on_breakage(job, error)

    def _on_other(
        self, upstream: Upstream, job: Job, outcome: Outcome, answer: Answer | None
    ) -> None:
        try:
            if isinstance(outcome, Reply) and answer is not None:
                self._on_reply(upstream, job, outcome, answer)
            elif isinstance(outcome, TransportFault):
                self._on_fault(upstream, job, outcome)
            elif isinstance(outcome, Exception):
                self._on_breakage(job, outcome)
        except Exception as error:  # noqa: BLE001 - a lane outlives what a line runs into
            self._on_breakage(job, error)

    def _on_reply(self, upstream: Upstream, job: Job, reply: Reply, answer: Answer) -> None:
        """Act on an answer that is no result, or of another status."""
        if answer.fault is None and not is_retried_status(answer.status):
            upstream.good += 1
            upstream.note_good()
            self._settler.fail(job, answer)
            return
        reason = "bad_answer" if answer.fault else str(answer.status)
        upstream.note_bad_answer(answer.status, reason, reply.retry_after)
        if upstream.is_down_by(answer.status):
            # To the back: should it be this line that is answered so, another one asks next.
            self._wait_for_upstream(job, self._ready.append)
        elif (again := self._again(job, answer.status, reply.retry_after)) is not None:
            self._retry(job, again, reason=str(answer.status))
        else:
            self._settler.fail(job, answer)

    def _on_fault(self, upstream: Upstream, job: Job, fault: TransportFault) -> None:
        upstream.note_fault(fault.kind)
        if fault.kind is FaultKind.UNREACHABLE:
            self._wait_for_upstream(job, self._ready.appendleft)
        elif fault.kind is FaultKind.TOO_LARGE:
            self._settler.give_up(job, _FAULT_TEXT[fault.kind])
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
            self._settler.give_up(job, message)

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
            job.active.end([job])
        else:
            self.offer(job)

    def _wait_for_upstream(self, job: Job, queue: Callable[[Job], None]) -> None:
        """The line goes back into the queue, as if it had not been sent."""
        job.active.rest(job)
        if job.active.is_stopped:
            job.active.end([job])
        else:
            queue(job)


def _rewritten(body: bytes, upstream: Upstream) -> bytes:
    """What of a request's body this upstream is sent."""
    return rewrite_body(body, drop=upstream.drop, model=upstream.model)
