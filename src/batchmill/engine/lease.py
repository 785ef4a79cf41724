"""A lease: until when a process may use the slots that it was granted.

It is told in a clock of the process itself, which goes on while the process or
its machine sleeps; so whoever wakes up knows that the lease has run out,
whatever messages lie waiting.
"""

import math
import time
from collections.abc import Callable
from functools import partial

# A clock that never goes back and does not stop while the machine sleeps.
seconds = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """Until when something may be sent, by ``clock``; at first, never.

    For ``linger`` seconds after that nobody else has what it was for: what was
    sent may end, and whoever may lend it can do so anew.
    """

    __slots__ = ("clock", "linger", "until")

    def __init__(self, linger: float, clock: Callable[[], float] = seconds) -> None:
        self.clock = clock
        self.linger = linger
        self.until = -math.inf

    @property
    def is_out(self) -> bool:
        """Whether nothing may be sent now."""
        return self.clock() >= self.until

    @property
    def is_lapsed(self) -> bool:
        """Whether there was a lease, and nothing of it is left."""
        return self.until > -math.inf and not self.is_held

    @property
    def is_held(self) -> bool:
        """Whether nobody else can have what it is for."""
        return self.clock() < self.until + self.linger

    def forget(self) -> None:
        """As if there had never been one."""
        self.until = -math.inf
