"""What the tests of looking at lines share: batches on a real store and real blobs.

The journal is written by hand and the end of a batch is played, so that a test
decides what has settled, and when.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_bytes
from typing import Any, TypeVar

from hand_parts import HandClock, HandJournal
from stored_batch import cut, write_file
from structlog.testing import capture_logs

from batchmill.blobs import LocalBlobs
from batchmill.domain import ids
from batchmill.domain.batch import Batch, Counts, Event, Status, advance
from batchmill.domain.file import File, Purpose
from batchmill.domain.ids import line_id
from batchmill.domain.limits import Limits
from batchmill.domain.lines import RawLine, parse_request
from batchmill.domain.results import error_line, judge, output_line
from batchmill.domain.shards import Shard
from batchmill.domain.usage import ZERO
from batchmill.ports import Record, ShardTally
from batchmill.service.caller import Caller
from batchmill.service.error_groups import ErrorGroups
from batchmill.service.files import Files
from batchmill.service.lines import LinePage, LineQuery, LineRow, Lines
from batchmill.service.reruns import Reruns
from batchmill.service.room import quota_of
from batchmill.store import SqlStore, open_store

T = TypeVar("T")

NOON = 1_760_000_000.0
UNDONE = "batch_expired"
CALLER = Caller()
STRANGER = Caller(account="acc_other")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a test's coroutine to its end."""
    with capture_logs():
        return asyncio.run(main)


@dataclass
class Story:
    """One batch: its requests, and what became of them so far."""

    ground: "Ground"
    id: str
    file: File
    requests: Sequence[RawLine]
    shards: Sequence[Shard]
    settled: dict[int, Record] = field(default_factory=dict)

    @property
    def numbers(self) -> list[int]:
        return [raw.number for raw in self.requests]

    def settle(self, number: int, *, ok: bool = True, **answer: Any) -> None:
        """The line is done; ``answer``: status, body, or code and message of none."""
        custom_id = parse_request(self._data(number)).custom_id
        line = result_line(self.id, number, custom_id, ok=ok, **answer)
        record = self.settled.setdefault(number, Record(number, ok, ZERO, line))
        shard = max((s for s in self.shards if s.first_line <= number), key=lambda s: s.index)
        self.ground.journal.put(self.id, shard.index, record)

    async def close_shard(self, index: int) -> None:
        """Every line of the shard is settled."""
        [shard] = [one for one in await self._stored_shards() if one.index == index]
        records = self.ground.journal.records.get((self.id, index), {}).values()
        good = sum(record.ok for record in records)
        tally = ShardTally(
            self.id, index, shard.attempt, good, len(records) - good, ZERO, 0, at=NOON
        )
        assert await self.ground.store.shards.close(tally)

    async def end(self, **more: Any) -> None:
        """Deliver: both files stand, the journal is gone; ``more`` are fields of the files."""
        parts: dict[bool, list[bytes]] = {True: [], False: []}
        for raw in self.requests:
            record = self.settled.get(raw.number)
            if record is None:
                custom_id = parse_request(raw.data or b"").custom_id
                line = result_line(self.id, raw.number, custom_id, ok=False, code=UNDONE)
                record = Record(raw.number, False, ZERO, line)
            parts[record.ok].append(record.line + b"\n")
        output = await self._result_file(b"".join(parts[True]), more)
        error = await self._result_file(b"".join(parts[False]), more)
        before = await self.batch()
        stopping = advance(before, Event.DEADLINE_PASSED, NOON)
        assert await self.ground.store.batches.move(before, stopping)
        after = replace(
            advance(stopping, Event.DELIVERED, NOON),
            counts=Counts(len(self.requests), len(parts[True]), len(parts[False])),
            output_file_id=None if output is None else output.id,
            error_file_id=None if error is None else error.id,
        )
        files = [file for file in (output, error) if file is not None]
        assert await self.ground.store.batches.deliver(stopping, after, files)
        await self.ground.journal.drop(self.id)

    async def break_down(self) -> None:
        """The batch fails in the midst of it, and has no files."""
        before = await self.batch()
        assert await self.ground.store.batches.move(before, advance(before, Event.BROKE, NOON))
        await self.ground.journal.drop(self.id)

    async def forget(self, which: str) -> None:
        """Delete a file of the batch: ``input``, ``output`` or ``error``."""
        batch = await self.batch()
        file_id = getattr(batch, f"{which}_file_id")
        await self.ground.files.delete(CALLER, file_id)

    async def batch(self) -> Batch:
        batch = await self.ground.store.batches.get(CALLER.account, self.id)
        assert batch is not None
        return batch

    async def page(self, limit: int = 100, **query: Any) -> LinePage:
        return await self.ground.lines.page(CALLER, self.id, LineQuery(limit, **query))

    async def rows(self, limit: int = 100, **query: Any) -> list[LineRow]:
        """All rows, page by page."""
        found: list[LineRow] = []
        after: str | None = None
        for _ in range(1000):
            page = await self.page(limit, after=after, **query)
            assert len(page.rows) <= limit
            found += page.rows
            if page.next_after is None:
                return found
            assert page.next_after != after, "a page that gets nowhere"
            after = page.next_after
        raise AssertionError("no end of pages")

    def _data(self, number: int) -> bytes:
        [data] = [raw.data for raw in self.requests if raw.number == number]
        assert data is not None
        return data

    async def _stored_shards(self) -> Sequence[Shard]:
        return await self.ground.store.shards.of_batch(self.id)

    async def _result_file(self, data: bytes, more: dict[str, Any]) -> File | None:
        if not data:
            return None
        file_id = ids.output_file_id(token_bytes(12))
        return await self.ground.write(file_id, data, Purpose.BATCH_OUTPUT, **more)


@dataclass
class Ground:
    """A store, blobs and a journal, and the use-cases on them."""

    store: SqlStore
    blobs: LocalBlobs
    journal: HandJournal
    clock: HandClock
    limits: Limits
    scan_bytes: int

    @property
    def files(self) -> Files:
        return Files(store=self.store.files, blobs=self.blobs, clock=self.clock, limits=self.limits)

    @property
    def lines(self) -> Lines:
        return Lines(
            store=self.store,
            blobs=self.blobs,
            journal=self.journal,
            clock=self.clock,
            scan_bytes=self.scan_bytes,
        )

    def error_groups(self) -> ErrorGroups:
        return ErrorGroups(
            store=self.store, blobs=self.blobs, journal=self.journal, clock=self.clock
        )

    @property
    def reruns(self) -> Reruns:
        return Reruns(
            store=self.store,
            blobs=self.blobs,
            clock=self.clock,
            files=self.files,
            limits=self.limits,
        )

    async def write(
        self, file_id: str, data: bytes, purpose: Purpose = Purpose.BATCH, **more: Any
    ) -> File:
        """A file whose blob stands; its row is the caller's to store."""
        told = {"account": CALLER.account, "purpose": purpose, **more}
        return await write_file(self.blobs, file_id, data, NOON, **told)

    async def keep(self, data: bytes, **more: Any) -> File:
        """A stored input file."""
        file = await self.write(ids.input_file_id(token_bytes(12)), data, **more)
        await self.store.files.add(file, quota_of(self.limits))
        return file

    async def content(self, file: File) -> bytes:
        return b"".join([chunk async for chunk in self.blobs.read(file.blob)])

    async def begin(self, data: bytes, *, shard_lines: int = 4, **more: Any) -> Story:
        """A batch whose shards are all running; ``more`` are fields of its input file."""
        file = await self.keep(data, **more)
        batch = await self.create(file)
        requests, shards = cut(batch.id, data, shard_lines, "m")
        running = advance(batch, Event.PLANNED, NOON)
        running = replace(running, model="m", counts=Counts(total=len(requests)))
        assert await self.store.batches.plan(batch, running, shards)
        await self.store.shards.claim(shards)
        return Story(self, batch.id, file, requests, shards)

    async def create(self, file: File) -> Batch:
        batch = Batch(
            id=ids.batch_id(token_bytes(16)),
            account=CALLER.account,
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            status=Status.VALIDATING,
            created_at=NOON,
            expires_at=NOON + 86_400,
        )
        return await self.store.batches.create(batch, None, ())


@asynccontextmanager
async def opened(
    root: Path, *, limits: Limits | None = None, scan_bytes: int = 2**25
) -> AsyncIterator[Ground]:
    """A ground in ``root``, which may be used before and after."""
    store = await open_store(root / "test.db")
    blobs = LocalBlobs(root / "blobs")
    try:
        yield Ground(
            store, blobs, HandJournal(), HandClock(NOON), limits or Limits(), scan_bytes=scan_bytes
        )
    finally:
        await store.close()


def request_line(custom_id: str, **body: Any) -> bytes:
    """A request as a client writes it, its custom_id escaped where it is not ASCII."""
    return request_spelled(json.dumps(custom_id).encode(), **body)


def request_spelled(custom_id: bytes, **body: Any) -> bytes:
    """A request whose custom_id is written as it is given."""
    members = {"model": "m", "messages": [], **body}
    return b'{"custom_id":%s,"method":"POST","url":"/v1/chat/completions","body":%s}' % (
        custom_id,
        json.dumps(members).encode(),
    )


def file_of(*lines: bytes, newline: bytes = b"\n") -> bytes:
    return b"".join(line + newline for line in lines)


def result_line(
    batch_id: str,
    number: int,
    custom_id: bytes,
    *,
    ok: bool,
    status: int = 200,
    body: Any = None,
    code: str = "upstream_error",
    message: str = "no answer",
) -> bytes:
    """As the engine writes it: an answer where there is a body, or else an error."""
    name = line_id(batch_id, number)
    if ok and body is None:
        body = {"usage": {"prompt_tokens": number, "completion_tokens": 1}}
    if body is None:
        return error_line(name, custom_id, code=code, message=message)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return output_line(name, custom_id, judge(status, data))
