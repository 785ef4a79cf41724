"""The console beside the API: found from the root, left out on request, its secret kept."""

import asyncio
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from wiring_house import served

from batchmill.config.settings import ConsoleSettings, ServerSettings
from batchmill.domain.errors import ConfigError
from batchmill.service.sessions import SECRET_BYTES
from batchmill.wiring.console import session_secret
from batchmill.wiring.parts import Paths


def test_who_opens_the_server_in_a_browser_gets_to_the_batches(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path) as client:
            for path in ("/", "/console"):
                answer = await client.get(path)
                assert (answer.status_code, answer.headers["location"]) == (303, "/console/")
            answer = await client.get("/", follow_redirects=True)
            assert answer.url.path == "/console/batches"
            assert answer.status_code == 200

    asyncio.run(main())


def test_the_api_beside_it_answers_as_before(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path) as client:
            for path in ("/v1/nothing", "/consoles", "/nothing"):
                answer = await client.get(path)
                assert answer.status_code == 404
                assert set(answer.json()) == {"error"}, path
            metrics = (await client.get("/metrics")).text
            await client.get("/console/batches")
            metrics = (await client.get("/metrics")).text
            assert 'route="/console/batches"' in metrics

    asyncio.run(main())


def test_a_server_may_do_without_it(tmp_path: Path) -> None:
    async def main() -> None:
        console = ConsoleSettings(enabled=False)
        async with served(tmp_path, console=console) as client:
            for path in ("/", "/console", "/console/", "/console/batches"):
                assert (await client.get(path)).status_code == 404, path
            assert (await client.get("/v1/models")).status_code == 200
        assert not Paths(tmp_path).session_secret.exists()

    asyncio.run(main())


def test_where_keys_are_needed_the_console_asks_for_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path, server=ServerSettings(require_keys=True)) as client:
            answer = await client.get("/console/batches")
            assert answer.headers["location"].startswith("/console/sign-in")

    asyncio.run(main())


def test_a_page_of_another_name_is_not_served_without_keys(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path) as client:
            answer = await client.get("/console/batches", headers={"host": "evil.example"})
            assert answer.status_code == 421

    asyncio.run(main())


def test_the_secret_of_sessions_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "session.secret"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: session_secret(path), range(16)))
    assert len(set(made)) == 1
    assert len(made[0]) == SECRET_BYTES
    assert session_secret(path) == made[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["session.secret"]


def test_a_secret_that_is_none_is_not_signed_with(tmp_path: Path) -> None:
    path = tmp_path / "session.secret"
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match="remove it"):
        session_secret(path)
