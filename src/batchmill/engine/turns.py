"""Turns: work on batches of which only so much may be under way at once.

Reading an input holds the set of its ids, writing results holds whole shards:
a thousand of either at once would not fit into memory.
"""

from batchmill.domain.ranking import Ranking
from batchmill.engine.batch_run import BatchRun


class Turns:
    """Whose turn it is; among those that wait, the nearest deadline."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: Ranking[float] = Ranking()

    def take(self, run: BatchRun) -> bool:
        """Take a turn, to be given back; without one left, wait until ``next`` tells of it."""
        if self._free:
            self._free -= 1
            self._waiting.discard(run.batch.id)
            return True
        self._waiting.put(run.batch.id, run.batch.expires_at)
        return False

    def give_back(self) -> None:
        """The work is over."""
        self._free += 1

    @property
    def is_open(self) -> bool:
        """Whether somebody waits although there is a turn."""
        return bool(self._free and len(self._waiting))

    def next(self) -> list[str]:
        """The ids of those who may try again; they wait no longer."""
        found = (self._waiting.pop() for _ in range(self._free))
        return [one[1] for one in found if one is not None]
