"""A simulated engine's slots: so many requests at work, so many waiting in line.

Pure bookkeeping, generic in what takes a slot. First come, first served.
"""

from collections import deque
from enum import Enum, auto
from typing import Generic, TypeVar

Guest = TypeVar("Guest")


class Admission(Enum):
    """What became of a request for a slot."""

    WORKING = auto()
    QUEUED = auto()
    REFUSED = auto()


class Slots(Generic[Guest]):
    """``slots`` and ``queue`` None are unlimited."""

    def __init__(self, slots: int | None, queue: int | None) -> None:
        self.slots = slots
        self.queue = queue
        self._working: set[Guest] = set()
        self._queued: deque[Guest] = deque()

    def enter(self, guest: Guest) -> Admission:
        """Take a slot, or a place in the queue, or neither."""
        if self.slots is None or len(self._working) < self.slots:
            self._working.add(guest)
            return Admission.WORKING
        if self.queue is None or len(self._queued) < self.queue:
            self._queued.append(guest)
            return Admission.QUEUED
        return Admission.REFUSED

    def leave(self, guest: Guest) -> None:
        """Give back the slot or the place; harmless for one who has neither."""
        if guest in self._working:
            self._working.discard(guest)
        elif guest in self._queued:
            self._queued.remove(guest)

    def promote(self) -> list[Guest]:
        """Those from the queue's head who now have a slot."""
        if not self._queued:
            return []
        promoted: list[Guest] = []
        while self._queued and (self.slots is None or len(self._working) < self.slots):
            guest = self._queued.popleft()
            self._working.add(guest)
            promoted.append(guest)
        return promoted
