"""How many requests an upstream may hold now: a window that tunes itself, as plain arithmetic.

It begins high, since creeping up wastes an engine's slots, and since a request
too many costs nothing where an upstream queues. Where one rejects instead (429,
503), the window shrinks to what the upstream turned out to hold, by half at most
a round, and doubles again later. A doubled window stays where it pays; else the
last good one is back, and the next trial waits longer. An upstream that is down
is paused, for longer each time, and then asked with a single line. What it rejects
however little it holds cuts nothing (``domain.noise``).
"""

import math
from dataclasses import dataclass, field, replace
from enum import StrEnum

from batchmill.domain.noise import Noise, with_beat, with_rejection, with_tally_anew

# The first window where none is set: twice the slots of an engine as they are set up by default.
# The top is what one process can hold open towards one server without trouble.
BEGIN = 512
TOP = 4096

ROUND_SECONDS = 1.0

# One that rejected the only line that it held is asked again so soon, and later each time.
ASK_SECONDS = 0.1

# Beyond where it began, a doubled window must deliver more to stay. Up to there it is only coming
# back, and must not deliver less.
GAIN = 1.05
LOSS = 0.95

# A round says nothing of the upstream where more than this part of its answers found the window
# not full, nor does one of very few answers.
HUNGRY_SHARE = 0.1
FEWEST_ANSWERS = 16

REST_BASE = 2.0
REST_CAP = 30.0

# A rejection costs its line the Retry-After that comes with it: so many times that lie between two.
RETRY_AFTER_SHARE = 10

# Nothing is asked for longer than this: Retry-After may have been meant for one line alone.
QUIET_CAP = 60.0

# A single line can make a server answer 503 or drop a connection; eight lines
# in a row without one success between them are the server's own trouble.
DOWN_AFTER = 8

PAUSE_BASE = 0.5
PAUSE_CAP = 30.0

# Parts of the time that an answer may take: into which a window is cut after timeouts, and into
# which a doubled one must fit.
_CUT_PATIENCE = 0.5
_GROWN_PATIENCE = 0.75


class Bound(StrEnum):
    """Why no more is in flight than there is."""

    WINDOW = "window"  # as many as the upstream is known to make use of, or as are allowed
    TRIAL = "trial"  # a larger window is being tried
    UPSTREAM = "upstream"  # it rejected requests, or was too slow, and has less than at the start
    SOURCE = "source"  # too few lines are ready to be sent
    DOWN = "down"  # paused, and asked with a line from time to time


@dataclass(frozen=True, slots=True)
class Round:
    """What was seen since the window last changed: first until it is filled anew, then measured.

    ``hungry`` answers found the window not full. ``since`` is None before the first beat.
    """

    since: float | None = None
    answered: int = 0
    hungry: int = 0
    timeouts: int = 0
    is_measured: bool = False

    def rate(self, now: float) -> float:
        """Answers a second."""
        seconds = 0.0 if self.since is None else now - self.since
        return self.answered / seconds if seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Pace:
    """An upstream's present window.

    ``limit`` is what it may hold, on its way to ``target`` by one for each
    answer; ``good`` is the last window that held, and ``rate`` what it delivered
    in a second, 0 where that is not known. ``share`` of the ceiling is where it
    begins. ``patience`` is how long an answer may take. ``troubles`` counts
    signs of its being down since its last success, ``pauses`` how often it was
    paused since then, and ``asked`` how often it rejected all that it held.
    """

    ceiling: int
    limit: int
    target: int
    good: int
    share: float = 1.0
    patience: float = math.inf
    rate: float = 0.0
    round: Round = field(default_factory=Round)
    rest: float = REST_BASE
    try_at: float = -math.inf
    cut_at: float = -math.inf
    floor: int = 0
    quiet_until: float = -math.inf
    troubles: int = 0
    pauses: int = 0
    paused_until: float = 0.0
    asked: int = 0
    noise: Noise = field(default_factory=Noise)

    @classmethod
    def full(cls, ceiling: int, patience: float = math.inf) -> "Pace":
        """The pace to begin with where the ceiling is set: at the ceiling."""
        return cls(ceiling, ceiling, ceiling, ceiling, patience=patience)

    @classmethod
    def tuned(cls, patience: float = math.inf) -> "Pace":
        """The pace to begin with where nothing is set."""
        return cls(TOP, BEGIN, BEGIN, BEGIN, share=BEGIN / TOP, patience=patience)

    @property
    def begin(self) -> int:
        """The window that it began with."""
        return max(min(1, self.ceiling), round(self.ceiling * self.share))

    @property
    def is_settled(self) -> bool:
        """Whether a success changes nothing: the state that the hot path meets."""
        return self.limit >= self.target and not self.troubles

    @property
    def is_trying(self) -> bool:
        """Whether more is tried than the last window that was good."""
        return self.target > self.good

    @property
    def is_held_back(self) -> bool:
        """Whether the upstream has taken less than the window that was begun with."""
        return self.limit < self.begin

    @property
    def is_down(self) -> bool:
        """Whether the upstream is taken to be down, paused or being asked again."""
        return self.pauses > 0

    @property
    def is_asking(self) -> bool:
        """Whether there may be no more than one line, which asks how it is."""
        return self.pauses > 0 or not self.limit

    @property
    def is_asked(self) -> bool:
        """Whether the next answer says that it is up again."""
        return self.troubles > 0 or (self.ceiling > 0 and not self.limit)

    @property
    def asks_at(self) -> float:
        """When the line may go out that asks."""
        return self.paused_until if self.pauses else self.quiet_until

    def allowed(self, now: float) -> int:
        """How many requests may be in flight: none while paused, one to ask after a pause."""
        if not self.is_asking:
            return self.limit
        return 0 if now < self.asks_at else min(1, self.ceiling)


def with_ceiling(pace: Pace, ceiling: int) -> Pace:
    """The ceiling is another one now, or 0; the window keeps its part of it.

    What an upstream bears of a large share it is taken to bear of a small one.
    """
    anew = replace(pace, ceiling=ceiling, noise=replace(pace.noise, larger=None))
    if not pace.ceiling or pace.limit == pace.target == pace.begin:
        return replace(anew, limit=anew.begin, target=anew.begin, good=anew.begin, round=Round())
    factor = ceiling / pace.ceiling

    def scaled(window: int) -> int:
        return max(min(1, ceiling), min(ceiling, round(window * factor)))

    good = scaled(pace.good)
    target = min(scaled(pace.target), 2 * good)
    return replace(
        anew,
        limit=min(scaled(pace.limit), target) if pace.limit else 0,
        target=target,
        good=good,
        floor=scaled(pace.floor),
        rate=pace.rate * factor,
        round=Round(),
    )


# --- what answers say ---


def on_presence(pace: Pace) -> Pace:
    """After any answer that a server gives which is up: resumed if it was paused."""
    return replace(pace, troubles=0, pauses=0, paused_until=0.0) if pace.troubles else pace


def on_success(pace: Pace, now: float, *, is_full: bool) -> Pace:
    """After an answer: resumed if it was paused, and a step towards the target.

    ``is_full`` says whether the window was full until now: else there is no use for a larger one.
    What asked and was answered is up again as a whole, since what held nothing was not overfull.
    """
    pace = on_presence(pace)
    if not pace.limit:
        return replace(pace, limit=pace.target, asked=0)
    if pace.limit >= pace.target or now < pace.quiet_until or not is_full:
        return pace
    return replace(pace, limit=pace.limit + 1)


def on_rejected(
    pace: Pace, now: float, *, held: int, answered: int = 0, retry_after: float = 0.0
) -> Pace:
    """After a 429 or 503, with ``held`` requests left in flight: no more than those for now.

    The window to come back to falls to the same, but by half at most a round; in
    a trial, to the last good one. For ``retry_after`` seconds nothing grows.
    A line that asked, or one of many at a server that is down, says nothing of
    how much it could hold, nor does noise; ``answered`` is how many whole
    answers came since the last beat.
    """
    pace = replace(pace, noise=with_rejection(pace.noise))
    if not pace.is_asking and pace.noise.bears(answered):
        return pace
    wait = max(retry_after, 0.0 if held else _ask_wait(pace))
    quiet_until = max(pace.quiet_until, now + min(QUIET_CAP, wait))
    was_asking = pace.is_asking
    asked = pace.asked if held else pace.asked + 1
    limit = min(pace.limit, held)
    pace = replace(pace, limit=limit, quiet_until=quiet_until, asked=asked)
    if was_asking:
        return replace(pace, round=Round())
    return _cut(pace, now, held=held, cost=min(QUIET_CAP, RETRY_AFTER_SHARE * retry_after))


def _ask_wait(pace: Pace) -> float:
    """Seconds until one that holds nothing is asked again."""
    return min(ROUND_SECONDS, ASK_SECONDS * 2.0 ** min(pace.asked, 16))


def _cut(pace: Pace, now: float, *, held: int, cost: float) -> Pace:
    """The window to come back to after a rejection that took ``cost`` seconds of a line."""
    floor = _floor(pace, now)
    window = max(floor, min(pace.target, held))
    is_slight = not pace.is_trying and window >= LOSS * 2 * floor
    rest = _rest_after(pace, window)
    try_at = pace.try_at if is_slight else now + rest
    return replace(
        pace,
        target=window,
        good=window,
        floor=floor,
        cut_at=now if pace.is_trying or _is_fresh(pace, now) else pace.cut_at,
        rest=rest,
        try_at=max(try_at, now + cost, pace.quiet_until),
        round=pace.round if is_slight else Round(),
    )


def _is_fresh(pace: Pace, now: float) -> bool:
    """Whether a cut is the first one of its round."""
    return now - pace.cut_at >= ROUND_SECONDS


def _floor(pace: Pace, now: float) -> int:
    """The least that a rejection may cut the window to."""
    if pace.is_trying:
        return pace.good
    if _is_fresh(pace, now):
        return max(min(1, pace.ceiling), pace.target // 2)
    return pace.floor


def _rest_after(pace: Pace, window: int) -> float:
    """How long to wait before more is tried than a rejection has left."""
    if pace.is_trying and window < GAIN * pace.good:
        return min(REST_CAP, 2 * pace.rest)
    has_moved = pace.is_trying or window < LOSS * pace.good
    return REST_BASE if has_moved else pace.rest


def on_timeout(pace: Pace, now: float) -> Pace:
    """After a request that was not answered in time: cut where it waited for others.

    That is so where more is in flight than is answered in the time that an
    answer may take. A few lines may just be long.
    """
    seen = replace(pace.round, timeouts=pace.round.timeouts + 1)
    pace = replace(pace, round=seen)
    if pace.is_asking or seen.timeouts < DOWN_AFTER or math.isinf(pace.patience):
        return pace
    fitting = int(_present_rate(pace, now) * pace.patience * _CUT_PATIENCE)
    if fitting >= pace.limit:
        return pace
    limit = max(1, fitting)
    cut = replace(_rested(pace, now), limit=limit, target=limit, good=limit, cut_at=now)
    return replace(cut, round=Round(since=now))


def _present_rate(pace: Pace, now: float) -> float:
    """The rate of a round that is long enough to tell, else of the last one."""
    since = pace.round.since
    is_long = since is not None and now - since >= min(pace.patience, REST_CAP) * _CUT_PATIENCE
    return pace.round.rate(now) if is_long or not pace.rate else pace.rate


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


# --- what rounds say ---


def on_beat(pace: Pace, now: float, *, answered: int, hungry: int, is_idle: bool) -> Pace:
    """Once a second or so, with what was ``answered`` since the last time.

    ``hungry`` of the answers found the window not full; ``is_idle`` says that nothing is in
    flight. A round takes as many answers as the window holds.
    """
    pace = _with_noise(pace, now, answered=answered, hungry=hungry, is_idle=is_idle)
    before = pace.round
    if pace.is_asking or is_idle or pace.limit < pace.target or before.since is None:
        return replace(pace, round=Round(since=now))
    seen = replace(before, answered=before.answered + answered, hungry=before.hungry + hungry)
    pace = replace(pace, round=seen)
    is_enough = seen.answered >= max(pace.limit, FEWEST_ANSWERS)
    if not is_enough or now - before.since < ROUND_SECONDS:
        return pace
    if seen.is_measured and seen.hungry <= HUNGRY_SHARE * seen.answered:
        return _conclude(pace, now, seen.rate(now))
    rate = pace.rate or seen.rate(now)
    return replace(pace, rate=rate, round=Round(since=now, is_measured=True))


def _with_noise(pace: Pace, now: float, *, answered: int, hungry: int, is_idle: bool) -> Pace:
    """What was cut for noise is undone as soon as it is known to be noise."""
    before = pace.noise
    if pace.is_down or (is_idle and not pace.is_asking):
        return replace(pace, noise=with_tally_anew(before, now, window=pace.target))
    noise = with_beat(before, now, window=pace.target, answered=answered, hungry=hungry)
    if noise.share <= before.share:
        return replace(pace, noise=noise)
    window = max(pace.good, pace.begin)
    return replace(pace, noise=noise, target=window, good=window, rate=0.0, round=Round())


def _conclude(pace: Pace, now: float, rate: float) -> Pace:
    """The window was full for a round, and delivered that much."""
    if not pace.is_trying:
        known = replace(pace, rate=rate, round=Round(since=now, is_measured=True))
        return _try_more(known) if now >= max(pace.try_at, pace.quiet_until) else known
    if rate >= pace.rate * (GAIN if pace.limit > pace.begin else LOSS):
        grown = replace(pace, good=pace.limit, rate=rate, rest=REST_BASE, round=Round(since=now))
        return _try_more(grown)
    return replace(_rested(pace, now), limit=pace.good, target=pace.good, round=Round(since=now))


def _try_more(pace: Pace) -> Pace:
    """Twice the window, where that can be answered in time."""
    target = min(pace.ceiling, 2 * pace.good)
    if target <= pace.good or target > pace.rate * pace.patience * _GROWN_PATIENCE:
        return pace
    return replace(pace, target=target)


def _rested(pace: Pace, now: float) -> Pace:
    """The next trial is later than the last one was."""
    return replace(pace, rest=min(REST_CAP, 2 * pace.rest), try_at=now + pace.rest)


def bound_of(pace: Pace, now: float, in_flight: int) -> Bound:
    """What keeps the number in flight where it is."""
    if pace.is_down:
        return Bound.DOWN
    allowed = pace.allowed(now)
    if in_flight < allowed - HUNGRY_SHARE * allowed:
        return Bound.SOURCE
    if pace.is_trying:
        return Bound.TRIAL
    return Bound.UPSTREAM if pace.is_held_back else Bound.WINDOW
