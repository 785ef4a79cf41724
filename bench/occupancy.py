"""How busy the slots of a simulated engine were: the time that was worked in them, summed up.

Pure: whoever tells of a change says when it was.
"""

from bisect import bisect_left

MARK_SECONDS = 0.05


class Occupancy:
    """So many slots at work, and the slot-seconds of work since the first request."""

    def __init__(self) -> None:
        self.busy = 0
        self.most = 0
        self._began: float | None = None
        self._changed = 0.0
        self._area = 0.0
        self._marks: list[tuple[float, float]] = [(0.0, 0.0)]

    def change(self, by: int, now: float) -> None:
        """``by`` more slots are at work from ``now`` on, a time that never goes back."""
        if self._began is None:
            self._began = self._changed = now
        self._area += self.busy * (now - self._changed)
        self._changed = now
        self.busy += by
        self.most = max(self.most, self.busy)
        elapsed = now - self._began
        if elapsed - self._marks[-1][0] >= MARK_SECONDS:
            self._marks.append((elapsed, self._area))

    @property
    def elapsed(self) -> float:
        """Seconds from the first change to the last."""
        return 0.0 if self._began is None else self._changed - self._began

    def worked(self, seconds: float) -> float:
        """Slot-seconds of work in the first ``seconds``; all of it where there were fewer."""
        marks = [*self._marks, (self.elapsed, self._area)]
        at = bisect_left(marks, (seconds,))
        if at >= len(marks):
            return self._area
        if at == 0:
            return 0.0
        (before, low), (after, high) = marks[at - 1 : at + 1]
        return low + (high - low) * (seconds - before) / (after - before)
