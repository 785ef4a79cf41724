"""Carrying bytes from one place to another: one blob, or the journal of one shard.

What has arrived is compared with what was sent. Both may be done again.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from batchmill.domain.errors import Conflict
from batchmill.domain.shards import Shard
from batchmill.ports import BlobMissing, Blobs, BlobWriter, Journal, Record, Settled
from batchmill.ports.moving import NamedBlob

Item = TypeVar("Item")

# An object store answers late and in parallel; each has a few pieces of 8 MiB in memory.
AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Places:
    """Where bytes are kept."""

    blobs: Blobs
    journal: Journal


class Damaged(Exception):
    """The bytes are not what their row says of them; the message says what is wrong."""


async def is_there(blobs: Blobs, named: NamedBlob) -> bool:
    """Whether the blob is whole in ``blobs``.

    A blob appears under its key as a whole, and no key is used twice: so its
    size is proof enough, and its last byte shows that.
    """
    start = max(named.bytes - 1, 0)
    seen = 0
    try:
        async for chunk in blobs.read(named.key, start, named.bytes + 1):
            seen += len(chunk)
    except BlobMissing:
        return False
    return start + seen == named.bytes


async def carry_blob(
    named: NamedBlob, source: Blobs, target: Blobs, on_bytes: Callable[[int], None]
) -> None:
    """Copy a blob; raises Damaged, and Conflict where something else has arrived."""
    writer = await target.create(named.key)
    try:
        digest = await _pour(named, source, writer, on_bytes)
        stored = await writer.commit()
    finally:
        await writer.abort()
    if (stored.bytes, stored.digest) != (named.bytes, digest):
        raise Conflict(f"The bytes of '{named.owner}' have not arrived as they are; try again.")


async def _pour(
    named: NamedBlob, source: Blobs, writer: BlobWriter, on_bytes: Callable[[int], None]
) -> str:
    digest, size = hashlib.sha256(), 0
    try:
        async for chunk in source.read(named.key):
            digest.update(chunk)
            size += len(chunk)
            await writer.write(chunk)
            on_bytes(len(chunk))
    except BlobMissing:
        raise Damaged("its bytes are missing") from None
    if size != named.bytes:
        raise Damaged(f"it has {size} bytes instead of {named.bytes}")
    if named.digest is not None and digest.hexdigest() != named.digest:
        raise Damaged("its bytes have another digest")
    return digest.hexdigest()


def weigh_settled(settled: Settled) -> int:
    """The bytes of the results that a shard's journal holds."""
    return sum(len(record.line) for record in settled.records.values())


async def carry_shard(shard: Shard, source: Journal, target: Journal) -> int:
    """Copy what every attempt at a shard has left into one segment; the bytes of its results.

    ``target`` has nothing of the shard. Raises Conflict where something else
    has arrived.
    """
    settled = await source.read(shard.batch_id, shard.index)
    if settled.records or settled.sent:
        await _write(shard, settled, target)
        if await target.read(shard.batch_id, shard.index) != settled:
            raise Conflict(
                f"The results of batch '{shard.batch_id}' have not arrived as they are; try again."
            )
    return weigh_settled(settled)


async def assert_knows_all(shard: Shard, source: Journal, target: Journal) -> None:
    """Return if ``target`` holds nothing that ``source`` does not hold; raises Conflict."""
    there = await target.read(shard.batch_id, shard.index)
    if there.records:
        known = await source.read(shard.batch_id, shard.index)
        if not there.records.items() <= known.records.items():
            raise Conflict(
                f"The journal to move into has results of batch '{shard.batch_id}' that the one "
                "to move from does not have: it is in use already, name a place that is empty."
            )


async def _write(shard: Shard, settled: Settled, target: Journal) -> None:
    segment = await target.open(shard, _ignore)
    try:
        for number in sorted(settled.sent):
            segment.mark_sent(number)
        for record in settled.records.values():
            await target.roomy()
            segment.append(record)
    finally:
        await segment.close()


def _ignore(_: Sequence[Record]) -> None:
    """What is durable is read again, and compared."""


async def for_each(items: AsyncIterator[Item], act: Callable[[Item], Awaitable[None]]) -> None:
    """Act on every item, a few at a time; the first error ends all of it."""
    turn = asyncio.Lock()

    async def work() -> None:
        while True:
            async with turn:
                item = await anext(items, None)
            if item is None:
                return
            await act(item)

    tasks = [asyncio.create_task(work()) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
