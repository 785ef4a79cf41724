"""Use-cases against a world that moves between two of their steps."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from batchmill.blobs import LocalBlobs
from batchmill.domain.batch import Event, Status, advance
from batchmill.domain.catalog import Catalog
from batchmill.domain.errors import Conflict, InvalidRequest, StorageFull
from batchmill.domain.limits import Limits, Profile
from batchmill.service.batches import Batches, BatchSpec, Rules
from batchmill.service.caller import Caller
from batchmill.service.files import Files, FileSpec
from batchmill.store import SqlStore, open_store

CALLER = Caller()
SPEC = BatchSpec("f", "/v1/chat/completions", "24h")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


class StandingClock:
    def now(self) -> float:
        return 1_760_000_000.0

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


@asynccontextmanager
async def opened(root: Path) -> AsyncIterator[tuple[SqlStore, LocalBlobs]]:
    store = await open_store(root / "test.db")
    try:
        yield store, LocalBlobs(root / "blobs")
    finally:
        await store.close()


def batches_of(store: SqlStore) -> Batches:
    rules = Rules(Catalog(accepts_any=True), Limits(), Profile.QWEN)
    return Batches(store=store, clock=StandingClock(), rules=rules, wake=lambda: None)


def files_of(store: SqlStore, blobs: LocalBlobs) -> Files:
    return Files(store=store.files, blobs=blobs, clock=StandingClock(), limits=Limits())


@pytest.mark.parametrize("event", [Event.PLANNED, Event.REJECTED])
def test_a_cancel_sees_what_happened_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: Event
) -> None:
    async def main() -> None:
        async with opened(tmp_path) as (store, _):
            batches = batches_of(store)
            made = (await batches.create(CALLER, SPEC)).batch
            move = store.batches.move
            overtaken = [False]

            async def overtake(before: Any, after: Any, *deed: Any) -> bool:
                if not overtaken[0]:
                    overtaken[0] = True
                    assert await move(made, advance(made, event, 1.0))
                return await move(before, after, *deed)

            monkeypatch.setattr(store.batches, "move", overtake)
            if event is Event.REJECTED:
                with pytest.raises(Conflict, match="with status 'failed'"):
                    await batches.cancel(CALLER, made.id)
            else:
                state = await batches.cancel(CALLER, made.id)
                assert state.batch.status is Status.CANCELLING
                assert state.batch.in_progress_at == 1.0

    asyncio.run(main())


def test_of_many_with_one_key_one_batch_is_made(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as (store, _):
            batches = batches_of(store)
            made = await asyncio.gather(*(batches.create(CALLER, SPEC, "key") for _ in range(8)))
            assert len({state.batch.id for state in made}) == 1

    asyncio.run(main())


def test_others_see_nothing_of_an_account(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as (store, _):
            batches = batches_of(store)
            made = (await batches.create(CALLER, SPEC, "key")).batch
            other = Caller("other")
            assert (await batches.create(other, SPEC, "key")).batch.id != made.id
            with pytest.raises(Exception, match="No batch found"):
                await batches.cancel(other, made.id)

    asyncio.run(main())


async def store_file(files: Files, content: bytes = b"{}\n") -> Any:
    async with files.draft(CALLER) as draft:
        await draft.write(content)
        return await files.keep(CALLER, draft, FileSpec("a", "batch"))


def test_a_file_row_exists_only_after_its_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with opened(tmp_path) as (store, blobs):
            add = store.files.add

            async def check(file: Any, quota: Any) -> None:
                read = [chunk async for chunk in blobs.read(file.blob)]
                assert b"".join(read) == b"{}\n"
                await add(file, quota)

            monkeypatch.setattr(store.files, "add", check)
            assert (await store_file(files_of(store, blobs))).bytes == 3

    asyncio.run(main())


@pytest.mark.parametrize(("error", "stays"), [(StorageFull("Full."), 0), (OSError("?"), 1)])
def test_a_blob_goes_only_where_its_row_surely_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, stays: int
) -> None:
    # a fault of unknown outcome may have stored the row: its bytes must stay
    async def main() -> None:
        async with opened(tmp_path) as (store, blobs):

            async def fail(*_: object) -> None:
                raise error

            monkeypatch.setattr(store.files, "add", fail)
            with pytest.raises(type(error)):
                await store_file(files_of(store, blobs))
            assert count_files(tmp_path / "blobs" / "files") == stays

    asyncio.run(main())


def count_files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def test_a_refused_draft_leaves_no_bytes(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as (store, blobs):
            with pytest.raises(InvalidRequest):
                await store_file(files_of(store, blobs), b"oops\n")
            assert count_files(tmp_path / "blobs" / "files") == 0

    asyncio.run(main())


def test_the_row_goes_before_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with opened(tmp_path) as (store, blobs):
            files = files_of(store, blobs)
            file = await store_file(files)
            delete = blobs.delete
            rows: list[object] = []

            async def look(key: str) -> None:
                rows.append(await store.files.get("default", file.id))
                await delete(key)

            monkeypatch.setattr(blobs, "delete", look)
            await files.delete(CALLER, file.id)
            assert rows == [None]

    asyncio.run(main())


def test_a_spec_with_the_same_meaning_has_the_same_fingerprint(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as (store, _):
            batches = batches_of(store)
            one = replace(SPEC, metadata={"a": "1", "b": "2"})
            other = replace(SPEC, metadata={"b": "2", "a": "1"})
            first = await batches.create(CALLER, one, "key")
            second = await batches.create(CALLER, other, "key")
            assert first.batch.id == second.batch.id

    asyncio.run(main())
