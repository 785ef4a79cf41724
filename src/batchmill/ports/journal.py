"""The journal: the durable log of results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from batchmill.domain.shards import Shard
from batchmill.domain.usage import Usage
from batchmill.telemetry import JournalMetrics


class Record(
    msgspec.Struct, frozen=True, gc=False, array_like=True
):  # a Struct for the same reason as Usage; what is added to it comes last, with a default
    """One settled line: its number, whether it succeeded, its tokens, its finished file line.

    ``model`` is its model's place among those of the shard, ``thinks`` says
    that it asked the model to. ``millis`` is how long the request took that
    settled it, ``rejections`` how many 429 answers it got,
    ``retries`` how often it was sent again after a fault of any kind. ``region``
    is that of the upstream which was asked last, empty where it names none.
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
    region: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """What earlier attempts at a shard left behind, by line number.

    ``sent`` are the lines that went to an upstream, as far as it was written
    down: those of them without a record may be answered twice. ``source`` is
    the journal's own note of what it read, for ``open``.
    """

    records: Mapping[int, Record]
    sent: frozenset[int]
    source: object = field(default=None, compare=False)


class Segment(Protocol):
    """An attempt's open log."""

    def mark_sent(self, *numbers: int) -> None:
        """Note that lines are about to go to an upstream; best effort, for counting."""
        ...

    def append(self, *records: Record) -> None:
        """Add records; each is settled once ``on_durable`` has been told of it."""
        ...

    async def close(self) -> None:
        """Return when everything appended is durable, and close."""
        ...


class Sealed(Protocol):
    """The results of a batch that is being delivered. What late twins write is not among them.

    ``shards_ahead`` says of how many shards more the results are worth to be held in memory,
    since reading them takes long.
    """

    @property
    def shards_ahead(self) -> int: ...

    async def read(self, index: int) -> Settled:
        """As ``Journal.read``, and the same whenever and by whomever it is asked."""
        ...

    async def stands(self) -> bool:
        """Whether the journal was not dropped meanwhile: all that was read is all there was."""
        ...


class Journal(Protocol):
    """Results of running batches, one segment per attempt at a shard.

    An attempt that is opened shuts out the earlier ones: of them counts what
    was read before, and nothing that they write later.
    """

    async def open(
        self,
        shard: Shard,
        on_durable: Callable[[Sequence[Record]], None],
        before: Settled | None = None,
    ) -> Segment:
        """Begin the segment of ``shard.attempt``; ``on_durable`` hears of each durable group.

        ``before`` is what the attempt has read of the earlier ones and builds on;
        without it, what there is now. Raises FileExistsError where the attempt
        was opened before.
        """
        ...

    @property
    def is_roomy(self) -> bool:
        """Whether ``roomy`` would return at once."""
        ...

    async def roomy(self) -> None:
        """Return while there is room to write; wait while the disk is full or behind."""
        ...

    async def read(self, batch_id: str, index: int) -> Settled:
        """What is durable of a shard, of all attempts; the first record of a line counts."""
        ...

    async def seal(self, batch_id: str) -> Sealed:
        """Settle for good what the batch's results are; may be repeated, and says the same."""
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
