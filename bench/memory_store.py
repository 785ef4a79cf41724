"""As much of a store as the dispatcher asks for, in memory: for simulations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from batchmill.domain.batch import Batch, Status
from batchmill.domain.caps import Cap
from batchmill.domain.file import File
from batchmill.domain.shards import Shard, ShardStatus
from batchmill.ports import BatchSpent, ShardSum

LINE_BYTES = 600


@dataclass(slots=True)
class Stored:
    """A batch and its shards; they are made when they are asked for."""

    batch: Batch
    models: tuple[str, ...]
    lines: int
    shard_lines: int
    attempts: dict[int, int] = field(default_factory=dict)
    running: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)

    @property
    def shards(self) -> int:
        return -(-self.lines // self.shard_lines)

    def shard(self, index: int) -> Shard:
        start = index * self.shard_lines
        lines = min(self.shard_lines, self.lines - start)
        return Shard(
            batch_id=self.batch.id,
            index=index,
            start=start * LINE_BYTES,
            end=(start + lines) * LINE_BYTES,
            first_line=start + 1,
            lines=lines,
            models=self.models,
            status=self.status(index),
            attempt=self.attempts.get(index, 0),
        )

    def status(self, index: int) -> ShardStatus:
        if index in self.done:
            return ShardStatus.DONE
        return ShardStatus.RUNNING if index in self.running else ShardStatus.WAITING

    def undone(self, start: int) -> Iterator[Shard]:
        return (self.shard(index) for index in range(start, self.shards) if index not in self.done)


class MemoryBatches:
    """Batches by id; those at their end are told to ``on_end`` and forgotten."""

    def __init__(self, on_end: Callable[[Stored], None]) -> None:
        self.rows: dict[str, Stored] = {}
        self._on_end = on_end

    async def standing(self) -> Mapping[str, Status]:
        return {batch_id: row.batch.status for batch_id, row in self.rows.items()}

    async def unfinished(self, only: Sequence[str] | None = None) -> Sequence[Batch]:
        wanted = self.rows.keys() if only is None else only
        return [self.rows[batch_id].batch for batch_id in wanted if batch_id in self.rows]

    async def move(self, before: Batch, after: Batch) -> bool:
        row = self.rows.get(before.id)
        if row is None or row.batch.status is not before.status:
            return False
        row.batch = after
        if after.status.is_terminal:
            del self.rows[before.id]
            self._on_end(row)
        return True

    async def settle(self, before: Batch, after: Batch) -> bool:
        is_undone = next(self.rows[before.id].undone(0), None) is not None
        return not is_undone and await self.move(before, after)


class MemoryShards:
    """The shards of those batches. A claim that breaks a promise raises."""

    def __init__(self, batches: MemoryBatches) -> None:
        self._rows = batches.rows
        self.claims = 0

    async def sums(self, batch_id: str) -> Sequence[ShardSum]:
        row = self._rows[batch_id]
        kinds = [row.shard(index) for index in range(row.shards)]
        return [
            ShardSum(
                models=row.models,
                status=status,
                shards=len(some),
                lines=sum(one.lines for one in some),
                bytes=sum(one.end - one.start for one in some),
                attempts=max(one.attempt for one in some),
            )
            for status in ShardStatus
            if (some := [one for one in kinds if one.status is status])
        ]

    async def undone(self, batch_id: str, start: int, limit: int) -> Sequence[Shard]:
        found = self._rows[batch_id].undone(start)
        return [shard for shard, _ in zip(found, range(limit), strict=False)]

    async def settled(self) -> Mapping[str, int]:
        return {}

    async def claim(self, wanted: Sequence[Shard]) -> Sequence[Shard]:
        return [claimed for shard in wanted if (claimed := self._claim(shard)) is not None]

    def _claim(self, shard: Shard) -> Shard | None:
        row, index = self._rows[shard.batch_id], shard.index
        if index in row.done or row.attempts.get(index, 0) != shard.attempt:
            return None
        if index in row.running:
            raise AssertionError(f"shard {index} of {shard.batch_id} runs already")
        row.attempts[index] = shard.attempt + 1
        row.running.add(index)
        self.claims += 1
        return replace(shard, attempt=shard.attempt + 1, status=ShardStatus.RUNNING)

    def end(self, shard: Shard, *, is_done: bool) -> None:
        """What a worker writes; a batch that ended meanwhile has no rows any more."""
        row = self._rows.get(shard.batch_id)
        if row is not None and row.attempts[shard.index] == shard.attempt:
            row.running.discard(shard.index)
            if is_done:
                row.done.add(shard.index)

    async def release(self, held: Sequence[Shard] = ()) -> int:
        """Nothing runs before a start: there is nothing to do."""
        return len(held) * 0


class _NoFiles:
    async def get(self, account: str, file_id: str) -> File | None:
        """Blobs are not read."""


class _NoPrices:
    async def get(self, version: str) -> str | None:
        """All is free."""


class _NoLedger:
    async def of_batch(self, batch_id: str) -> BatchSpent:  # noqa: ARG002
        """All is free."""
        return BatchSpent()


class _NoCaps:
    async def list(self, account: str | None = None) -> Sequence[Cap]:  # noqa: ARG002
        """All is free."""
        return []


class MemoryStore:
    """Cast it to Store where a Dispatcher is made."""

    def __init__(self, on_end: Callable[[Stored], None]) -> None:
        self.batches = MemoryBatches(on_end)
        self.shards = MemoryShards(self.batches)
        self.files = _NoFiles()
        self.prices = _NoPrices()
        self.ledger = _NoLedger()
        self.caps = _NoCaps()
