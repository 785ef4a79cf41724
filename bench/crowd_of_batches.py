"""Many small batches started at once, against one batch of as many lines.

The files are uploaded before; counted is from the first creation to the end of the last batch.
Once with an upstream that answers at once, where all that a batch costs is seen, and once with a
simulated engine, which is busy meanwhile.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import inputs
from bench.end_to_end import LINE_BYTES, MODEL, SLOTS, Upstream
from bench.server import Batchmill, Model, batchmill
from bench.simulated import Simulated, simulated

MEAN = 0.1
SPREAD = 0.5

# What starts an upstream, with its files in a folder.
Serve = Callable[[Path], AbstractContextManager[Upstream | Simulated]]


@dataclass(frozen=True)
class Crowd:
    """Lines a second of ``batches`` of ``lines`` lines each, and of one with all of the lines."""

    batches: int
    lines: int
    many: float
    one: float

    @property
    def share(self) -> float:
        """What the many reach of the one."""
        return self.many / self.one


def engine(folder: Path) -> AbstractContextManager[Simulated]:
    """An engine whose slots take ``MEAN`` seconds for an answer, more or less a part of it."""
    return simulated(folder / "engine.log", slots=SLOTS, mean=MEAN, spread=SPREAD)


def measure(folder: Path, serve: Serve, *, batches: int, lines: int, rounds: int) -> Crowd:
    """The medians with the upstream of ``serve``; the two take turns on one server.

    ``lines`` is how many there are in all, which the ``batches`` share.
    """
    folder.mkdir(parents=True, exist_ok=True)
    each = lines // batches
    small, large = folder / "small.jsonl", folder / "large.jsonl"
    inputs.write_requests(small, lines=each, line_bytes=LINE_BYTES, model=MODEL)
    inputs.write_requests(large, lines=batches * each, line_bytes=LINE_BYTES, model=MODEL)
    with (
        serve(folder) as served,
        batchmill(folder / "server", {MODEL: Model(served.url, SLOTS)}) as server,
    ):
        pairs = [
            (
                _seconds(server, [server.upload(large)]),
                _seconds(server, [server.upload(small) for _ in range(batches)]),
            )
            for _ in range(rounds)
        ]
    one, many = (median(batches * each / took for took in of) for of in zip(*pairs, strict=True))
    return Crowd(batches, each, many=many, one=one)


def _seconds(server: Batchmill, files: Sequence[str]) -> float:
    began = time.perf_counter()
    batches = [server.create(file) for file in files]
    # One look for all of them: a look at each would cost the more, the more there are.
    server.wait_until_idle()
    seconds = time.perf_counter() - began
    for batch in batches:
        server.wait_for(batch)
    return seconds
