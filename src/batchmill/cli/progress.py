"""A progress bar over lines for people, and a few plain sentences where nobody watches."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from batchmill.domain.batch import Counts


class _Rate(ProgressColumn):
    """Lines a second, as measured over the last half minute."""

    def render(self, task: Task) -> Text:
        """The cell of one bar."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f} lines/s", style="cyan")


class LineProgress:
    """Shows counts on standard error while a ``with`` block runs."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            _Rate(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", style="yellow"),
            console=self._console,
            transient=False,
        )
        self._task = self._bar.add_task(title, total=1, note="", visible=False)
        self._told = -1

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on the screen."""
        if self._console.is_terminal:
            self._bar.stop()

    def show(self, counts: Counts, status: str) -> None:
        """Show how far it is; ``total`` 0 is not known yet."""
        done = counts.completed + counts.failed
        if self._console.is_terminal:
            note = f"{counts.failed:,} failed" if counts.failed else status
            self._bar.update(
                self._task,
                completed=done,
                total=max(counts.total, 1),
                note=note,
                visible=counts.total > 0,
            )
        elif counts.total:
            self._tell_tenth(done, counts)

    def _tell_tenth(self, done: int, counts: Counts) -> None:
        tenth = done * 10 // counts.total
        if tenth != self._told:
            self._told = tenth
            sys.stderr.write(
                f"{self._title}: {done:,} of {counts.total:,} lines, {counts.failed:,} failed\n"
            )
