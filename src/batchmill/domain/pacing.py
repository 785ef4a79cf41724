"""Adaptive concurrency as plain arithmetic: how many requests an upstream may hold now.

It starts at the ceiling, since creeping up wastes an engine's slots. A
rejection (429, 503) cuts the limit, once a round; a round of successes lets it
grow back. The ceiling may change at any time, where processes share it. An
upstream that is down is paused, for longer each time, and then
asked with a single line.
"""

from dataclasses import dataclass, replace

CUT = 0.7
GROWTH = 0.1
ROUND_SECONDS = 1.0

# A single line can make a server answer 503 or drop a connection; eight lines
# in a row without one success between them are the server's own trouble.
DOWN_AFTER = 8

PAUSE_BASE = 0.5
PAUSE_CAP = 30.0


@dataclass(frozen=True, slots=True)
class Pace:
    """An upstream's present limit.

    ``troubles`` counts signs of its being down since its last success,
    ``pauses`` how often it was paused since then.
    """

    ceiling: int
    limit: int
    successes: int = 0
    cut_at: float = 0.0
    troubles: int = 0
    pauses: int = 0
    paused_until: float = 0.0

    @classmethod
    def full(cls, ceiling: int) -> "Pace":
        """The pace to begin with."""
        return cls(ceiling=ceiling, limit=ceiling)

    @property
    def is_settled(self) -> bool:
        """Whether a success changes nothing: the state that the hot path meets."""
        return self.limit == self.ceiling and not self.troubles

    @property
    def is_down(self) -> bool:
        """Whether the upstream is taken to be down, paused or being asked again."""
        return self.pauses > 0

    def allowed(self, now: float) -> int:
        """How many requests may be in flight: none while paused, one to ask after a pause."""
        if not self.pauses:
            return self.limit
        return 0 if now < self.paused_until else min(1, self.ceiling)


def with_ceiling(pace: Pace, ceiling: int) -> Pace:
    """The ceiling is another one now, or 0; the limit keeps its part of it.

    What an upstream bears of a large share it is taken to bear of a small one.
    """
    if not pace.ceiling or pace.limit == pace.ceiling:
        return replace(pace, ceiling=ceiling, limit=ceiling)
    limit = max(min(1, ceiling), round(pace.limit * ceiling / pace.ceiling))
    return replace(pace, ceiling=ceiling, limit=limit)


def on_success(pace: Pace) -> Pace:
    """After an answer: resumed if it was paused, and a step up after a round of successes."""
    if pace.troubles:
        pace = replace(pace, troubles=0, pauses=0, paused_until=0.0)
    if pace.successes + 1 < pace.limit:
        return replace(pace, successes=pace.successes + 1)
    grown = min(pace.ceiling, pace.limit + max(1, int(pace.limit * GROWTH)))
    return replace(pace, limit=grown, successes=0)


def on_rejected(pace: Pace, now: float) -> Pace:
    """After a 429 or 503: cut, unless this round was cut already."""
    if now - pace.cut_at < ROUND_SECONDS:
        return pace
    lower = max(min(1, pace.ceiling), int(pace.limit * CUT))
    return replace(pace, limit=lower, successes=0, cut_at=now)


def on_trouble(pace: Pace, now: float, *, is_certain: bool, jitter: float) -> Pace:
    """After a sign of being down: paused where it is certain, known, or the signs are many.

    Certain is a connection that did not come about; a sign is a 502, 503 or
    504 or a broken connection. ``jitter`` is uniform in [0, 1). One pause at
    a time: what was in flight when it began does not lengthen it.
    """
    pace = replace(pace, troubles=pace.troubles + 1)
    if now < pace.paused_until or not (is_certain or pace.is_down or pace.troubles >= DOWN_AFTER):
        return pace
    wait = min(PAUSE_CAP, PAUSE_BASE * 2.0 ** min(pace.pauses, 16)) * (0.5 + jitter / 2)
    return replace(pace, pauses=pace.pauses + 1, paused_until=now + wait)
