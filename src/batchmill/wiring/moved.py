"""What a data folder knows of moves out of it: ``moved.json``, which no server overlooks.

Its stores serve until a move is written down as ended; from then on only the
stores that it went to do.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from batchmill.blobs.disk import sync_folder
from batchmill.config import Settings
from batchmill.config.units import public_url
from batchmill.domain.errors import ConfigError
from batchmill.wiring.parts import Paths

FILE: Final = "moved.json"


class Kind(StrEnum):
    """What moves: the rows, or the bytes of files with the journal."""

    DATABASE = "database"
    BLOBS = "blobs"

    @property
    def subject(self) -> str:
        """How a sentence about it begins."""
        return "The database" if self is Kind.DATABASE else "The files"


class Step(msgspec.Struct, frozen=True):
    """A move to the place ``to``; times are Unix seconds, ``ended_at`` None while it is not over.

    ``to`` holds no user and no password.
    """

    to: str
    begun_at: float
    ended_at: float | None = None


Moves = dict[Kind, Step]


def read_moves(folder: Path) -> Moves:
    """The last move of each kind out of ``folder``; raises ConfigError."""
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Moves)
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"The file {path} cannot be read. It says where the data of this folder was moved to: "
            "serve it from there, and remove the file if nothing was moved."
        ) from error


def write_moves(folder: Path, moves: Moves) -> None:
    """Put the file in place, whole and synced."""
    draft = folder / f".{FILE}"
    with draft.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(moves)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / FILE)
    sync_folder(folder)


@dataclass(frozen=True, slots=True)
class FolderLog:
    """The port MoveLog over a data folder; ``places`` are where what goes, by kind."""

    folder: Path
    places: dict[Kind, str]

    async def begin(self) -> None:
        """Nobody may serve the targets yet."""
        begun = {kind: Step(place, _now()) for kind, place in self.places.items()}
        write_moves(self.folder, {**read_moves(self.folder), **begun})

    async def end(self) -> None:
        """Nobody may serve the source any more."""
        moves = read_moves(self.folder)
        ended = {
            kind: msgspec.structs.replace(moves[kind], ended_at=_now()) for kind in self.places
        }
        write_moves(self.folder, {**moves, **ended})


def place_of(kind: Kind, settings: Settings) -> str:
    """Where the settings keep what is of this kind, without user and password."""
    data, own = settings.data, own_place(kind, settings.data.dir)
    if kind is Kind.BLOBS:
        return own if data.blobs is None else public_url(data.blobs)
    if data.database is None:
        return own
    url = data.database.get_secret_value()
    if data.is_shared:
        return public_url(url)
    return str(Path(urlsplit(url).path.removeprefix("/")).resolve())


def own_place(kind: Kind, folder: Path) -> str:
    """Where a data folder itself keeps what is of this kind."""
    paths = Paths(folder.resolve())
    return str(paths.database if kind is Kind.DATABASE else paths.blobs)


def assert_serves(settings: Settings) -> None:
    """Return unless a move says that something else is to be served; raises ConfigError."""
    folder = settings.data.dir
    for kind, step in read_moves(folder).items():
        place = place_of(kind, settings)
        if step.ended_at is not None and place == own_place(kind, folder):
            day = datetime.fromtimestamp(int(step.ended_at), UTC).date()
            raise ConfigError(
                f"{kind.subject} of {folder} moved to {step.to} on {day}: set data.{kind} to that "
                "place, for what is in the folder is out of date."
            )
        if step.ended_at is None and place == step.to:
            raise ConfigError(
                f"{kind.subject} of {folder} did not arrive in {step.to}, the move was cut off: "
                "run 'batchmill move' again as it was run before."
            )


def _now() -> float:
    return datetime.now(UTC).timestamp()
