"""Who goes next among the batches that have shards waiting.

The nearest deadline goes first. Every fourth turn goes instead to the batch
that was served the longest ago, so that no batch starves behind another.

``pick`` is the rule, over a snapshot. ``Queue`` follows it at a cost that does
not grow with the number of batches.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from batchmill.domain.ranking import Ranking

FAIR_TURN = 4

Models = tuple[str, ...]
_Order = tuple[float, float]


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
    if is_fair(turn):
        return min(candidates, key=lambda one: (one.served, one.created_at, one.batch_id))
    return min(candidates, key=lambda one: (one.deadline, one.created_at, one.batch_id))


def is_fair(turn: int) -> bool:
    """Whether this turn goes to the one that was served the longest ago."""
    return turn % FAIR_TURN == FAIR_TURN - 1


@dataclass(slots=True)
class _Group:
    """The batches whose next shard asks for the same models, in both orders."""

    by_deadline: Ranking[_Order] = field(default_factory=Ranking)
    by_service: Ranking[_Order] = field(default_factory=Ranking)

    def put(self, one: Candidate) -> None:
        self.by_deadline.put(one.batch_id, (one.deadline, one.created_at))
        self.by_service.put(one.batch_id, (one.served, one.created_at))

    def discard(self, batch_id: str) -> None:
        self.by_deadline.discard(batch_id)
        self.by_service.discard(batch_id)

    def first(self, turn: int) -> tuple[_Order, str] | None:
        return (self.by_service if is_fair(turn) else self.by_deadline).first()


class Queue:
    """The candidates, kept in the orders that ``pick`` asks for.

    A pick costs as much as there are sets of models that shards ask for.
    """

    def __init__(self) -> None:
        self._groups: dict[Models, _Group] = {}
        self._places: dict[str, tuple[Candidate, Models]] = {}

    def __len__(self) -> int:
        return len(self._places)

    @property
    def asked(self) -> Iterable[Models]:
        """What the next shards ask for, each set of models once."""
        return self._groups.keys()

    def put(self, one: Candidate, models: Models) -> None:
        """Add a candidate, or renew it. ``models`` are those that its next shard asks for."""
        place = self._places.get(one.batch_id)
        if place is not None and place[1] != models:
            self._leave(one.batch_id, place[1])
        self._places[one.batch_id] = (one, models)
        self._groups.setdefault(models, _Group()).put(one)

    def discard(self, batch_id: str) -> None:
        """Take a candidate out, if it is one."""
        place = self._places.pop(batch_id, None)
        if place is not None:
            self._leave(batch_id, place[1])

    def pick(self, turn: int, has_room: Callable[[Models], bool]) -> Candidate | None:
        """As ``pick`` among those whose models have room. The candidate stays."""
        firsts = (group.first(turn) for asked, group in self._groups.items() if has_room(asked))
        best = min((first for first in firsts if first is not None), default=None)
        return None if best is None else self._places[best[1]][0]

    def _leave(self, batch_id: str, models: Models) -> None:
        group = self._groups[models]
        group.discard(batch_id)
        if not len(group.by_deadline):
            del self._groups[models]
