"""Files, batches and shards as the services and the engine leave them, for tests without either."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from batchmill.domain import ids
from batchmill.domain.batch import Batch, Status
from batchmill.domain.file import File, Purpose
from batchmill.domain.lines import LineCutter, RawLine, Stretch
from batchmill.domain.shards import Shard, ShardCutter
from batchmill.ports import Blobs, Quota, Store

PLENTY = Quota(files=10**6, bytes=10**15)
DAY = 86_400.0


async def write_file(blobs: Blobs, file_id: str, data: bytes, now: float, **changes: Any) -> File:
    """A file whose blob stands; its row is the caller's to store."""
    writer = await blobs.create(f"files/{secrets.token_hex(8)}")
    await writer.write(data)
    blob = await writer.commit()
    file = File(
        id=file_id,
        account="acme",
        purpose=Purpose.BATCH,
        filename="in.jsonl",
        bytes=blob.bytes,
        digest=blob.digest,
        blob=blob.key,
        created_at=now,
    )
    return replace(file, **changes)


async def store_input(store: Store, blobs: Blobs, data: bytes, now: float, **changes: Any) -> File:
    """An input file, its row and its bytes."""
    file_id = ids.input_file_id(secrets.token_bytes(12))
    file = await write_file(blobs, file_id, data, now, **changes)
    await store.files.add(file, PLENTY)
    return file


def new_batch(file_id: str, now: float, window: float = DAY, **changes: Any) -> Batch:
    """A batch of a stored file as it is when it was just asked for."""
    batch = Batch(
        id=ids.batch_id(secrets.token_bytes(16)),
        account="acme",
        input_file_id=file_id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        status=Status.VALIDATING,
        created_at=now,
        expires_at=now + window,
    )
    return replace(batch, **changes)


def cut(
    batch_id: str, data: bytes, shard_lines: int, model: str
) -> tuple[Sequence[RawLine], list[Shard]]:
    """The lines of an input, and the shards that they make."""
    cutter = LineCutter(len(data) + 1)
    requests = [*cutter.feed(data), *cutter.finish()]
    shards = ShardCutter(batch_id, max_lines=lambda _: shard_lines, max_bytes=8 * 1024 * 1024)
    lines = (Stretch(raw.number, raw.start, [raw.end], [model]) for raw in requests)
    full = [shard for line in lines for shard in shards.extend(line)]
    last = shards.finish(len(data))
    return requests, full if last is None else [*full, last]
