"""A console in the middle of November, over a ledger that a test writes by hand.

``mine`` are rows of the operator's own account; those of ``acme`` are as
``usage_rows`` has them.
"""

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
from console_house import Visitor, open_console
from usage_rows import DAY, HOUR, NOV, Row, write_names, write_rows

from batchmill.domain.account import Role
from batchmill.service.caller import Caller
from batchmill.service.keys import KeySpec

NOW = NOV + 20 * DAY + 12 * HOUR
ACME = Caller("acme", "ws_1", Role.ADMIN, "key_1", actor="key_1")
EVIL = "<script>window.evil=1</script>"

_CHART = re.compile(r'<figure class="chart" id="([^"]+)"[^>]* data-chart="([^"]*)"')


def mine(batch: str, at: float = NOW - 60, **more: Any) -> Row:
    """A row of the operator's account, without a key if none is named."""
    return Row(
        batch, **{"account": "default", "workspace": "ws_default", "key": None, **more}, at=at
    )


@asynccontextmanager
async def open_usage(
    root: Path, rows: Sequence[Row] = (), *, needs_keys: bool = False
) -> AsyncIterator[Visitor]:
    """A console with these rows in its ledger."""
    async with open_console(root, needs_keys=needs_keys) as visitor:
        visitor.house.clock.time = NOW
        await write_names(visitor.house.store)
        if rows:
            await write_rows(visitor.house.store, rows)
        yield visitor


async def enter(visitor: Visitor, role: Role, workspace: str | None = None) -> None:
    """Sign in with a new key of acme."""
    spec = KeySpec("k", role, account="acme", workspace=workspace)
    made = await visitor.house.services.admin.keys.create(Caller(), spec)
    assert (await visitor.sign_in(made.secret)).status_code == 303


def charts_of(page: httpx2.Response) -> dict[str, dict[str, Any]]:
    """What the page has drawn, by the charts' ids."""
    found = _CHART.findall(page.text)
    return {name: json.loads(unescape(text)) for name, text in found}


def values_of(chart: dict[str, Any]) -> dict[str, list[float | None]]:
    """The figures of a chart by their series."""
    return {one["name"]: one["values"] for one in chart["series"]}
