"""Lines: looking through a batch line by line, while it runs and after its end.

Pages go up in the order of the input and show what is known of each line now.
A page that reads much ends early and says where the next one goes on, so that
no look takes long; memory holds one shard at most.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Final

from batchmill.domain.batch import Batch
from batchmill.domain.errors import InvalidRequest, NotFound
from batchmill.domain.file import File
from batchmill.domain.limits import MB
from batchmill.domain.lines import RawLine
from batchmill.domain.shards import Shard
from batchmill.ports import Blobs, Clock, Store
from batchmill.service.caller import Caller
from batchmill.service.line_facts import Facts, Needle, look_at, read_custom_id
from batchmill.service.line_places import END, Scan, index_of, read_requests
from batchmill.service.line_results import Archive, Found, LineResults
from batchmill.service.lookup import look_steadily
from batchmill.service.refusals import require_within
from batchmill.service.results import Outcome, SettledSource

MAX_PAGE_ROWS: Final = 1000
SCAN_BYTES: Final = 32 * MB

_CURSOR: Final = re.compile(r"([0-9a-f]{12})([0-9a-f]{12})")


@dataclass(frozen=True, slots=True)
class LineQuery:
    """Which lines to show; ``search`` is a text that the custom_id contains.

    ``outcome`` None is every line, those that wait too.
    """

    limit: int
    after: str | None = None
    outcome: Outcome | None = None
    search: str | None = None


@dataclass(frozen=True, slots=True)
class LineRow:
    """A line at a glance. ``outcome`` None: it waits or is under way. ``status`` is HTTP's."""

    number: int
    custom_id: str
    outcome: Outcome | None
    status: int | None = None
    error_code: str | None = None
    total_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class LinePage:
    """Some lines by number; ``next_after`` None: there is nothing behind them now."""

    rows: Sequence[LineRow]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class LineView:
    """A line in full: the raw lines of the files, without their newlines.

    ``request`` is empty where the input file is gone; ``result`` None where
    there is none yet, or its file is gone.
    """

    number: int
    custom_id: str
    request: bytes
    result: bytes | None
    outcome: Outcome | None


class Lines:
    """The use-cases of looking at lines; a page reads about ``scan_bytes`` and not much more."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        journal: SettledSource,
        clock: Clock,
        scan_bytes: int = SCAN_BYTES,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._archive = Archive(store, blobs, journal, clock)
        self._scan_bytes = scan_bytes

    async def page(self, caller: Caller, batch_id: str, query: LineQuery) -> LinePage:
        """The next lines behind ``query.after``; raises NotFound and InvalidRequest."""
        require_within(query.limit, low=1, high=MAX_PAGE_ROWS, param="limit")
        return await look_steadily(self._store, caller, batch_id, partial(self._page, query))

    async def line(self, caller: Caller, batch_id: str, number: int) -> LineView:
        """One line; raises NotFound, also for a number that no request has."""
        return await look_steadily(self._store, caller, batch_id, partial(self._line, number))

    async def _page(self, query: LineQuery, batch: Batch) -> LinePage:
        passed = 0 if query.after is None else _read_after(batch.id, query.after)
        shards = await self._store.shards.of_batch(batch.id)
        if not shards:
            return LinePage((), None)
        scan = Scan(self._scan_bytes, passed)
        source = await self._archive.input_of(batch)
        async with self._archive.results(batch, shards, scan) as results:
            if source is None or _is_by_results(query, results):
                rows = _rows_of_results(results, query)
            else:
                hits = self._hits(source, shards, query, scan)
                rows = _rows_of_input(hits, results, query)
            return await _gather(batch.id, rows, query.limit, scan)

    async def _hits(
        self, source: File, shards: Sequence[Shard], query: LineQuery, scan: Scan
    ) -> AsyncGenerator[tuple[int, str]]:
        """Numbers and custom_ids of the input's lines that are looked for."""
        after, needle = scan.passed, Needle(query.search or "")
        for shard in shards[index_of(shards, after + 1) :]:
            async with aclosing(read_requests(self._blobs, source, shard)) as groups:
                async for group in groups:
                    fresh = [raw for raw in group if raw.number > after]
                    for hit in await asyncio.to_thread(_match, fresh, needle):
                        scan.passed = hit[0]
                        yield hit
                        if scan.is_over:
                            return
                    _pass_by(fresh, scan)
                    if scan.is_over:
                        return

    async def _line(self, number: int, batch: Batch) -> LineView:
        shards = await self._store.shards.of_batch(batch.id)
        source = await self._archive.input_of(batch)
        if not shards or number < 1:
            raise _unknown_line(batch.id, number)
        async with self._archive.results(batch, shards, Scan(0)) as results:
            found = await results.find(number)
        result = None if found is None else found.line
        request = b"" if source is None else await self._request(source, shards, number)
        if request is None or not (request or result):
            raise _unknown_line(batch.id, number)
        custom_id = await asyncio.to_thread(read_custom_id, request or result or b"")
        outcome = None if found is None else found.outcome
        return LineView(number, custom_id, request, result, outcome)

    async def _request(self, source: File, shards: Sequence[Shard], number: int) -> bytes | None:
        shard = shards[index_of(shards, number)]
        async with aclosing(read_requests(self._blobs, source, shard)) as groups:
            async for group in groups:
                for raw in group:
                    if raw.number == number:
                        return raw.data
        return None


def _is_by_results(query: LineQuery, results: LineResults) -> bool:
    """Whether the results alone tell all; else the input is walked and they are looked up."""
    if query.outcome is not None:
        return results.can_walk(query.outcome)
    return results.is_whole and not query.search


async def _rows_of_results(results: LineResults, query: LineQuery) -> AsyncGenerator[LineRow]:
    needle = Needle(query.search or "")
    async with aclosing(results.walk(query.outcome)) as walk:
        async for found in walk:
            line = found.line or b""
            if not query.search or needle.find(line) is not None:
                facts = await look_at(line)
                yield _row(found.number, facts.custom_id, found.outcome, facts)


async def _rows_of_input(
    hits: AsyncGenerator[tuple[int, str]], results: LineResults, query: LineQuery
) -> AsyncGenerator[LineRow]:
    async with aclosing(hits) as walk:
        async for number, custom_id in walk:
            found = await results.find(number)
            if query.outcome is None or (found and found.outcome is query.outcome):
                yield await _joined(number, custom_id, found)


async def _joined(number: int, custom_id: str, found: Found | None) -> LineRow:
    if found is None:
        return LineRow(number, custom_id, None)
    facts = Facts(custom_id) if found.line is None else await look_at(found.line)
    return _row(number, custom_id, found.outcome, facts)


def _row(number: int, custom_id: str, outcome: Outcome, facts: Facts) -> LineRow:
    code = facts.error_code if outcome is Outcome.FAILED else None
    return LineRow(number, custom_id, outcome, facts.status, code, facts.total_tokens)


async def _gather(batch_id: str, rows: AsyncGenerator[LineRow], limit: int, scan: Scan) -> LinePage:
    """The first rows; that there is one more shows that a page is not the last."""
    kept: list[LineRow] = []
    async with aclosing(rows) as stream:
        async for row in stream:
            if len(kept) == limit:
                return LinePage(kept, _write_after(batch_id, kept[-1].number))
            kept.append(row)
    goes_on = scan.is_over and scan.passed < END
    return LinePage(kept, _write_after(batch_id, scan.passed) if goes_on else None)


def _match(group: Sequence[RawLine], needle: Needle) -> list[tuple[int, str]]:
    hits = ((raw.number, needle.find(raw.data or b"")) for raw in group)
    return [(number, custom_id) for number, custom_id in hits if custom_id is not None]


def _pass_by(group: Sequence[RawLine], scan: Scan) -> None:
    """Count lines as seen and read. Those before the cursor are free, so that a page gets on."""
    if group:
        scan.passed = group[-1].number
        scan.read(group[-1].end - group[0].start)


def _write_after(batch_id: str, number: int) -> str:
    return f"{_tag(batch_id)}{number:012x}"


def _read_after(batch_id: str, text: str) -> int:
    match = _CURSOR.fullmatch(text)
    if match is None or match[1] != _tag(batch_id):
        message = "Invalid 'after': pass the 'next_after' of a page of this batch's lines."
        raise InvalidRequest(message, param="after", code="invalid_cursor")
    return int(match[2], 16)


def _tag(batch_id: str) -> str:
    return blake2b(batch_id.encode(), digest_size=6).hexdigest()


def _unknown_line(batch_id: str, number: int) -> NotFound:
    return NotFound(f"Batch '{batch_id}' has no request on line {number}.", param="line")
