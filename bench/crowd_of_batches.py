"""Many small batches started at once, against one batch of as many lines.

The files are uploaded before; counted is from the first creation to the end of the last batch.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import inputs
from bench.end_to_end import LINE_BYTES, MODEL, SLOTS, upstream
from bench.server import Batchmill, Model, batchmill


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


def measure(folder: Path, *, batches: int, lines: int, rounds: int) -> Crowd:
    """The medians; the two take turns on one server."""
    folder.mkdir(parents=True, exist_ok=True)
    small, large = folder / "small.jsonl", folder / "large.jsonl"
    inputs.write_requests(small, lines=lines, line_bytes=LINE_BYTES, model=MODEL)
    inputs.write_requests(large, lines=batches * lines, line_bytes=LINE_BYTES, model=MODEL)
    with (
        upstream(folder) as served,
        batchmill(folder / "server", {MODEL: Model(served.url, SLOTS)}) as server,
    ):
        pairs = [
            (
                _seconds(server, [server.upload(large)]),
                _seconds(server, [server.upload(small) for _ in range(batches)]),
            )
            for _ in range(rounds)
        ]
    one, many = (median(batches * lines / took for took in of) for of in zip(*pairs, strict=True))
    return Crowd(batches, lines, many=many, one=one)


def _seconds(server: Batchmill, files: Sequence[str]) -> float:
    began = time.perf_counter()
    batches = [server.create(file) for file in files]
    # One look for all of them: a look at each would cost the more, the more there are.
    server.wait_until_idle()
    seconds = time.perf_counter() - began
    for batch in batches:
        server.wait_for(batch)
    return seconds
