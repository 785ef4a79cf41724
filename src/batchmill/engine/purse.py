"""Purses: what may still be spent, asked before each line is sent.

What was spent counts from the moment an answer is there, whether its shard is
closed or not; so a limit is overshot by at most what was in flight.
"""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from batchmill.domain.batch import Batch, Halt
from batchmill.domain.caps import Cap, Scope, month_of, month_start
from batchmill.domain.webhook import spending_event
from batchmill.engine.moves import Moves
from batchmill.ports import BatchSpent, CapStore, Clock, LedgerStore
from batchmill.telemetry import Fact, MoneyMetrics, get_logger

log = get_logger()

_CapKey = tuple[Scope, str, str]


class Purses(Protocol):
    """What a worker asks and tells."""

    @property
    def steady(self) -> AbstractAsyncContextManager[None]:
        """Held while a shard moves from the open ones to the ledger."""
        ...

    def note(self, batch_id: str, shard: int, price: int) -> None:
        """What a shard has cost so far, in units, instead of what was known of it."""
        ...

    def pay(self, batch_id: str, shard: int, price: int) -> None:
        """A line of the shard was answered."""
        ...

    def is_empty(self, batch_id: str) -> bool:
        """Whether nothing more of the batch may be sent."""
        ...

    def closed(self, batch_id: str, shard: int) -> None:
        """The ledger has the shard; called while ``steady`` is held."""
        ...


@dataclass(slots=True)
class Purse:
    """One limit and what was spent under it, in units."""

    halt: Halt
    limit: int
    spent: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing more may be sent."""
        return self.spent >= self.limit

    @property
    def used(self) -> float:
        """The used share of the limit, for people to look at; a limit of nothing is used up."""
        return self.spent / self.limit if self.limit else 1.0


class Treasury:
    """Every purse of the batches that run: their own budgets, and the monthly caps.

    It knows the ledger's sums and adds to them what it hears; the engine is
    the only one who writes there. ``steady`` is held while a shard moves from
    the open ones to the ledger, by any number at once, and no sum is taken
    meanwhile; so that it counts the shard once.
    Where workers are other processes, see ``ReadTreasury``.
    """

    def __init__(self, *, caps: CapStore, ledger: LedgerStore, clock: Clock) -> None:
        self._caps = caps
        self._ledger = ledger
        self._clock = clock
        self._batches: dict[str, Batch] = {}
        self._open: dict[str, dict[int, int]] = {}
        self._own: dict[str, Purse] = {}
        self._shared: dict[_CapKey, Purse] = {}
        self._rules: dict[_CapKey, Cap] = {}
        self._month = ""
        self._of: dict[str, tuple[Purse, ...]] = {}
        self._moves = Moves()

    @property
    def steady(self) -> AbstractAsyncContextManager[None]:
        """Held while a shard moves from the open ones to the ledger."""
        return self._moves.moving()

    # --- what the worker asks and tells ---

    def note(self, batch_id: str, shard: int, price: int) -> None:
        """What a shard has cost so far, in units, instead of what was known of it."""
        known = self._open.setdefault(batch_id, {}).get(shard, 0)
        if price != known:
            self.pay(batch_id, shard, price - known)

    def pay(self, batch_id: str, shard: int, price: int) -> None:
        """A line of the shard was answered."""
        shards = self._open.setdefault(batch_id, {})
        shards[shard] = shards.get(shard, 0) + price
        self._charge(batch_id, price)

    def _charge(self, batch_id: str, price: int) -> None:
        for purse in self._of.get(batch_id, ()):
            purse.spent += price

    def is_empty(self, batch_id: str) -> bool:
        """Whether nothing more of the batch may be sent."""
        # A loop, since this is asked before each line, and mostly there is no purse.
        for purse in self._of.get(batch_id, ()):  # noqa: SIM110
            if purse.is_empty:
                return True
        return False

    def closed(self, batch_id: str, shard: int) -> None:
        """The ledger has the shard; call it holding ``steady``."""
        self._open.get(batch_id, {}).pop(shard, None)

    def observe(self, metrics: MoneyMetrics) -> None:
        """Show how far the monthly caps are used."""
        metrics.caps_used.set(max((one.used for one in self._shared.values()), default=0.0))
        metrics.caps_reached.set(sum(one.is_empty for one in self._shared.values()))

    # --- what the dispatcher asks and tells ---

    def halt_of(self, batch_id: str) -> Halt | None:
        """Which limit keeps the batch from sending more."""
        empty = (purse.halt for purse in self._of.get(batch_id, ()) if purse.is_empty)
        return next(empty, None)

    def broke(self) -> frozenset[str]:
        """The batches of which nothing more may be sent."""
        return frozenset(batch_id for batch_id in self._of if self.is_empty(batch_id))

    async def admit(self, batch: Batch, *, is_new: bool = False) -> None:
        """Learn what a batch has cost, before anything of it is sent; again is harmless.

        One that ``is_new`` has cost nothing: no attempt at a shard of it was ever made.
        """
        if batch.id in self._batches:
            return
        if is_new:
            self._take_in(batch, BatchSpent(0, {}))
            return
        async with self._moves.still():
            self._take_in(batch, await self._ledger.of_batch(batch.id))

    def _take_in(self, batch: Batch, spent: BatchSpent) -> None:
        self._batches[batch.id] = batch
        if batch.budget is not None:
            self._own[batch.id] = Purse(Halt.BUDGET, batch.budget, spent.closed)
        self._of[batch.id] = tuple(self._purses_of(batch))
        for shard, price in spent.open.items():
            self.note(batch.id, shard, price)

    async def forget(self, batch_id: str) -> None:
        """The batch is at its end and the ledger has all of it; call it holding ``steady``."""
        self._drop(batch_id)

    def _drop(self, batch_id: str) -> None:
        for known in (self._batches, self._open, self._own, self._of):
            known.pop(batch_id, None)

    def refund(self, batch_id: str) -> None:
        """The batch has failed and costs nothing; call it holding ``steady``."""
        self._drop(batch_id)
        self._shared = {}  # summed anew from the ledger, which has taken back its entries

    async def refresh(self) -> None:
        """Read the caps again, begin a new month, send the alerts that are due."""
        month = month_of(self._clock.now())
        rules = {(cap.scope, cap.scope_id, cap.currency): cap for cap in await self._caps.list()}
        if month != self._month:
            self._shared, self._month = {}, month
        for key in self._shared.keys() - rules.keys():
            del self._shared[key]
        for key, cap in rules.items():
            await self._open_purse(key, cap)
        self._rules = rules
        self._of = {one.id: tuple(self._purses_of(one)) for one in self._batches.values()}
        await self._alert()

    async def _open_purse(self, key: _CapKey, cap: Cap) -> None:
        if key in self._shared:
            self._shared[key].limit = cap.limit
            return
        async with self._moves.still():
            spent = await self._spent_under(cap, month_start(self._clock.now()))
            self._rules[key] = cap
            self._shared[key] = Purse(Halt(cap.scope), cap.limit, spent)
            # Before anything else can be paid for: what is must count here too.
            self._of = {one.id: tuple(self._purses_of(one)) for one in self._batches.values()}

    async def _spent_under(self, cap: Cap, since: float) -> int:
        closed = await self._ledger.spent(cap, since)
        running = (self._open.get(batch.id, {}) for batch in self._batches_under(cap))
        return closed + sum(sum(shards.values()) for shards in running)

    def _batches_under(self, cap: Cap) -> Iterator[Batch]:
        return (one for one in self._batches.values() if _is_under(one, cap))

    def _purses_of(self, batch: Batch) -> Iterator[Purse]:
        if batch.id in self._own:
            yield self._own[batch.id]
        for key, purse in self._shared.items():
            if _is_under(batch, self._rules[key]):
                yield purse

    async def _alert(self) -> None:
        for key, cap in self._rules.items():
            spent = self._shared[key].spent if key in self._shared else 0
            if cap.wants_alert(spent, self._month):
                event = spending_event(cap, spent, self._clock.now())
                if await self._caps.alert(cap, self._month, event):
                    log.warning(Fact.SPENDING_ALERT, account=cap.account, scope=cap.scope)


def _is_under(batch: Batch, cap: Cap) -> bool:
    return batch.currency == cap.currency and cap.covers(batch.payer)
