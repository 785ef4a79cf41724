"""How many files a process may have open: every connection counts as one."""

import resource
from contextlib import suppress
from typing import Final

PLENTY: Final = 65_536


def open_many() -> None:
    """Raise what this process is allowed by itself to what it may allow itself, up to ``PLENTY``.

    Systems give a process 1,024 for the sake of old programs, which is less than
    one upstream may have in flight.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = PLENTY if hard == resource.RLIM_INFINITY else min(PLENTY, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):  # some systems have a limit below the one they tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
