"""Which rates a server has: all of them where it needs keys, else those that were set."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx2
import pytest
from wiring_house import served

from batchmill.config import Settings
from batchmill.config.settings import RateSettings, ServerSettings
from batchmill.domain.rates import Rate, RateRule

SLOW = RateSettings(file_other=Rate(2, 3600.0))


async def statuses(client: httpx2.AsyncClient, path: str, count: int) -> list[int]:
    return [(await client.get(path)).status_code for _ in range(count)]


def test_without_keys_only_the_rates_that_were_set_hold(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path, rates=SLOW) as client:
            assert await statuses(client, "/v1/batches", 101) == [200] * 101
            assert await statuses(client, "/v1/files", 3) == [200, 200, 429]

    asyncio.run(main())


def test_without_keys_and_settings_nothing_is_counted(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path) as client:
            assert await statuses(client, "/v1/files", 30) == [200] * 30

    asyncio.run(main())


def test_who_has_no_key_uses_nobodys_rate_up(tmp_path: Path) -> None:
    async def main() -> None:
        server = ServerSettings(require_keys=True)
        async with served(tmp_path, rates=SLOW, server=server) as client:
            assert await statuses(client, "/v1/files", 5) == [401] * 5

    asyncio.run(main())


@pytest.mark.parametrize(
    ("server", "rates"),
    [
        (ServerSettings(), {RateRule.FILE_OTHER: Rate(2, 3600.0)}),
        (
            ServerSettings(require_keys=True),
            {
                RateRule.BATCH_CREATE: Rate(1_000, 60.0),
                RateRule.BATCH_RETRIEVE: Rate(1_000, 60.0),
                RateRule.BATCH_LIST: Rate(100, 60.0),
                RateRule.BATCH_CANCEL: Rate(1_000, 60.0),
                RateRule.FILE_UPLOAD: Rate(3, 1.0),
                RateRule.FILE_OTHER: Rate(2, 3600.0),
                RateRule.SIGN_IN: Rate(10, 60.0),
            },
        ),
    ],
    ids=["without-keys", "with-keys"],
)
def test_the_rates_in_force_are_the_vendors_where_keys_are_needed(
    server: ServerSettings, rates: Mapping[RateRule, Rate]
) -> None:
    assert Settings(rates=SLOW, server=server).to_rates() == rates
