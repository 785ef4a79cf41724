"""What an account keeps against its quota, and what its files are used by."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from batchmill.blobs import LocalBlobs
from batchmill.domain.batch import Status
from batchmill.domain.catalog import Catalog
from batchmill.domain.limits import Limits, Profile
from batchmill.ports import BatchQuery, FileRole, FileUse
from batchmill.service.batches import Batches, BatchSpec, Rules
from batchmill.service.caller import Caller
from batchmill.service.files import Files, FileSpec, Space
from batchmill.service.room import STEP_BYTES
from batchmill.store import SqlStore, open_store

CHAT = "/v1/chat/completions"
ACME, RIVAL = Caller("acme", "ws_1"), Caller("rival", "ws_2")
LIMITS = Limits(max_files=7, max_total_bytes=STEP_BYTES * 3)


class HandClock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.time = 1_000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


@dataclass
class House:
    store: SqlStore
    files: Files
    batches: Batches

    async def upload(self, caller: Caller, content: bytes = b"{}\n") -> str:
        async with self.files.draft(caller, len(content)) as draft:
            await draft.write(content)
            return (await self.files.keep(caller, draft, FileSpec("in.jsonl", "batch"))).id

    async def create(self, caller: Caller, file_id: str, name: str) -> str:
        spec = BatchSpec(file_id, CHAT, "24h", {"ds_name": name})
        return (await self.batches.create(caller, spec)).batch.id


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[House]:
    store, clock = await open_store(folder / "x.db"), HandClock()
    blobs = LocalBlobs(folder / "blobs")
    rules = Rules(Catalog({"m": frozenset({CHAT})}), LIMITS, Profile.QWEN)
    try:
        yield House(
            store,
            Files(store=store.files, blobs=blobs, clock=clock, limits=LIMITS),
            Batches(store=store, clock=clock, rules=rules, wake=lambda: None),
        )
    finally:
        await store.close()


def test_room_tells_of_files_and_of_uploads_under_way(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as house:
            most = {"max_files": 7, "max_bytes": STEP_BYTES * 3}
            assert await house.files.room(ACME) == Space(0, 0, **most)
            await house.upload(ACME, b"123\n")
            assert await house.files.room(ACME) == Space(1, 4, **most)
            async with house.files.draft(ACME):
                assert await house.files.room(ACME) == Space(2, 4 + STEP_BYTES, **most)
            assert await house.files.room(ACME) == Space(1, 4, **most)
            assert await house.files.room(RIVAL) == Space(0, 0, **most)

    asyncio.run(main())


def test_files_tell_of_their_batches_to_their_own_account_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as house:
            used, idle = await house.upload(ACME), await house.upload(ACME)
            batch_id = await house.create(ACME, used, "nightly")
            await house.create(RIVAL, used, "curious")
            use = FileUse(batch_id, "nightly", FileRole.INPUT, Status.VALIDATING)
            found = await house.batches.using(ACME, [used, idle, "", "x" * 5_000])
            assert found == {used: [use]}

    asyncio.run(main())


def test_of_many_uses_twenty_are_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as house:
            used = await house.upload(ACME)
            for count in range(1, 23):
                await house.create(ACME, used, str(count))
                if count in (20, 21):
                    assert len((await house.batches.using(ACME, [used]))[used]) == 20
            names = [use.name for use in (await house.batches.using(ACME, [used]))[used]]
            assert names == [str(count) for count in range(22, 2, -1)]

    asyncio.run(main())


def test_a_list_is_filtered_as_the_query_says(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as house:
            file_id = await house.upload(ACME)
            first = await house.create(ACME, file_id, "Red apple")
            second = await house.create(ACME, file_id, "green pear")

            async def found(query: BatchQuery) -> list[str]:
                return [one.batch.id for one in (await house.batches.list(ACME, query)).items]

            assert await found(BatchQuery(9, search="APPLE")) == [first]
            assert await found(BatchQuery(9, search=second[6:20])) == [second]
            assert await found(BatchQuery(9, workspaces=("ws_1",))) == [second, first]
            assert await found(BatchQuery(9, workspaces=("ws_2",))) == []
            assert await found(BatchQuery(9, models=("m",))) == []

    asyncio.run(main())
