"""What an upstream rejects however little it holds: rejections that no smaller window avoids.

A server that is full rejects less once it holds less, or loses nothing by it. Where the window was
cut, and less was delivered, and as large a part was rejected as before, the window was not the
reason: a gateway drops some, or one of several replicas is ill. Such a share is borne for a while;
what is rejected beyond it counts as before.
"""

from dataclasses import dataclass, field, replace

# A tally is as long as a round of the window, and has at least so many outcomes. Where some are
# rejected it goes on until these are as many as tell their part, or until the outcomes are.
TALLY_SECONDS = 1.0
FEWEST_OUTCOMES = 16
FEWEST_REJECTIONS = 4
MOST_OUTCOMES = 160

# Windows are compared where one is this part of the other. The cut between them cost throughput
# where no more than COST of it is left, and was in vain where IN_VAIN of the rejections are; it
# was of use where less than OF_USE of them are. Between these nothing is known yet.
CUT = 0.7
COST = 0.8
IN_VAIN = 0.6
OF_USE = 0.3

# More than this is never borne: who rejects most of what comes is better asked for less.
MOST = 0.5

# Chance gives a little more than the share: so many times it, and a few besides.
EXCESS = 1.5
SLACK = 8

# After so many seconds it is learnt anew, and not before so many times those that it took: the
# cause may be another one by then.
BELIEVED_SECONDS = 120.0
BELIEVED_TIMES = 20

# A share that has shrunk to less is none.
_LEAST = 0.005


@dataclass(frozen=True, slots=True)
class Tally:
    """What came since ``since``, None before the first beat; ``hungry`` as in ``pacing.Round``."""

    since: float | None = None
    window: int = 0
    answered: int = 0
    hungry: int = 0
    rejected: int = 0

    @property
    def outcomes(self) -> int:
        """Answers and rejections."""
        return self.answered + self.rejected


@dataclass(frozen=True, slots=True)
class Sample:
    """What a tally came to that began under this window: ``rate`` in answers a second, ``share``
    of rejections."""

    window: int
    rate: float
    share: float


@dataclass(frozen=True, slots=True)
class Noise:
    """``share`` of all outcomes are rejections that are borne ``until`` then.

    ``larger`` is how it was under a larger window, to which a smaller one is compared.
    """

    share: float = 0.0
    until: float = 0.0
    tally: Tally = field(default_factory=Tally)
    larger: Sample | None = None

    def bears(self, answered: int) -> bool:
        """Whether what was rejected lately is no more than noise, with so many answers since the
        last beat."""
        if not self.share:
            return False
        odds = self.share / (1.0 - self.share)
        usual = odds * (self.tally.answered + answered)
        return self.tally.rejected <= SLACK + EXCESS * usual


def with_rejection(noise: Noise) -> Noise:
    """One more was rejected."""
    tally = replace(noise.tally, rejected=noise.tally.rejected + 1)
    return replace(noise, tally=tally)


def with_tally_anew(noise: Noise, now: float, *, window: int) -> Noise:
    """What came so far says nothing, since it was idle or down."""
    return replace(noise, tally=Tally(now, window))


def with_beat(noise: Noise, now: float, *, window: int, answered: int, hungry: int) -> Noise:
    """Once a second or so, with what was ``answered`` since the last time, under this window."""
    if noise.share and now >= noise.until:
        noise = Noise()
    before = noise.tally
    if before.since is None:
        return replace(noise, tally=Tally(now, window))
    tally = replace(before, answered=before.answered + answered, hungry=before.hungry + hungry)
    seconds = now - before.since
    if not _is_enough(tally, seconds):
        return replace(noise, tally=tally)
    return replace(_learnt(noise, now, tally, seconds), tally=Tally(now, window))


def _is_enough(tally: Tally, seconds: float) -> bool:
    """Whether it tells something: that nothing is rejected shows sooner than how much is."""
    if tally.outcomes < FEWEST_OUTCOMES or seconds < TALLY_SECONDS:
        return False
    is_clear = tally.rejected == 0 or tally.rejected >= FEWEST_REJECTIONS
    return is_clear or tally.outcomes >= MOST_OUTCOMES


def _learnt(noise: Noise, now: float, tally: Tally, seconds: float) -> Noise:
    found = Sample(tally.window, tally.answered / seconds, tally.rejected / tally.outcomes)
    if tally.rejected < FEWEST_REJECTIONS:
        return _faded(noise, found.share, tally.outcomes)
    larger = noise.larger
    if larger is None or found.window > larger.window:
        return replace(noise, larger=found)
    if found.window > CUT * larger.window or tally.hungry > tally.answered / 2:
        return noise
    if found.rate > COST * larger.rate or found.share < OF_USE * larger.share:
        return replace(noise, larger=found)
    if found.share >= IN_VAIN * larger.share and found.share > noise.share:
        believed = max(BELIEVED_SECONDS, BELIEVED_TIMES * seconds)
        return Noise(min(MOST, found.share), now + believed)
    return noise


def _faded(noise: Noise, seen: float, outcomes: int) -> Noise:
    """Few were rejected: the share falls as fast as that is certain."""
    weight = outcomes / (outcomes + MOST_OUTCOMES)
    share = min(noise.share, (1 - weight) * noise.share + weight * seen)
    return replace(noise, share=share if share >= _LEAST else 0.0)
