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
    """Until when something may be sent, by ``clock``; at first, never."""

    __slots__ = ("clock", "until")

    def __init__(self, clock: Callable[[], float] = seconds) -> None:
        self.clock = clock
        self.until = -math.inf

    @property
    def is_out(self) -> bool:
        """Whether nothing may be sent now."""
        return self.clock() >= self.until

    def has_been_out(self, seconds: float) -> bool:
        """Whether there was a lease, and it ran out so long ago or longer."""
        return self.until > -math.inf and self.clock() >= self.until + seconds

    def forget(self) -> None:
        """As if there had never been one."""
        self.until = -math.inf
