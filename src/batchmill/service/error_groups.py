"""Errors of a batch grouped by code, each with an example, while it runs and after its end.

Asking often is cheap: what can no longer change is remembered, for the batches
that were asked about last. Lines stream through; groups alone are kept.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from batchmill.domain.batch import Batch
from batchmill.domain.file import File
from batchmill.domain.limits import MB
from batchmill.domain.shards import Shard, ShardStatus
from batchmill.ports import Blobs, Clock, Store
from batchmill.service.caller import Caller
from batchmill.service.line_facts import Facts, read_facts
from batchmill.service.line_places import number_of
from batchmill.service.line_results import Archive, may_hold
from batchmill.service.lookup import look_steadily
from batchmill.service.results import Outcome, SettledSource
from batchmill.service.streams import split_lines

MAX_GROUPS: Final = 50
MAX_REMEMBERED: Final = 64
MAX_MESSAGE_CHARS: Final = 300
OTHER: Final = "other"

_MAX_CODE_CHARS: Final = 100
# Codes that tell every line apart must not make a tally grow with the file.
_MAX_KINDS: Final = 200
_PORTION_BYTES: Final = MB


@dataclass(frozen=True, slots=True)
class Example:
    """A line that came out so: the first of its group."""

    number: int
    custom_id: str


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Failed lines with the same code and HTTP status; ``message`` is the example's, shortened.

    The code ``OTHER`` sums what is too rare to be named.
    """

    code: str
    status: int | None
    count: int
    example: Example
    message: str


@dataclass(slots=True)
class _Tally:
    """Groups in the making, by code and status."""

    groups: dict[tuple[str, int | None], ErrorGroup] = field(default_factory=dict)

    def add_lines(self, lines: Iterable[bytes]) -> None:
        """Count failed lines."""
        for line in lines:
            self.add(_group_of(number_of(line), read_facts(line)))

    def add(self, one: ErrorGroup) -> None:
        """Count a group; the example with the lowest number stays."""
        key = (one.code, one.status)
        if key not in self.groups and len(self.groups) >= _MAX_KINDS:
            key = (OTHER, None)
        self.groups[key] = _sum(key, one, self.groups.get(key))

    def ranked(self) -> Sequence[ErrorGroup]:
        """The groups, the most frequent first, and what is left in one at the end."""
        others = [one for key, one in self.groups.items() if key == (OTHER, None)]
        named = [one for key, one in self.groups.items() if key != (OTHER, None)]
        named.sort(key=lambda one: (-one.count, one.example.number))
        if len(named) + len(others) > MAX_GROUPS:
            others += named[MAX_GROUPS - 1 :]
            named = named[: MAX_GROUPS - 1]
        rest = _Tally()
        for one in others:
            rest.groups[OTHER, None] = _sum((OTHER, None), one, rest.groups.get((OTHER, None)))
        return (*named, *rest.groups.values())


@dataclass(slots=True)
class _Known:
    """What is known of a batch: the sums of its closed shards, and which these are."""

    tally: _Tally = field(default_factory=_Tally)
    shards: set[int] = field(default_factory=set)
    final: Sequence[ErrorGroup] | None = None


class ErrorGroups:
    """The use-case of grouped errors."""

    def __init__(self, *, store: Store, blobs: Blobs, journal: SettledSource, clock: Clock) -> None:
        self._store = store
        self._blobs = blobs
        self._journal = journal
        self._archive = Archive(store, blobs, journal, clock)
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def of(self, caller: Caller, batch_id: str) -> Sequence[ErrorGroup]:
        """At most ``MAX_GROUPS``, the most frequent first; raises NotFound.

        There is none where the error file is gone.
        """
        return await look_steadily(self._store, caller, batch_id, self._look)

    async def _look(self, batch: Batch) -> Sequence[ErrorGroup]:
        if not batch.status.is_terminal:
            return await self._from_journal(batch)
        file = await self._archive.file(batch, batch.error_file_id)
        if file is None:
            self._known.pop(batch.id, None)
            return ()
        known = self._recall(batch.id)
        if known.final is None:
            known.final = await self._from_file(file)
        return known.final

    async def _from_file(self, file: File) -> Sequence[ErrorGroup]:
        tally, portion, size = _Tally(), list[bytes](), 0
        async with aclosing(split_lines(self._blobs.read(file.blob))) as lines:
            async for line in lines:
                portion.append(line)
                size += len(line)
                if size >= _PORTION_BYTES:
                    await asyncio.to_thread(tally.add_lines, portion)
                    portion, size = [], 0
        await asyncio.to_thread(tally.add_lines, portion)
        return tally.ranked()

    async def _from_journal(self, batch: Batch) -> Sequence[ErrorGroup]:
        known, running = self._recall(batch.id), _Tally()
        for shard in await self._store.shards.of_batch(batch.id):
            if shard.index in known.shards or not may_hold(shard, Outcome.FAILED):
                continue
            found = await self._of_shard(shard)
            if shard.status is not ShardStatus.DONE:
                _merge(running, found)
            elif shard.index not in known.shards:  # others who ask may have been faster
                known.shards.add(shard.index)
                _merge(known.tally, found)
        _merge(running, known.tally)
        return running.ranked()

    async def _of_shard(self, shard: Shard) -> _Tally:
        settled = await self._journal.read(shard.batch_id, shard.index)
        tally = _Tally()
        failed = [one.line for one in settled.records.values() if not one.ok]
        await asyncio.to_thread(tally.add_lines, failed)
        return tally

    def _recall(self, batch_id: str) -> _Known:
        known = self._known.setdefault(batch_id, _Known())
        self._known.move_to_end(batch_id)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return known


def _group_of(number: int, facts: Facts) -> ErrorGroup:
    unnamed = "unknown" if facts.status is None else f"http_{facts.status}"
    return ErrorGroup(
        code=(facts.error_code or unnamed)[:_MAX_CODE_CHARS],
        status=facts.status,
        count=1,
        example=Example(number, facts.custom_id),
        message=_shorten(facts.message or ""),
    )


def _sum(key: tuple[str, int | None], one: ErrorGroup, other: ErrorGroup | None) -> ErrorGroup:
    first = one if other is None or one.example.number < other.example.number else other
    count = one.count + (0 if other is None else other.count)
    return ErrorGroup(key[0], key[1], count, first.example, first.message)


def _merge(into: _Tally, tally: _Tally) -> None:
    for one in tally.groups.values():
        into.add(one)


def _shorten(message: str) -> str:
    if len(message) <= MAX_MESSAGE_CHARS:
        return message
    return message[: MAX_MESSAGE_CHARS - 1] + "…"
