"""What the store tests share: a store of each kind, and rows with as few words as possible.

Another kind of database joins the conformance suite by one more entry in KINDS.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from postgres_server import DATABASES
from sqlalchemy import Connection

from batchmill.domain.batch import Batch, Counts, Event, Status, advance
from batchmill.domain.file import File, Purpose, Upload, UploadStatus
from batchmill.domain.shards import Shard
from batchmill.domain.usage import Usage
from batchmill.ports import Quota, ShardTally, Store
from batchmill.store import SqlStore, migrations, open_store

T0 = 1_700_000_000.0
PLENTY = Quota(files=1_000_000, bytes=10**15)

WHERE: dict[str, Callable[[Path], Path | str]] = {
    "sqlite": lambda folder: folder / "batchmill.db",
    "postgres": DATABASES.of,
}
"""Where the database of a test's folder is, by kind."""

KINDS: dict[str, Callable[[Path], Coroutine[Any, Any, SqlStore]]] = {
    "sqlite": lambda folder: open_store(WHERE["sqlite"](folder)),
    "postgres": lambda folder: open_store(WHERE["postgres"](folder)),
}


def with_store(test: Callable[[Store], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test once with an empty store of each kind."""

    async def main(kind: str, folder: Path) -> None:
        store = await KINDS[kind](folder)
        try:
            await test(store)
        finally:
            await store.close()

    @pytest.mark.parametrize("kind", sorted(KINDS))
    def run(kind: str, tmp_path: Path) -> None:
        asyncio.run(main(kind, tmp_path))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def with_stores(
    test: Callable[[Store, Store], Coroutine[Any, Any, None]],
) -> Callable[..., None]:
    """Run an async test once for each kind, with two openings of one empty database."""

    async def main(kind: str, folder: Path) -> None:
        stores = [await KINDS[kind](folder) for _ in range(2)]
        try:
            await test(*stores)
        finally:
            for store in stores:
                await store.close()

    @pytest.mark.parametrize("kind", sorted(KINDS))
    def run(kind: str, tmp_path: Path) -> None:
        asyncio.run(main(kind, tmp_path))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def a_file(name: str = "1", **changes: Any) -> File:
    file = File(
        id=f"file-batch-{name}",
        account="acme",
        purpose=Purpose.BATCH,
        filename="in.jsonl",
        bytes=100,
        digest="d" * 64,
        blob=f"files/{name}",
        created_at=T0,
    )
    return replace(file, **changes)


def a_batch(name: str = "1", **changes: Any) -> Batch:
    batch = Batch(
        id=f"batch_{name}",
        account="acme",
        input_file_id="file-batch-1",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        status=Status.VALIDATING,
        created_at=T0,
        expires_at=T0 + 86_400,
    )
    return replace(batch, **changes)


def an_upload(name: str = "1", **changes: Any) -> Upload:
    upload = Upload(
        id=f"upload_{name}",
        account="acme",
        purpose=Purpose.BATCH,
        filename="in.jsonl",
        bytes=100,
        mime_type="application/jsonl",
        status=UploadStatus.PENDING,
        created_at=T0,
        expires_at=T0 + 3600,
    )
    return replace(upload, **changes)


def some_shards(batch: Batch, count: int, lines: int = 10) -> list[Shard]:
    return [
        Shard(
            batch_id=batch.id,
            index=n,
            start=n * 1000,
            end=(n + 1) * 1000,
            first_line=1 + n * lines,
            lines=lines,
            models=("qwen-plus",),
        )
        for n in range(count)
    ]


def a_tally(shard: Shard, completed: int, failed: int = 0, **changes: Any) -> ShardTally:
    tally = ShardTally(
        batch_id=shard.batch_id,
        index=shard.index,
        attempt=shard.attempt,
        completed=completed,
        failed=failed,
        usage=Usage(input=completed * 10, output=completed * 20, cached=completed, reasoning=1),
        resent=0,
    )
    return replace(tally, **changes)


async def planned(store: Store, batch: Batch, shards: int = 2) -> Batch:
    """``batch`` created and in progress, with that many shards of ten lines."""
    created = await store.batches.create(batch, None, ())
    running = advance(created, Event.PLANNED, T0 + 1)
    rows = some_shards(batch, shards)
    running = replace(running, model="qwen-plus", counts=Counts(total=10 * shards))
    assert await store.batches.plan(created, running, rows)
    return running


async def finished(store: Store, batch: Batch) -> Batch:
    """``batch`` created and delivered at once, without files."""
    finalizing = advance(await planned(store, batch), Event.SETTLED, T0 + 2)
    assert await store.batches.move(await get(store, batch), finalizing)
    completed = advance(finalizing, Event.DELIVERED, T0 + 3)
    assert await store.batches.deliver(finalizing, completed, ())
    return completed


async def get(store: Store, batch: Batch) -> Batch:
    found = await store.batches.get(batch.account, batch.id)
    assert found is not None
    return found


def upgrade_to(revision: str, connection: Connection) -> None:
    """Bring a schema to what an older release knew."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
