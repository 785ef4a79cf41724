"""Fetching what a batch made: its two files at its end, or what is settled before.

A file here appears whole or not at all. A file that the batch does not have
has no lines, and is written as that, so that nothing older stays in its place.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from batchmill.cli.client_http import Api, Garbled, segment
from batchmill.cli.client_model import Batch
from batchmill.cli.client_progress import transferring
from batchmill.cli.client_session import World
from batchmill.cli.streams import STDIO, plural, say, write_pieces
from batchmill.domain.errors import InvalidRequest

PAGE_LINES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Targets:
    """Where the output and the error file go; None is nowhere, ``-`` is stdout."""

    output: str | None = None
    errors: str | None = None

    @property
    def use_stdout(self) -> bool:
        """Whether stdout is for results, and so for nothing else."""
        return STDIO in {self.output, self.errors}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is wanted."""
        return self.output is None and self.errors is None

    def check(self, source: str = STDIO) -> None:
        """Raise InvalidRequest for places that cannot be written, or would overwrite each other."""
        taken = set[Path]() if source == STDIO else {Path(source).resolve()}
        for target in (self.output, self.errors):
            if target is None or target == STDIO:
                continue
            path = Path(target).resolve()
            if path.is_dir() or not path.parent.is_dir():
                raise InvalidRequest(f"{target} cannot be written: name a file in a folder.")
            if path in taken and (path.is_file() or not path.exists()):
                raise InvalidRequest(f"{target} is named twice: give each file its own name.")
            taken.add(path)


def fetch_results(api: Api, world: World, batch: Batch, targets: Targets) -> None:
    """Write the files of a batch that is at its end."""
    wanted = (
        (targets.output, batch.output_file_id, "result"),
        (targets.errors, batch.error_file_id, "error line"),
    )
    for target, file_id, noun in wanted:
        if target is not None:
            with _pieces_of(api, file_id, _console_for(world, target)) as pieces:
                _write(target, pieces, noun)


def fetch_settled(api: Api, batch_id: str, targets: Targets) -> None:
    """Write what of a batch is settled by now."""
    wanted = (
        (targets.output, "completed", "result"),
        (targets.errors, "failed", "error line"),
    )
    for target, status, noun in wanted:
        if target is not None:
            _write(target, _settled(api, batch_id, status), noun)


def fetch_file(api: Api, world: World, file_id: str, target: str) -> None:
    """Write the content of any file."""
    with _pieces_of(api, file_id, _console_for(world, target)) as pieces:
        _write(target, pieces, "line")


def _console_for(world: World, target: str) -> Console | None:
    """Where a bar may be drawn: not among results on the same terminal."""
    return None if target == STDIO else world.stderr()


@contextmanager
def _pieces_of(api: Api, file_id: str | None, console: Console | None) -> Iterator[Iterable[bytes]]:
    if file_id is None:
        yield ()
        return
    with (
        api.download(f"/files/{segment(file_id)}/content") as download,
        transferring(console, file_id, download.size) as advance,
    ):
        yield _noted(download.pieces, advance)


def _noted(pieces: Iterable[bytes], advance: Callable[[int], None]) -> Iterator[bytes]:
    for piece in pieces:
        advance(len(piece))
        yield piece


def _settled(api: Api, batch_id: str, status: str) -> Iterator[bytes]:
    """The pages of live results, up to the first empty one: nothing more has settled yet."""
    params: dict[str, str | int] = {"limit": PAGE_LINES, "status": status}
    while True:
        page = api.page(f"/batches/{segment(batch_id)}/results", params)
        if not page.body:
            return
        yield page.body
        if not page.has_more:
            return
        if page.next_after is None or page.next_after == params.get("after"):
            raise Garbled("The server tells no place to read on from: it has no live results.")
        params["after"] = page.next_after


class _Newlines:
    """Counts lines on their way, one without its end too."""

    def __init__(self) -> None:
        self._ends = 0
        self._last = b"\n"

    @property
    def count(self) -> int:
        return self._ends + (self._last != b"\n")

    def through(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self._ends += piece.count(b"\n")
            self._last = piece[-1:] or self._last
            yield piece


def _write(target: str, pieces: Iterable[bytes], noun: str) -> None:
    lines = _Newlines()
    write_pieces(target, lines.through(pieces))
    if target != STDIO:
        say(f"Wrote {plural(lines.count, noun)} to {target}.")
