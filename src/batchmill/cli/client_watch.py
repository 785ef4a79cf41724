"""Watching a batch to its end, through restarts of its server.

Asks again after half a second at first and five at last. Only what passes is
waited out: a server that is away or overloaded, never one that refuses.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

import typer
from rich.text import Text

from batchmill.cli.client_http import Api, Declined, Unreachable, decode, segment
from batchmill.cli.client_model import Batch
from batchmill.cli.client_progress import Display, Lines, Silence, watching
from batchmill.cli.client_session import STOPPED, World
from batchmill.cli.client_view import fault_lines, print_json, style_of, sum_up
from batchmill.cli.streams import say

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 5.0
GROWTH: Final = 1.5


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch as it was last seen, and the server's own words for it."""

    batch: Batch
    body: bytes

    @classmethod
    def read(cls, body: bytes) -> Self:
        """What an answer holds; raises Garbled."""
        return cls(decode(body, Batch), body)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a batch is shown: as JSON at its end; beside stdout, where results go there."""

    as_json: bool = False
    on_stderr: bool = False
    source: str | None = None


def look(api: Api, batch_id: str) -> Seen:
    """The batch as it is now."""
    return Seen.read(api.get(f"/batches/{segment(batch_id)}"))


def watch_to_end(
    api: Api, world: World, batch_id: str, *, manner: Manner, is_known: bool = False
) -> Seen:
    """Show a batch until it is at its end, then sum it up.

    A server that cannot be reached is waited for once the batch ``is_known``
    to be there. Ctrl-C ends the verb, not the batch.
    """
    try:
        with _display(world, manner) as display:
            for seen in follow(
                lambda: look(api, batch_id), world.sleep, display.note, is_known=is_known
            ):
                display.update(seen.batch)
    except KeyboardInterrupt:
        say(
            f"Stopped watching; the batch goes on. See `batchmill watch {batch_id}`, "
            f"or stop it by `batchmill cancel {batch_id}`."
        )
        raise typer.Exit(STOPPED) from None
    _tell_end(seen, world, manner)
    return seen


def follow(
    ask: Callable[[], Seen],
    sleep: Callable[[float], None],
    note: Callable[[str], None],
    *,
    is_known: bool,
) -> Iterator[Seen]:
    """The batch at each look, its end last. An outage is noted once, and so is its end."""
    pause, status, is_away = FIRST_PAUSE, "", False
    while True:
        try:
            seen = ask()
        except (Unreachable, Declined) as error:
            if not is_known or (isinstance(error, Declined) and not error.is_passing):
                raise
            if not is_away:
                note(f"{error.message} Asking on.")
            is_away = True
        else:
            if is_away:
                note("The server answers again.")
            is_away, is_known = False, True
            yield seen
            if seen.batch.is_over:
                return
            if seen.batch.status != status:
                pause, status = FIRST_PAUSE, seen.batch.status
        sleep(pause)
        pause = min(LONGEST_PAUSE, pause * GROWTH)


@contextmanager
def _display(world: World, manner: Manner) -> Iterator[Display]:
    """Where progress goes: a terminal, else lines on the stream that is for people."""
    aside = manner.as_json or manner.on_stderr
    console = world.stderr() if aside else world.stdout()
    if console is not None:
        with watching(console, world.now) as bar:
            yield bar
    elif manner.as_json:
        yield Silence()
    else:
        yield Lines(on_stderr=manner.on_stderr)


def _tell_end(seen: Seen, world: World, manner: Manner) -> None:
    """The faults of a refused input, and for a person the sum."""
    if manner.as_json:
        if not manner.on_stderr:
            print_json(seen.body)
        return
    for line in fault_lines(seen.batch.faults, manner.source):
        typer.echo(line, err=manner.on_stderr)
    console = world.stderr() if manner.on_stderr else world.stdout()
    if console is not None:
        console.print(Text(sum_up(seen.batch), style=style_of(seen.batch)), soft_wrap=True)
