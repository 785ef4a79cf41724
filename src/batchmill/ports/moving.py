"""Moving house: rows, bytes and journals go from one set of stores to another.

A move ends at one instant, when it is written down that it has ended: until
then the source serves, from then on the target.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """Bytes that a row names; ``owner`` is the row's id.

    ``digest`` is None where the row knows of none, as that of an upload's part.
    """

    key: str
    bytes: int
    digest: str | None
    owner: str


@dataclass(frozen=True, slots=True)
class Weight:
    """How many blobs there are, and their bytes in all."""

    count: int
    bytes: int


class Inventory(Protocol):
    """What a database says about itself and about blobs."""

    async def count(self) -> Mapping[str, int]:
        """How many rows there are that move, by table."""
        ...

    async def weigh(self) -> Weight:
        """How much ``named`` will yield."""
        ...

    def named(self) -> AsyncIterator[NamedBlob]:
        """Every blob that a file or a part of a pending upload names."""
        ...


class RowMove(Protocol):
    """The way of every row from one database into another, which is empty.

    The target refuses to be opened from ``copy`` until ``release``.
    """

    async def check(self) -> None:
        """Return if the target holds nothing, or what a move left that was cut off.

        Raises Conflict otherwise.
        """
        ...

    async def copy(self, on_rows: Callable[[str, int], None]) -> Mapping[str, int]:
        """Copy every row in one transaction; how many there are now, by table.

        ``on_rows`` hears of rows as they go. Nobody can write into the source
        meanwhile. Raises Conflict, as ``check`` does, and where rows do not fit.
        """
        ...

    async def release(self) -> None:
        """Let the target be opened."""
        ...


class MoveLog(Protocol):
    """What is written down in the source, durably."""

    async def begin(self) -> None:
        """Nobody may serve the target yet."""
        ...

    async def end(self) -> None:
        """Nobody may serve the source any more."""
        ...


class Stage(StrEnum):
    """What a move does at a time."""

    BLOBS = "files"
    JOURNALS = "journals"
    ROWS = "rows"


class MoveWatch(Protocol):
    """Where the way of a move is shown."""

    def begin(self, stage: Stage, total: int) -> None:
        """A stage begins: so many bytes of files, shards of journals, or rows."""
        ...

    def advance(self, amount: int) -> None:
        """So much more of the stage is done."""
        ...


@dataclass(frozen=True, slots=True)
class Damage:
    """A blob that could not be moved as its row describes it."""

    owner: str
    what: str
