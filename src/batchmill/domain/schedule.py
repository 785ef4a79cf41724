"""Who goes next: a pure function over a snapshot of the batches that have shards waiting.

The nearest deadline goes first. Every fourth turn goes instead to the batch
that was served the longest ago, so that no batch starves behind another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

FAIR_TURN = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """A batch with a shard waiting. ``served`` is the turn of its last hand-out, -1 for none."""

    batch_id: str
    deadline: float
    created_at: float
    served: int = -1


def pick(candidates: Sequence[Candidate], turn: int) -> Candidate | None:
    """The batch whose shard is handed out in this turn (counted from 0), None without any."""
    if not candidates:
        return None
    if turn % FAIR_TURN == FAIR_TURN - 1:
        return min(candidates, key=lambda one: (one.served, one.created_at, one.batch_id))
    return min(candidates, key=lambda one: (one.deadline, one.created_at, one.batch_id))
