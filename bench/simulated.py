"""A started simulated engine, as the parts of the bench see it."""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.engine import Figures
from bench.processes import python, running

LOOK_SECONDS = 0.02


class Simulated:
    """Where it is, and its account."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self._figures = f"http://127.0.0.1:{port}/figures"

    def figures(self) -> Figures:
        """The account so far."""
        with urllib.request.urlopen(self._figures) as response:
            return Figures(**json.loads(response.read()))

    def wait_until(self, holds: Callable[[Figures], bool], *, seconds: float) -> Figures:
        """The account as soon as ``holds`` is true of it; raises RuntimeError after ``seconds``."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            figures = self.figures()
            if holds(figures):
                return figures
            time.sleep(LOOK_SECONDS)
        raise RuntimeError(f"The simulated engine waited in vain: {self.figures()}")


@contextmanager
def simulated(
    log: Path, *, slots: int = 0, mean: float = 1.0, spread: float = 0.0
) -> Iterator[Simulated]:
    """An engine with its own account, until the end."""
    options = ("--slots", str(slots), "--mean", str(mean), "--spread", str(spread))
    with running(python("-m", "bench.engine", *options), log) as (_, port):
        yield Simulated(int(port))
