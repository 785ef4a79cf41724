"""A batch on the stage: planned by hand, its lines settled and its end played by a test.

The engine has no part in it, so that a test decides what a page has to show.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from secrets import token_bytes
from typing import Any

from api_house import CHAT
from console_house import Visitor
from stored_batch import cut, write_file

from batchmill.domain import ids
from batchmill.domain.batch import Batch, Counts, Event, Status, advance
from batchmill.domain.file import File, Purpose
from batchmill.domain.ids import line_id
from batchmill.domain.ledger import Charge, Entry
from batchmill.domain.lines import RawLine, parse_request
from batchmill.domain.pricing import Item
from batchmill.domain.results import error_line, judge, output_line
from batchmill.domain.shards import Shard
from batchmill.domain.usage import ZERO, Usage
from batchmill.ports import Record, ShardTally

EVIL = "<script>window.evil=1</script><img src=x onerror=alert(1)>"


def request_line(custom_id: str, body: Any = None) -> bytes:
    """A line of an input file."""
    told = {"model": "qwen-plus", "messages": []} if body is None else body
    line = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": told}
    return json.dumps(line).encode() + b"\n"


def chat_request(custom_id: str, *messages: dict[str, Any], **more: Any) -> bytes:
    """A request of a chat."""
    return request_line(custom_id, {"model": "qwen-plus", "messages": list(messages), **more})


def chat_answer(content: Any, **message: Any) -> dict[str, Any]:
    """The body of an answer to a chat."""
    said = {"role": "assistant", "content": content, **message}
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    return {
        "model": "qwen-plus",
        "choices": [{"index": 0, "message": said, "finish_reason": "stop"}],
        "usage": usage,
    }


@dataclass
class Stage:
    """One batch that runs, until ``end`` is called."""

    visitor: Visitor
    id: str
    requests: Sequence[RawLine]
    shards: Sequence[Shard]
    settled: dict[int, Record] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Its page, below the console's base."""
        return f"/batches/{self.id}"

    async def batch(self) -> Batch:
        return await self.visitor.house.batch(self.id)

    def settle(
        self,
        number: int,
        body: Any = None,
        *,
        status: int = 200,
        code: str | None = None,
        message: str = "no answer",
        region: str = "",
    ) -> None:
        """A line is done: with an answer, or with the error ``code`` where there was none."""
        [data] = [raw.data for raw in self.requests if raw.number == number]
        custom_id = parse_request(data or b"").custom_id
        name, ok = line_id(self.id, number), code is None and status == 200
        if code is not None:
            line = error_line(name, custom_id, code=code, message=message)
        else:
            told = chat_answer("Yes.") if body is None else body
            line = output_line(name, custom_id, judge(status, json.dumps(told).encode()), region)
        record = Record(number, ok, ZERO, line, region=region)
        self.settled[number] = record
        shard = max((s for s in self.shards if s.first_line <= number), key=lambda s: s.index)
        self.visitor.house.journal.put(self.id, shard.index, record)

    async def close_shard(self, index: int, *, at: float, **entry: Any) -> None:
        """A shard is done, at this time; ``entry`` are fields of its entry of the ledger."""
        shard = self.shards[index]
        numbers = range(shard.first_line, shard.first_line + shard.lines)
        done = [self.settled[number] for number in numbers if number in self.settled]
        good = sum(record.ok for record in done)
        batch = await self.batch()
        blank = Entry(self.id, index, "qwen-plus", batch.payer, "1", currency="USD")
        told = replace(blank, calls=len(done), failures=len(done) - good, **entry)
        tally = ShardTally(
            batch_id=self.id,
            index=index,
            attempt=shard.attempt,
            completed=good,
            failed=len(done) - good,
            usage=told.usage,
            resent=2,
            at=at,
            entries=(told,),
        )
        assert await self.visitor.house.store.shards.close(tally)

    async def end(self, event: Event = Event.SETTLED, **more: Any) -> Batch:
        """Deliver what has settled; ``more`` are fields of the result files."""
        await self.visitor.house.move(self.id, event)
        stopping = await self.batch()
        records = [self.settled[number] for number in sorted(self.settled)]
        output = await self._keep([one.line for one in records if one.ok], more)
        error = await self._keep([one.line for one in records if not one.ok], more)
        good = sum(one.ok for one in records)
        after = replace(
            advance(stopping, Event.DELIVERED, self.visitor.house.clock.now()),
            counts=Counts(len(self.requests), good, len(records) - good),
            output_file_id=None if output is None else output.id,
            error_file_id=None if error is None else error.id,
        )
        files = [file for file in (output, error) if file is not None]
        assert await self.visitor.house.store.batches.deliver(stopping, after, files)
        await self.visitor.house.journal.drop(self.id)
        return after

    async def _keep(self, lines: Sequence[bytes], more: dict[str, Any]) -> File | None:
        if not lines:
            return None
        file_id = ids.output_file_id(token_bytes(12))
        data = b"".join(line + b"\n" for line in lines)
        told = {
            "account": "default",
            "purpose": Purpose.BATCH_OUTPUT,
            "filename": f"{file_id}.jsonl",
            **more,
        }
        house = self.visitor.house
        return await write_file(house.blobs, file_id, data, house.clock.now(), **told)


async def make_batch(
    visitor: Visitor, data: bytes = request_line("a"), **fields: Any
) -> dict[str, Any]:
    """A batch in ``validating``, of a file of its own."""
    file = await visitor.house.upload(data)
    return await visitor.house.create_batch(input_file_id=file["id"], **fields)


async def begin(visitor: Visitor, data: bytes, *, shard_lines: int = 4, **fields: Any) -> Stage:
    """A batch in progress, all of its shards under way."""
    house = visitor.house
    batch_id = str((await make_batch(visitor, data, **fields))["id"])
    before = await house.batch(batch_id)
    requests, shards = cut(batch_id, data, shard_lines, "qwen-plus")
    running = advance(before, Event.PLANNED, house.clock.now())
    running = replace(running, model="qwen-plus", currency="USD")
    assert running.status is Status.IN_PROGRESS
    assert await house.store.batches.plan(before, running, shards)
    return Stage(visitor, batch_id, requests, await house.store.shards.claim(shards))


def charge(tokens: int, price: int, item: Item = Item.INPUT) -> Charge:
    """A line item at half its list price."""
    return Charge(item, tokens, 2 * price, price)


def usage(used_in: int, used_out: int, **more: int) -> Usage:
    """Tokens of a shard."""
    return Usage(used_in, used_out, **more)
