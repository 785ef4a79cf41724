"""Waiting for what happens in another process: it is looked for, again and again.

The pause between two looks is no part of any claim; the deadline only keeps a
test that fails from hanging.
"""

import time
from collections.abc import Callable

DEADLINE = 120.0
PAUSE = 0.005


def wait_until(holds: Callable[[], object], what: str, pause: float = PAUSE) -> None:
    """Return as soon as ``holds()`` is true; fails with ``what`` if that never comes."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not come about that {what}")
        time.sleep(pause)
