"""Parts in any mix, and the application of a machine among several."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from bucket_server import new_place
from fastapi import FastAPI
from postgres_server import database

from batchmill.blobs import LocalBlobs
from batchmill.config import Settings, load_settings
from batchmill.domain.errors import ConfigError
from batchmill.domain.shards import Shard
from batchmill.domain.usage import Usage
from batchmill.journal.local import LocalJournal
from batchmill.ports import Progress, Record
from batchmill.telemetry import engine_metrics
from batchmill.wiring.api import open_app
from batchmill.wiring.console import shared_secret
from batchmill.wiring.parts import Paths, open_parts, prepare_parts
from batchmill.wiring.signs import FileTeller, RowTeller, teller_of

SHARD = Shard("batch_1", 0, 0, 10, 1, 1, ("m",))


def settings_of(folder: Path, **variables: str) -> Settings:
    env = {f"BATCHMILL_DATA__{name.upper()}": value for name, value in variables.items()}
    return load_settings(file=None, env=env, flags={"data.dir": folder}).settings


def a_bucket() -> Mapping[str, str]:
    place = new_place()
    options = ",".join(f"{name}={value}" for name, value in place.options.items())
    return {"blobs": place.url, "blob_options": options}


@pytest.mark.parametrize("rows", ["sqlite", "postgres"])
@pytest.mark.parametrize("files", ["folder", "bucket"])
def test_rows_and_files_may_be_kept_in_any_mix(rows: str, files: str, tmp_path: Path) -> None:
    async def main(settings: Settings) -> None:
        for _ in range(2):
            await prepare_parts(settings)
        async with open_parts(settings) as parts:
            await parts.store.ping()
            assert isinstance(parts.blobs, LocalBlobs) is (files == "folder")
            assert isinstance(parts.journal, LocalJournal) is (files == "folder")
            writer = await parts.blobs.create("files/1")
            await writer.write(b"all of it")
            await writer.commit()
            segment = await parts.journal.open(SHARD, lambda _: None)
            segment.append(Record(1, ok=True, usage=Usage(), line=b"{}"))
            await segment.close()
        async with open_parts(settings) as parts:
            assert b"".join([piece async for piece in parts.blobs.read("files/1")]) == b"all of it"
            assert set((await parts.journal.read("batch_1", 0)).records) == {1}

    bucket = a_bucket() if files == "bucket" else {}
    with database(migrated=False) as url:
        where = {"database": url} if rows == "postgres" else {}
        asyncio.run(main(settings_of(tmp_path, **where, **bucket)))
    assert Paths(tmp_path).database.exists() is (rows == "sqlite")
    assert Paths(tmp_path).blobs.exists() is (files == "folder")


def test_a_bucket_that_is_not_there_is_told_of_before_anything_is_served(tmp_path: Path) -> None:
    bucket = {**a_bucket(), "blobs": "s3://no-such-bucket"}
    with pytest.raises(ConfigError, match="no-such-bucket"):
        asyncio.run(prepare_parts(settings_of(tmp_path, **bucket)))


def test_a_folder_of_other_files_is_refused_before_they_are_taken_for_lost(tmp_path: Path) -> None:
    async def opened(settings: Settings) -> None:
        async with open_parts(settings):
            pass

    async def at_once(*settings: Settings) -> None:
        await asyncio.gather(*map(opened, settings))

    with database() as url:
        own = settings_of(tmp_path / "own", database=url)
        asyncio.run(at_once(own, own, own))
        asyncio.run(opened(own))
        with pytest.raises(ConfigError, match="one bucket"):
            asyncio.run(opened(settings_of(tmp_path / "other", database=url)))
        (tmp_path / "own").rename(tmp_path / "renamed")
        asyncio.run(opened(settings_of(tmp_path / "renamed", database=url)))
        asyncio.run(opened(settings_of(tmp_path / "third", database=url, **a_bucket())))
    assert not Paths(tmp_path / "third").files_mark.exists()


@asynccontextmanager
async def machine(settings: Settings, woken: list[None]) -> AsyncIterator[FastAPI]:
    async with (
        open_parts(settings) as parts,
        open_app(settings, parts, lambda: woken.append(None)) as app,
    ):
        yield app


def knocking(app: FastAPI) -> httpx2.AsyncClient:
    door = httpx2.ASGITransport(app=app)
    return httpx2.AsyncClient(transport=door, base_url="http://localhost")


def test_machines_share_sessions_and_see_one_engine(tmp_path: Path) -> None:
    async def main(url: str) -> None:
        secrets: set[bytes] = set()
        shared = {"database": url, **a_bucket()}
        homes = [settings_of(tmp_path / name, **shared) for name in ("one", "two")]
        for settings in homes:
            async with open_parts(settings) as parts:
                teller = teller_of(settings, parts)
                assert isinstance(teller, RowTeller)
                progress = {"batch_1": Progress(queue_position=1, lines_per_second=None)}
                await teller.tell(progress, engine_metrics(), parts.clock.now())
                secrets.add(await shared_secret(parts.store.secrets))
        for settings in homes:
            async with machine(settings, []) as app, knocking(app) as client:
                while (await client.get("/readyz")).status_code != 200:
                    pass
                text = (await client.get("/metrics")).text
                assert "batchmill_engine_snapshot_time_seconds" in text
                assert "batchmill_http_requests_total" in text
        assert len(secrets) == 1

    with database() as url:
        asyncio.run(main(url))
    assert not list(tmp_path.rglob("session.secret"))


def test_a_change_on_one_machine_wakes_the_engine_of_another(tmp_path: Path) -> None:
    async def main(url: str) -> None:
        rings: asyncio.Queue[None] = asyncio.Queue()
        woken: list[None] = []
        shared = {"database": url, **a_bucket()}
        async with open_parts(settings_of(tmp_path / "engine", **shared)) as engine:
            bell = engine.store.bell
            listening = asyncio.create_task(bell.listen(lambda: rings.put_nowait(None)))
            await rings.get()
            settings = settings_of(tmp_path / "api", **shared)
            async with machine(settings, woken) as app, knocking(app) as client:
                body = {"input_file_id": "file-none", "endpoint": "/v1/chat/ds-test"}
                window = {"completion_window": "24h"}
                answer = await client.post("/v1/batches", json={**body, **window})
                assert answer.status_code == 200, answer.text
                await rings.get()
            assert woken
            listening.cancel()

    with database() as url:
        asyncio.run(main(url))


def test_one_machine_keeps_its_signs_and_its_secret_in_its_folder(tmp_path: Path) -> None:
    async def main() -> None:
        settings = settings_of(tmp_path)
        async with open_parts(settings) as parts:
            teller = teller_of(settings, parts)
            assert isinstance(teller, FileTeller)
            await teller.tell({}, engine_metrics(), parts.clock.now())
            async with machine(settings, []) as app, knocking(app) as client:
                assert (await client.get("/readyz")).status_code == 200
                assert "batchmill_engine_snapshot" in (await client.get("/metrics")).text
            assert not await parts.store.signs.list("")
        assert Paths(tmp_path).session_secret.exists()

    asyncio.run(main())


def test_what_is_not_configured_is_not_loaded() -> None:
    """Each of them would cost every server its megabytes."""
    code = """
import sys
import batchmill.cli.serve, batchmill.wiring.api, batchmill.wiring.engine
print(*sorted({"aiohttp", "alembic", "asyncpg", "obstore", "ray"} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""
