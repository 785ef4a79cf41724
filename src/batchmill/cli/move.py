"""``batchmill move``: a server's data, from its folder to the stores that the settings name."""

import asyncio
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from batchmill.cli.client_view import print_rows
from batchmill.cli.config_show import ConfigFile
from batchmill.cli.serve import lock_folder
from batchmill.cli.streams import one_sentence, say
from batchmill.config import load_settings
from batchmill.domain.errors import ConfigError
from batchmill.ports.moving import MoveWatch, Stage, Weight
from batchmill.service.moving import Freight
from batchmill.wiring.moved import own_place
from batchmill.wiring.moving import Plan, open_mover, plan_move, settle, weigh_move
from batchmill.wiring.parts import Paths

_COLUMNS: Final = ("what", "count", "bytes")
_UNITS: Final = {Stage.BLOBS: "bytes of files", Stage.JOURNALS: "journals", Stage.ROWS: "rows"}


def register(app: typer.Typer) -> None:
    """Add ``move`` to the command line."""
    app.command("move")(move)


def move(
    config: ConfigFile = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="DIR", help="The data folder; that of the settings if absent."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what there is to move.")
    ] = False,
    leave_damaged: Annotated[
        bool,
        typer.Option("--leave-damaged", help="Leave files behind whose bytes are lost or damaged."),
    ] = False,
) -> None:
    """Move a stopped server's data to the database and the bucket that the settings name.

    Batches that are under way go on there. The folder is left as it is; it is
    served no more once everything has arrived.
    """
    with one_sentence():
        settings = load_settings(file=config, env=os.environ, flags={}).settings
        folder = source or settings.data.dir
        if not folder.is_dir():
            raise ConfigError(f"There is no folder {folder}: name the data folder with --from.")
        with _holding(folder, settings.data.dir):
            _move(plan_move(settings, folder), dry_run=dry_run, leave_damaged=leave_damaged)


def _move(plan: Plan, *, dry_run: bool, leave_damaged: bool) -> None:
    for kind, place in plan.places.items():
        say(f"{kind}: {own_place(kind, plan.folder)} -> {place}")
    if dry_run:
        _print_freight(asyncio.run(weigh_move(plan)))
    elif plan.is_settled():
        asyncio.run(settle(plan))
        say(f"Everything in {plan.folder} was moved before.")
    else:
        _print_freight(_run(plan, leave_damaged=leave_damaged))
        say(f"Moved. {plan.folder} is as it was, and what was moved is served from it no more.")


def _run(plan: Plan, *, leave_damaged: bool) -> Freight:
    async def main(watch: MoveWatch) -> Freight:
        await settle(plan)
        async with open_mover(plan, watch, leave_damaged=leave_damaged) as mover:
            return await mover.run()

    with _showing() as watch:
        return asyncio.run(main(watch))


@contextmanager
def _holding(*folders: Path) -> Iterator[None]:
    """Keep servers out of the folders; raises ConfigError where one is at work."""
    with ExitStack() as stack:
        for folder in {folder.resolve(): folder for folder in folders}.values():
            stack.callback(os.close, lock_folder(folder))
            stack.callback(os.close, _lock_engine(folder))
        yield


def _lock_engine(folder: Path) -> int:
    """The engine's lock: one that lost its supervisor works on for a moment."""
    fd = os.open(Paths(folder).engine_lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise ConfigError(f"An engine still works on {folder}: wait until it has left.") from None
    return fd


# --- on the way ---


class Tenths:
    """A line for each tenth of a stage."""

    def __init__(self) -> None:
        self._stage = Stage.BLOBS
        self._total = self._done = self._told = 0

    def begin(self, stage: Stage, total: int) -> None:
        """A stage begins."""
        self._stage, self._total, self._done, self._told = stage, total, 0, 0
        say(f"{stage}: 0 of {total:,} {_UNITS[stage]}")

    def advance(self, amount: int) -> None:
        """Say how far it is, if that is a tenth further."""
        self._done += amount
        tenth = self._done * 10 // self._total if self._total else 0
        if tenth > self._told:
            self._told = tenth
            say(f"{self._stage}: {self._done:,} of {self._total:,} {_UNITS[self._stage]}")


class Bars:
    """A bar for each stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, stage: Stage, total: int) -> None:
        """A stage begins: a bar below the last one."""
        self._task = self._progress.add_task(str(stage), total=total, unit=_UNITS[stage])

    def advance(self, amount: int) -> None:
        """Redraw."""
        if self._task is not None:
            self._progress.update(self._task, advance=amount, refresh=True)


@contextmanager
def _showing() -> Iterator[MoveWatch]:
    """Bars on a terminal, else lines; both on standard error."""
    if not sys.stderr.isatty():
        yield Tenths()
        return
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} {task.fields[unit]}"),
    )
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as progress:
        yield Bars(progress)


# --- what came of it ---


def _print_freight(freight: Freight) -> None:
    rows = [(f"rows of {table}", f"{n:,}", "-") for table, n in (freight.rows or {}).items()]
    weights = {
        "files": freight.blobs,
        "files that were there": freight.present,
        "journals of shards": freight.journals,
    }
    rows += [_weigh(name, weight) for name, weight in weights.items() if weight is not None]
    rows += [(f"left behind: {one.owner}", "-", one.what) for one in freight.left]
    print_rows(_COLUMNS, rows, Console() if sys.stdout.isatty() else None)


def _weigh(name: str, weight: Weight) -> tuple[str, str, str]:
    return name, f"{weight.count:,}", f"{weight.bytes:,}"
