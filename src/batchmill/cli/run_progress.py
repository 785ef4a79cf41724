"""How ``batchmill run`` shows its progress: a bar for people, a line each tenth for pipes."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from batchmill.cli.client_model import Batch, Counts
from batchmill.cli.client_progress import Display, watching
from batchmill.cli.streams import plural, say
from batchmill.domain import batch as domain


class Tenths:
    """A line for each tenth of the way."""

    def __init__(self) -> None:
        self._told = -1

    def update(self, batch: Batch) -> None:
        """Say how far it is, if that is a tenth further."""
        counts = batch.counts
        done = counts.completed + counts.failed
        tenth = done * 10 // counts.total if counts.total else -1
        if tenth > self._told:
            self._told = tenth
            self.note(f"{done:,} of {plural(counts.total, 'line')}, {counts.failed:,} failed")

    def note(self, sentence: str) -> None:
        """On standard error."""
        say(sentence)


@contextmanager
def showing_run() -> Iterator[Display]:
    """Where a run is shown: a bar on a terminal, else lines; both on standard error."""
    if sys.stderr.isatty():
        with watching(Console(stderr=True), time.monotonic) as bar:
            yield bar
    else:
        yield Tenths()


def as_shown(batch: domain.Batch) -> Batch:
    """A batch in the shape that displays take."""
    counts = batch.counts
    return Batch(
        id=batch.id,
        status=batch.status,
        request_counts=Counts(counts.total, counts.completed, counts.failed),
    )
