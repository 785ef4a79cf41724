"""A house in the middle of November, whose door takes callers at their word."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from api_house import House, open_house
from starlette.requests import Request
from usage_rows import DAY, HOUR, NOV, Row, write_names, write_rows

from batchmill.domain.account import Role
from batchmill.domain.rates import RateRule
from batchmill.door.access import Access
from batchmill.service.caller import Caller

NOW = NOV + 20 * DAY + 12 * HOUR
ACME = Caller("acme", "ws_1", Role.ADMIN, "key_1", actor="key_1")
CALLERS = {
    "operator": Caller(),
    "admin": ACME,
    "looker": replace(ACME, role=Role.READ_ONLY),
    "sales": replace(ACME, workspace="ws_2", key_id="key_2", is_default_workspace=False),
    "rival": Caller("rival", "ws_3", Role.ADMIN, "key_3", actor="key_3"),
}


async def admit(request: Request, _access: Access, _rate: RateRule | None) -> Caller:
    """Whoever the request says that it is of."""
    return CALLERS[request.headers.get("x-who", "admin")]


@asynccontextmanager
async def opened(folder: Path, rows: Sequence[Row] = ()) -> AsyncIterator[House]:
    async with open_house(folder, admit=admit) as house:
        house.clock.time = NOW
        await write_names(house.store)
        if rows:
            await write_rows(house.store, rows)
        yield house
