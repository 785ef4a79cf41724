"""SQLite on a full disk: StorageFull, nothing half-stored, and on it goes with room again."""

import asyncio
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool
from store_cases import a_batch, planned

from batchmill.domain.errors import StorageFull
from batchmill.ports import Store
from batchmill.store import open_store

LARGE = {"k": "v" * 100_000}


async def fill(store: Store) -> list[str]:
    """Create batches until the disk is full; the ids of those that were acknowledged."""
    stored: list[str] = []
    for n in range(1_000):
        try:
            await store.batches.create(a_batch(str(n), metadata=LARGE), None, ())
        except StorageFull:
            return stored
        stored.append(f"batch_{n}")
    pytest.fail("a hundred megabytes went onto a disk that has fewer")


async def assert_holds(store: Store, stored: list[str]) -> None:
    unfinished = await store.batches.unfinished()
    assert [batch.id for batch in unfinished] == stored
    assert all(batch.metadata == LARGE for batch in unfinished)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def allow_few_pages(connection: Any, _: object) -> None:
    connection.cursor().execute("PRAGMA max_page_count=90")


def test_a_write_that_the_file_system_cuts_short_is_a_full_disk(tmp_path: Path) -> None:
    """Reading goes on meanwhile, and writing when there is room."""

    async def main() -> None:
        store = await open_store(tmp_path / "x.db")
        with file_size_limit(1_000_000):
            stored = await fill(store)
            assert len(stored) >= 2
            await assert_holds(store, stored)
            with pytest.raises(StorageFull, match=r"disk is full.*make room"):
                await store.batches.create(a_batch("refused", metadata=LARGE), None, ())
        await store.batches.create(a_batch("after", metadata=LARGE), None, ())
        await assert_holds(store, [*stored, "batch_after"])
        await store.close()

    asyncio.run(main())


def test_a_database_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    """SQLite's own word for it."""

    async def main() -> None:
        store = await open_store(tmp_path / "x.db")
        await store._database.close()
        event.listen(Pool, "connect", allow_few_pages)
        try:
            stored = await fill(store)
            await assert_holds(store, stored)
        finally:
            event.remove(Pool, "connect", allow_few_pages)
            await store.close()

    asyncio.run(main())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB; only root can mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_on_a_full_disk_nothing_acknowledged_is_lost(small_disk: Path) -> None:
    """Not even across a restart on the full disk; freed room is used at once."""

    async def main() -> None:
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(800_000))
        store = await open_store(small_disk / "x.db")
        stored = await fill(store)
        await store.close()
        ballast.unlink()
        again = await open_store(small_disk / "x.db")
        await assert_holds(again, stored)
        await planned(again, a_batch("after"))
        await again.close()

    asyncio.run(main())


def test_a_new_database_on_a_full_disk_is_refused_with_the_reason(small_disk: Path) -> None:
    """At the start already."""
    size = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
    (small_disk / "ballast").write_bytes(bytes(size - 30_000))
    with pytest.raises(StorageFull):
        asyncio.run(open_store(small_disk / "x.db"))
    (small_disk / "ballast").unlink()

    async def main() -> None:
        store = await open_store(small_disk / "x.db")
        await store.close()

    asyncio.run(main())
