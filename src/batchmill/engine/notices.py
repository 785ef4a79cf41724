"""The pump of the outbox: sends what is due, beside the dispatcher.

All state is in the outbox. A try that was under way when the process died is
due again, so receivers hear of everything at least once; what they answer is
stored before anything else is done about it.
"""

import asyncio
from collections.abc import Callable

from batchmill.domain.errors import StorageAway, StorageFull
from batchmill.domain.post import Tried, after_try, headers_of
from batchmill.domain.webhook import Delivery
from batchmill.ports import Clock, Due, PostFault, Postman, WebhookStore
from batchmill.telemetry import Fact, WebhookMetrics, get_logger

log = get_logger()

AT_ONCE = 64
GIVE_UP_SECONDS = 60.0
KEPT_SECONDS = 30 * 86_400.0

_SWEPT_AT_ONCE = 500


class Notices:
    """Sends deliveries until it is cancelled.

    ``tally`` is told each outcome: ``delivered``, ``failed`` or ``given_up``.
    """

    def __init__(
        self,
        *,
        outbox: WebhookStore,
        postman: Postman,
        clock: Clock,
        jitter: Callable[[], float],
        give_up_after: float,
        poll_interval: float,
        tally: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._outbox = outbox
        self._postman = postman
        self._clock = clock
        self._jitter = jitter
        self._give_up_after = give_up_after
        self._poll_interval = poll_interval
        self._tally = tally
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Send what is due, now and whenever something is; raises what the store raises.

        It may be run again afterwards. Cancelled, it drops what is under way.
        """
        patrol = asyncio.create_task(self._patrol())
        try:
            while True:
                self._changed.clear()
                await self._start_due()
                await self._rest(patrol)
        finally:
            tasks = [patrol, *self._under_way.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._under_way.clear()

    async def observe(self, metrics: WebhookMetrics) -> None:
        """Show what the outbox holds; raises what the store raises."""
        now = self._clock.now()
        backlog = await self._outbox.backlog(now)
        metrics.waiting.set(backlog.waiting)
        metrics.due.set(backlog.due)
        metrics.lag_seconds.set(now - (now if backlog.oldest_due is None else backlog.oldest_due))

    async def _start_due(self) -> None:
        if len(self._under_way) >= AT_ONCE:
            return
        for due in await self._outbox.due(self._clock.now(), AT_ONCE):
            if due.delivery.id not in self._under_way and len(self._under_way) < AT_ONCE:
                task = asyncio.create_task(self._try(due))
                self._under_way[due.delivery.id] = task
                task.add_done_callback(lambda _: self._changed.set())

    async def _rest(self, patrol: "asyncio.Task[None]") -> None:
        """Wait for the end of a try or of a pause; raises what ended the others."""
        pause = asyncio.ensure_future(self._clock.sleep(self._poll_interval))
        change = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({pause, change, patrol}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
            change.cancel()
        ended = {key: task for key, task in self._under_way.items() if task.done()}
        for key in ended:
            del self._under_way[key]
        for task in (*ended.values(), *([patrol] if patrol.done() else [])):
            task.result()

    async def _try(self, due: Due) -> None:
        tried = await self._send(due)
        give_up_after, jitter = self._give_up_after, self._jitter()
        after = after_try(due.delivery, tried, give_up_after=give_up_after, jitter=jitter)
        await self._store(after, tried)
        self._tell(after, tried)

    async def _store(self, after: Delivery, tried: Tried) -> None:
        while True:
            try:
                return await self._outbox.settle(after, tried)
            # The receiver has heard: waiting spares it a second time.
            except (StorageFull, StorageAway):
                await self._clock.sleep(self._poll_interval)

    def _tell(self, after: Delivery, tried: Tried) -> None:
        outcome = _outcome_of(after)
        self._tally(outcome)
        note = log.warning if outcome == "given_up" else log.debug
        note(
            _FACTS[outcome],
            delivery_id=after.id,
            attempts=after.attempts,
            status=tried.status,
            fault=tried.fault,
        )

    async def _send(self, due: Due) -> Tried:
        headers = headers_of(due.delivery, due.endpoint, self._clock.now())
        try:
            status = await self._postman.post(due.url, due.delivery.payload.encode(), headers)
        except PostFault as fault:
            return Tried(self._clock.now(), fault=fault.kind)
        return Tried(self._clock.now(), status=status)

    async def _patrol(self) -> None:
        """Now and then, give up what is too old, and forget what ended long ago."""
        while True:
            now = self._clock.now()
            count = await self._outbox.give_up(now - self._give_up_after, now)
            if count:
                log.warning(Fact.NOTICES_GIVEN_UP, count=count)
            for _ in range(count):
                self._tally("given_up")
            await self._outbox.sweep(now - KEPT_SECONDS, _SWEPT_AT_ONCE)
            await self._clock.sleep(GIVE_UP_SECONDS)


def _outcome_of(delivery: Delivery) -> str:
    if delivery.delivered_at is not None:
        return "delivered"
    return "failed" if delivery.next_at is not None else "given_up"


_FACTS = {
    "delivered": Fact.NOTICE_DELIVERED,
    "failed": Fact.NOTICE_FAILED,
    "given_up": Fact.NOTICE_GIVEN_UP,
}
