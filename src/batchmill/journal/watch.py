"""A watch over the journal's groups: how long results wait until they are durable.

Times are those of the event loop's clock, which nobody sets. The journal says
when a group begins, is taken to be written, and is written or refused.
"""

from collections import deque

from batchmill.telemetry import JournalMetrics

# Many times what fits between two looks; without anybody looking nothing may pile up.
_MOST_KEPT = 1_000


class SyncWatch:
    """One group is being gathered, and one being written, at most."""

    def __init__(self) -> None:
        self._gathering_since: float | None = None
        self._writing_since: float | None = None
        self._begun = 0.0
        self._worst = 0.0
        self._syncs: deque[float] = deque(maxlen=_MOST_KEPT)

    def begin(self, now: float) -> None:
        """The first bytes of a group are there."""
        if self._gathering_since is None:
            self._gathering_since = now

    def take(self, now: float) -> None:
        """The group is about to be written; another may begin."""
        self._writing_since, self._gathering_since = self._gathering_since, None
        self._begun = now

    def end(self, now: float, *, is_durable: bool) -> None:
        """The group is written and synced; or it waits for room, as old as it is."""
        since, self._writing_since = self._writing_since, None
        if since is None:
            return
        if is_durable:
            self._syncs.append(now - self._begun)
            self._worst = max(self._worst, now - since)
        else:
            self._gathering_since = since

    def observe(self, metrics: JournalMetrics, now: float) -> None:
        """Show the longest wait, over or not, and the syncs since the last time."""
        metrics.lag_seconds.set(self.take_longest(now))
        self.tell_syncs(metrics)

    def take_longest(self, now: float) -> float:
        """The longest wait since the last time, over or not."""
        waits = [now - at for at in (self._gathering_since, self._writing_since) if at is not None]
        longest, self._worst = max([self._worst, *waits]), 0.0
        return longest

    def tell_syncs(self, metrics: JournalMetrics) -> None:
        """Show the syncs since the last time."""
        while self._syncs:
            metrics.sync_seconds.observe(self._syncs.popleft())
