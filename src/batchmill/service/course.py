"""The course of a batch: how its shards got on over time, for charts of rate and latency."""

from collections.abc import Sequence

from batchmill.ports import Milestone, Store
from batchmill.service.caller import Caller
from batchmill.service.lookup import find_batch


class Course:
    """The use-case of looking at how a batch went."""

    def __init__(self, *, store: Store) -> None:
        self._store = store

    async def of(self, caller: Caller, batch_id: str) -> Sequence[Milestone]:
        """A milestone for each shard that has settled lines, by time; raises NotFound."""
        batch = await find_batch(self._store, caller, batch_id)
        return await self._store.ledger.course(batch.id)
