"""What a scripted upstream has seen so far.

Numbers only. Hits are counted by line, so that a test can prove that none was
sent twice.
"""

from collections import Counter
from dataclasses import dataclass, field

from batchmill.upstream.mock.script import Fault


@dataclass(slots=True)
class Stats:
    """Counts since the start or the last reset.

    ``requests`` are POSTs to the model endpoints; ``aborted`` those of them whose
    client went away before the answer. ``hits`` counts by Idempotency-Key,
    ``hits_by_body`` by the body's digest in hex.
    """

    requests: int = 0
    answered: int = 0
    aborted: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    held: int = 0
    connections: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: Counter[Fault] = field(default_factory=Counter)
    hits: dict[str, int] = field(default_factory=dict)
    hits_by_body: dict[str, int] = field(default_factory=dict)

    def enter(self) -> None:
        """A request has come."""
        self.requests += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def count_line(self, key: str | None, digest: str) -> int:
        """Count a hit of a line, and say how many it has now: by its key where it has one."""
        by_body = self.hits_by_body[digest] = self.hits_by_body.get(digest, 0) + 1
        if key is None:
            return by_body
        by_key = self.hits[key] = self.hits.get(key, 0) + 1
        return by_key

    def clear(self) -> None:
        """Start over; what is in flight stays so."""
        self.requests = self.answered = self.aborted = self.connections = 0
        self.max_in_flight = self.in_flight
        for counts in (self.statuses, self.faults, self.hits, self.hits_by_body):
            counts.clear()

    def to_json(self, *, lines: bool) -> dict[str, object]:
        """What ``GET /stats`` shows; the counts by line only if asked for."""
        shown: dict[str, object] = {
            "requests": self.requests,
            "answered": self.answered,
            "aborted": self.aborted,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "connections": self.connections,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "faults": {str(fault): count for fault, count in sorted(self.faults.items())},
        }
        if lines:
            shown |= {"hits_by_key": self.hits, "hits_by_body": self.hits_by_body}
        return shown
