"""How many lines a batch settles in a second, smoothed over its last looks."""

from batchmill.domain.batch import Counts

_FRESH_SHARE = 0.3
_LEAST_SECONDS = 0.2


class Rate:
    """A moving average. None until two looks have seen the batch go on."""

    def __init__(self) -> None:
        self.lines_per_second: float | None = None
        self._done: int | None = None
        self._at = 0.0

    def note(self, counts: Counts, now: float) -> None:
        """Take another look at the counts; looks that come too close upon another are skipped."""
        done = counts.completed + counts.failed
        if self._done is None:
            self._done, self._at = done, now
            return
        elapsed = now - self._at
        if elapsed < _LEAST_SECONDS:
            return
        # A shard that is lost counts as not begun until it runs again.
        fresh = max(0, done - self._done) / elapsed
        if self.lines_per_second is not None:
            self.lines_per_second += _FRESH_SHARE * (fresh - self.lines_per_second)
        elif fresh > 0:
            self.lines_per_second = fresh
        self._done, self._at = done, now
