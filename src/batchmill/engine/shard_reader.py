"""What the dispatcher reads of a batch's shards: their sums, then a window at a time.

So its memory grows with the batches that are unfinished, and not with their
shards; and a batch of many shards is not read before its first one is handed out.
"""

from typing import Final

from batchmill.domain.shards import Shard
from batchmill.engine.batch_run import BatchRun
from batchmill.engine.planning import Plan
from batchmill.engine.prices import PriceBook
from batchmill.engine.purse import Treasury
from batchmill.ports import ShardSum, Store

WINDOW: Final = 32
# What is held in memory of a batch that was planned, and waits for its turn.
_PLANNED_HELD: Final = 4


class ShardReader:
    """Fills runs with what the store holds. Raises what the store raises."""

    def __init__(self, *, store: Store, prices: PriceBook, treasury: Treasury) -> None:
        self._store = store
        self._prices = prices
        self._treasury = treasury

    async def open(self, run: BatchRun) -> None:
        """Learn what the batch's shards come to and on what terms they run; none is read yet.

        Just after it was planned here all of that is known, and a few shards with it.
        """
        if run.plan is not None:
            plan, run.plan = run.plan, None
            await self._treasury.admit(plan.batch, is_new=True)
            _begin(run, plan)
            return
        batch = run.batch
        file = await self._store.files.get(batch.account, batch.input_file_id)
        run.input_blob = file.blob if file is not None else ""
        sums = await self._store.shards.sums(batch.id)
        models = dict.fromkeys(model for one in sums for model in one.models)
        run.terms = await self._prices.terms(batch, list(models))
        await self._treasury.admit(batch, is_new=not any(one.attempts for one in sums))
        run.learn(sums)

    async def refill(self, run: BatchRun) -> None:
        """See to it that a shard waits in memory, if one waits at all."""
        while run.unread and not run.waiting:
            shards = self._store.shards
            window = await shards.undone(run.batch.id, run.next_index, WINDOW)
            run.take(window, is_last=len(window) < WINDOW)


def _begin(run: BatchRun, plan: Plan) -> None:
    run.input_blob, run.terms = plan.input_blob, plan.terms
    run.learn([_sum_of(one) for one in plan.shards])
    if len(plan.shards) <= _PLANNED_HELD:
        run.take(plan.shards, is_last=True)


def _sum_of(shard: Shard) -> ShardSum:
    size = shard.end - shard.start
    return ShardSum(shard.models, shard.status, 1, shard.lines, size, shard.attempt)
