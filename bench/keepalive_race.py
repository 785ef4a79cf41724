"""The race of keep-alive: an upstream that closes each connection just after its third answer.

A request that is on its way meanwhile was not read by anybody: batchmill sends it again, and
neither the line nor one of its attempts may be lost by it.
"""

from dataclasses import dataclass
from pathlib import Path

from bench import inputs
from bench.end_to_end import LINE_BYTES, MODEL, SLOTS
from bench.processes import python, running
from bench.server import Model, batchmill

ANSWERS = 3
CLOSE_SECONDS = 0.0005


@dataclass(frozen=True)
class Race:
    """A batch on such an upstream: lines that failed, and attempts that were spent in vain."""

    lines: int
    failed: int
    spent: int


def measure(folder: Path, *, lines: int) -> Race:
    """One batch through the whole product."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "requests.jsonl"
    inputs.write_requests(source, lines=lines, line_bytes=LINE_BYTES, model=MODEL)
    options = ("--close-after", str(ANSWERS), "--close-delay", str(CLOSE_SECONDS), "--port", "0")
    command = python("-m", "batchmill", "mock-upstream", "--no-count-lines", *options)
    with (
        running(command, folder / "upstream.log") as (_, url),
        batchmill(folder / "server", {MODEL: Model(url, SLOTS)}) as server,
    ):
        batch = server.wait_for_end(server.create(server.upload(source)))
        spent = int(server.metric("batchmill_lines_retried_total"))
    return Race(lines, failed=lines - batch["request_counts"]["completed"], spent=spent)
