"""Purses of several processes: workers are told what is used up, the dispatcher reads the sums.

What lines cost is in the tallies that workers write into the store anyway. So
a limit is overshot by what was in flight, and by what was settled since the
last tally that was read.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from batchmill.domain.batch import Batch, Halt
from batchmill.domain.caps import Cap, month_start
from batchmill.engine.purse import Purse, Treasury
from batchmill.ports import CapStore, Clock, LedgerStore, Standing

_BATCHES_A_READ = 10_000


class RemotePurses:
    """What a worker of a cluster knows of money: the batches of which nothing more may be sent."""

    def __init__(self) -> None:
        self._broke: frozenset[str] = frozenset()

    @property
    def steady(self) -> AbstractAsyncContextManager[None]:
        """Nothing is summed here that could be counted twice."""
        return nullcontext()

    def set_broke(self, batch_ids: frozenset[str]) -> None:
        """The limits of these batches are used up, and no others'."""
        self._broke = batch_ids

    def note(self, batch_id: str, shard: int, price: int) -> None:
        """Nothing is kept."""

    def pay(self, batch_id: str, shard: int, price: int) -> None:
        """Nothing is kept."""

    def closed(self, batch_id: str, shard: int) -> None:
        """Nothing is kept."""

    def is_empty(self, batch_id: str) -> bool:
        """Whether nothing more of the batch may be sent."""
        return batch_id in self._broke


class ReadTreasury(Treasury):
    """The purses of batches whose lines are paid for elsewhere: ``read`` looks up how much.

    Every reading is of one instant and tells all that a batch has cost; what
    is more than the last time is charged. A monthly cap is what ended batches
    cost in the month, plus the admitted ones; a batch that is neither yet is
    counted when it is admitted.
    """

    def __init__(self, *, caps: CapStore, ledger: LedgerStore, clock: Clock) -> None:
        super().__init__(caps=caps, ledger=ledger, clock=clock)
        self._known: dict[str, int] = {}

    async def read(self) -> None:
        """Charge what was spent since the last reading; to be called every second."""
        async with self._moves.still():
            limited = [batch_id for batch_id, purses in self._of.items() if purses]
            for some in _in_readings(limited):
                self._take(await self._ledger.standing(some))

    async def admit(self, batch: Batch, *, is_new: bool = False) -> None:  # noqa: ARG002
        """Learn what a batch has cost, before anything of it is sent; again is harmless.

        A new one is read like any other: workers elsewhere may have begun it meanwhile.
        """
        if batch.id in self._batches:
            return
        async with self._moves.still():
            since = month_start(self._clock.now())
            standing = await self._ledger.standing([batch.id], since=since)
            spent = standing.batches[batch.id]
            self._batches[batch.id] = batch
            self._known[batch.id] = spent.total
            self._of[batch.id] = tuple(self._purses_of(batch))
            self._charge(batch.id, spent.recent + sum(spent.open.values()))
            if batch.budget is not None:
                self._own[batch.id] = Purse(Halt.BUDGET, batch.budget, spent.total)
                self._of[batch.id] = tuple(self._purses_of(batch))

    async def forget(self, batch_id: str) -> None:
        """The batch is at its end and the ledger has all of it; call it holding ``steady``."""
        try:
            if self._of.get(batch_id):
                self._take(await self._ledger.standing([batch_id]))
        except BaseException:
            self._shared = {}  # summed anew, since what it cost at the end is not known
            raise
        finally:
            self._drop(batch_id)

    def _drop(self, batch_id: str) -> None:
        super()._drop(batch_id)
        self._known.pop(batch_id, None)

    async def _spent_under(self, cap: Cap, since: float) -> int:
        mine = [batch.id for batch in self._batches_under(cap)]
        first, *others = _in_readings(mine) or [[]]
        standing = await self._ledger.standing(first, [cap], since)
        spent = standing.ended[0] + self._take(standing)
        for some in others:
            spent += self._take(await self._ledger.standing(some, since=since))
        return spent

    def _take(self, standing: Standing) -> int:
        """Charge what is new; what the batches cost in the month that was asked for."""
        for batch_id, spent in standing.batches.items():
            self._charge(batch_id, spent.total - self._known.get(batch_id, 0))
            self._known[batch_id] = spent.total
        return sum(one.recent + sum(one.open.values()) for one in standing.batches.values())


def _in_readings(batch_ids: Sequence[str]) -> list[Sequence[str]]:
    places = range(0, len(batch_ids), _BATCHES_A_READ)
    return [batch_ids[place : place + _BATCHES_A_READ] for place in places]
