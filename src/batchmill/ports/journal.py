"""The journal: the durable log of results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from batchmill.domain.shards import Shard
from batchmill.domain.usage import Usage
from batchmill.telemetry import JournalMetrics


class Record(msgspec.Struct, frozen=True, gc=False):  # a Struct for the same reason as Usage
    """One settled line: its number, whether it succeeded, its tokens, its finished file line.

    ``model`` is its model's place among those of the shard, ``thinks`` says
    that it asked the model to. ``millis`` is how long the request took that
    settled it, ``rejections`` how many 429 answers it got,
    ``retries`` how often it was sent again after a fault of any kind.
    """

    number: int
    ok: bool
    usage: Usage
    line: bytes
    model: int = 0
    thinks: bool = False
    millis: int = 0
    rejections: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """What earlier attempts at a shard left behind, by line number.

    ``sent`` are the lines that went to an upstream, as far as it was written
    down: those of them without a record may be answered twice.
    """

    records: Mapping[int, Record]
    sent: frozenset[int]


class Segment(Protocol):
    """An attempt's open log."""

    def mark_sent(self, number: int) -> None:
        """Note that a line is about to go to an upstream; best effort, for counting."""
        ...

    def append(self, record: Record) -> None:
        """Add a record; it is settled once ``on_durable`` has been told of it."""
        ...

    async def close(self) -> None:
        """Return when everything appended is durable, and close."""
        ...


class Journal(Protocol):
    """Results of running batches, one segment per attempt at a shard."""

    async def open(self, shard: Shard, on_durable: Callable[[Sequence[Record]], None]) -> Segment:
        """Begin the segment of ``shard.attempt``; ``on_durable`` hears of each durable group."""
        ...

    async def roomy(self) -> None:
        """Return while there is room to write; wait while the disk is full or behind."""
        ...

    async def read(self, batch_id: str, index: int) -> Settled:
        """What is durable of a shard, of all attempts; the first record of a line counts."""
        ...

    async def drop(self, batch_id: str) -> None:
        """Remove the batch's segments."""
        ...

    async def held(self) -> Sequence[str]:
        """The ids of the batches that there are segments of."""
        ...

    async def close(self) -> None:
        """Write no more; open segments are closed by their owners before."""
        ...

    def observe(self, metrics: JournalMetrics) -> None:
        """Show what waits to be durable, and how long the last groups took."""
        ...
