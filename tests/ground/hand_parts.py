"""A clock and a journal that do what a test's hand does, and nothing by themselves."""

from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from batchmill.ports import Record, Settled


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self, time: float) -> None:
        self.time = time

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class HandJournal:
    """A journal that holds what a test puts there, and remembers what was read."""

    records: dict[tuple[str, int], dict[int, Record]] = field(default_factory=dict)
    reads: list[int] = field(default_factory=list)
    on_read: Coroutine[Any, Any, None] | None = None

    def put(self, batch_id: str, index: int, record: Record) -> None:
        self.records.setdefault((batch_id, index), {}).setdefault(record.number, record)

    async def read(self, batch_id: str, index: int) -> Settled:
        self.reads.append(index)
        if self.on_read is not None:
            happening, self.on_read = self.on_read, None
            await happening
        return Settled(dict(self.records.get((batch_id, index), {})), frozenset())

    async def drop(self, batch_id: str) -> None:
        for key in [key for key in self.records if key[0] == batch_id]:
            del self.records[key]
