"""What the journal tests share: shards, records, and a journal that is closed at the end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchmill.domain.shards import Shard
from batchmill.domain.usage import ZERO, Usage
from batchmill.journal.local import LocalJournal
from batchmill.ports import Record

BATCH = "batch_1"


def a_shard(index: int = 0, attempt: int = 1, **changes: Any) -> Shard:
    shard = Shard(
        batch_id=BATCH,
        index=index,
        start=0,
        end=100,
        first_line=1,
        lines=10,
        models=("m",),
        attempt=attempt,
    )
    return replace(shard, **changes)


def a_record(number: int, *, ok: bool = True, line: bytes | None = None) -> Record:
    usage = Usage(number, 2 * number, 1, 3) if ok else ZERO
    return Record(number, ok, usage, b'{"id":"%d"}' % number if line is None else line)


class Heard:
    """What a journal has told of as durable, in order."""

    def __init__(self) -> None:
        self.groups: list[list[Record]] = []
        self._more = asyncio.Event()

    def __call__(self, records: Sequence[Record]) -> None:
        self.groups.append(list(records))
        self._more.set()

    @property
    def numbers(self) -> list[int]:
        return [record.number for group in self.groups for record in group]

    async def until(self, count: int) -> None:
        """Return when so many records were told of."""
        while len(self.numbers) < count:
            self._more.clear()
            await self._more.wait()


@asynccontextmanager
async def open_journal(
    root: Path, interval: float = 0.001, max_pending: int = 1 << 20
) -> AsyncIterator[LocalJournal]:
    journal = LocalJournal(root, interval, max_pending)
    try:
        yield journal
    finally:
        await journal.close()


def with_journal(
    test: Callable[[LocalJournal, Path], Coroutine[Any, Any, None]],
) -> Callable[[Path], None]:
    """Run an async test with an empty journal and its folder."""

    async def main(root: Path) -> None:
        async with open_journal(root) as journal:
            await test(journal, root)

    def run(tmp_path: Path) -> None:
        asyncio.run(main(tmp_path / "journal"))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def segment_path(root: Path, shard: Shard) -> Path:
    return root / shard.batch_id / f"{shard.index:06d}.{shard.attempt:06d}.log"


async def written(journal: LocalJournal, shard: Shard, records: Sequence[Record]) -> Heard:
    """A closed segment of ``shard`` that holds ``records``."""
    heard = Heard()
    segment = await journal.open(shard, heard)
    for record in records:
        segment.append(record)
    await segment.close()
    return heard
