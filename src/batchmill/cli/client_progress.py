"""Progress on its way to a reader: bars for people, a line a change for pipes, or nothing.

Bars are drawn when something is reported and never by a clock, so that nothing
runs beside the verb.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn
from rich.progress import TransferSpeedColumn as SpeedColumn

from batchmill.cli.client_model import Batch, printable
from batchmill.cli.client_view import sum_up
from batchmill.cli.streams import say

_MEMORY: Final = 30.0


class Display(Protocol):
    """Where a watched batch is shown."""

    def update(self, batch: Batch) -> None:
        """The batch was looked at; it may be as it was."""
        ...

    def note(self, sentence: str) -> None:
        """Something happened besides."""
        ...


class Silence:
    """Shows nothing; notes go to stderr."""

    def update(self, batch: Batch) -> None:
        """Nothing."""

    def note(self, sentence: str) -> None:
        """On stderr."""
        say(sentence)


class Lines:
    """A line for each change."""

    def __init__(self, *, on_stderr: bool = False) -> None:
        self._on_stderr = on_stderr
        self._last = ""

    def update(self, batch: Batch) -> None:
        """The batch in a line, unless the last one said the same."""
        line = sum_up(batch)
        if line != self._last:
            self._last = line
            typer.echo(line, err=self._on_stderr)

    def note(self, sentence: str) -> None:
        """On stderr, so that stdout holds changes alone."""
        say(sentence)


class Bar:
    """A progress bar with rate and time left."""

    def __init__(self, progress: Progress, now: Callable[[], float]) -> None:
        self._progress = progress
        self._now = now
        self._speed = Speedometer()
        self._task = progress.add_task("", total=None, outlook="")

    def update(self, batch: Batch) -> None:
        """Redraw."""
        counts = batch.counts
        done = counts.completed + counts.failed
        measured = self._speed.read(self._now(), done)
        self._progress.update(
            self._task,
            description=printable(batch.status),
            completed=done,
            total=counts.total or None,
            outlook=outlook(batch, measured),
            refresh=True,
        )

    def note(self, sentence: str) -> None:
        """Above the bar."""
        self._progress.console.print(sentence, markup=False, highlight=False)


@contextmanager
def watching(console: Console, now: Callable[[], float]) -> Iterator[Bar]:
    """A bar for a batch."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[outlook]}"),
    )
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        yield Bar(progress, now)


@contextmanager
def transferring(
    console: Console | None, what: str, size: int | None
) -> Iterator[Callable[[int], None]]:
    """A bar for bytes on their way, where somebody looks; call what it gives with their count."""
    if console is None:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), SpeedColumn())
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task(printable(what), total=size)
        yield lambda count: progress.update(task, advance=count, refresh=True)


class Speedometer:
    """Requests a second over the last half minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def read(self, now: float, done: int) -> float | None:
        """Note that ``done`` requests are done ``now``; the rate, None while it is not known."""
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _MEMORY:
            self._seen.popleft()
        since, before = self._seen[0]
        return (done - before) / (now - since) if now > since and done > before else None


def outlook(batch: Batch, measured: float | None) -> str:
    """Failures, rate, time left and place in the queue, as far as they are known."""
    told, counts = batch.progress, batch.counts
    rate = told.lines_per_second if told.lines_per_second is not None else measured
    left = told.eta_seconds
    if left is None and rate:
        left = (counts.total - counts.completed - counts.failed) / rate
    facts = [f"{counts.failed:,} failed"] if counts.failed else []
    if not batch.is_over:
        facts += [f"{rate:,.1f}/s"] if rate else []
        facts += [f"{show_span(left)} left"] if left is not None else []
        facts += [f"place {told.queue_position} in the queue"] if told.queue_position else []
        facts += ["waits for the account's allowance"] if told.waits_for else []
    return ", ".join(facts)


def show_span(seconds: float) -> str:
    """``45s``, ``3m 20s``, ``2h 05m``, ``3d 4h``."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"
