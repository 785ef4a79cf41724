"""What the journal tests share: shards, records, and a journal that is closed at the end.

Another kind of journal joins the conformance suite by one more entry in KINDS.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bucket_server import new_place
from obstore.store import ObjectStore

from batchmill.blobs.bucket import open_bucket
from batchmill.domain.shards import Shard
from batchmill.domain.usage import ZERO, Usage
from batchmill.journal.local import LocalJournal
from batchmill.journal.objects import ObjectJournal
from batchmill.ports import Journal, Record

BATCH = "batch_1"
# As large as no journal in the tests grows.
PLENTY = 1 << 20


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
    root: Path, interval: float = 0.001, max_pending: int = PLENTY
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


class Place:
    """Where a kind of journal lies; it may be opened there again and again."""

    def __init__(self, make: Callable[[float, int], Journal]) -> None:
        self._make = make

    @asynccontextmanager
    async def open(
        self, interval: float = 0.001, max_pending: int = PLENTY
    ) -> AsyncIterator[Journal]:
        journal = self._make(interval, max_pending)
        try:
            yield journal
        finally:
            await journal.close()


def local_place(root: Path) -> Place:
    return Place(lambda interval, pending: LocalJournal(root, interval, pending))


def object_place(bucket: ObjectStore) -> Place:
    return Place(lambda interval, pending: ObjectJournal(bucket, interval, pending))


KINDS: dict[str, Callable[[Path], Place]] = {
    "local": local_place,
    "memory": lambda _: object_place(open_bucket("memory://", {})),
    "s3": lambda _: object_place(new_place().open()),
}


def with_place(test: Callable[[Place], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test once with an empty place of each kind."""

    @pytest.mark.parametrize("kind", sorted(KINDS))
    def run(kind: str, tmp_path: Path) -> None:
        asyncio.run(test(KINDS[kind](tmp_path / "journal")))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def with_each(test: Callable[[Journal], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test once with an empty journal of each kind."""

    async def main(place: Place) -> None:
        async with place.open() as journal:
            await test(journal)

    main.__name__, main.__doc__ = test.__name__, test.__doc__
    return with_place(main)


def segment_path(root: Path, shard: Shard) -> Path:
    return root / shard.batch_id / f"{shard.index:06d}.{shard.attempt:06d}.log"


async def written(journal: Journal, shard: Shard, records: Sequence[Record]) -> Heard:
    """A closed segment of ``shard`` that holds ``records``."""
    heard = Heard()
    segment = await journal.open(shard, heard)
    for record in records:
        segment.append(record)
    await segment.close()
    return heard


ATTEMPTS = {
    1: [a_record(1, line=b"first"), a_record(2)],
    2: [a_record(1, line=b"late"), a_record(3)],
    10: [a_record(3, line=b"twin")],
}
"""Attempts at one shard that settled lines of each other's."""

FIRSTS = {1: b"first", 2: a_record(2).line, 3: a_record(3).line}
"""What counts of ``ATTEMPTS``."""


async def read_attempts(journal: Journal, *order: int) -> dict[int, bytes]:
    """What is read of ``ATTEMPTS`` that were written in this order."""
    for attempt in order:
        await written(journal, a_shard(attempt=attempt), ATTEMPTS[attempt])
    settled = await journal.read(BATCH, 0)
    return {number: record.line for number, record in settled.records.items()}
