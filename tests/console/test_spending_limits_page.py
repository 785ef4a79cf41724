"""Monthly limits in the console: set, changed and removed, and by whom."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_house import run
from console_house import Visitor, text_of
from console_usage import NOW, enter, mine, open_usage
from usage_rows import Row

from batchmill.domain.account import Role
from batchmill.domain.caps import Scope
from batchmill.service.caller import Caller
from batchmill.service.caps import CapSpec, CapState

PATH = "/spending/limits"
ROOM = "workspace:ws_default"


async def put(visitor: Visitor, **fields: str) -> httpx2.Response:
    asked = {"target": ROOM, "limit": "20.00", "currency": "USD", "alert_percent": "80"}
    return await visitor.act(PATH, {**asked, **fields})


async def every_cap(visitor: Visitor) -> list[CapState]:
    return list(await visitor.house.services.accounting.caps.list(Caller(), "all"))


def test_a_limit_is_set_changed_and_removed(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_usage(tmp_path, [mine("b1")]) as visitor:
            assert "There are no limits." in text_of(await visitor.get(PATH))
            done = await put(visitor)
            assert (done.status_code, done.headers["hx-redirect"]) == (204, f"/console{PATH}")
            page = await visitor.get(PATH)
            assert "The limit is 20 USD a month from now on." in text_of(page)
            assert "Default workspace 20 USD 2 USD 10.0 % at 80 %" in text_of(page)
            change = await visitor.get(f"{PATH}?target={ROOM}&currency=USD")
            assert 'value="20"' in change.text
            assert f'value="{ROOM}" selected' in change.text
            await put(visitor, limit="1.5", alert_percent="")
            said = text_of(await visitor.get(PATH))
            assert "Default workspace 1.5 USD 2 USD 133.3 % reached none" in said
            gone = await visitor.act(f"{PATH}/remove", {"target": ROOM, "currency": "USD"})
            assert gone.status_code == 204
            assert await every_cap(visitor) == []
            again = await visitor.act(f"{PATH}/remove", {"target": ROOM, "currency": "USD"})
            assert again.status_code == 404

    run(main())


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"limit": "a lot"}, 400),
        ({"limit": ""}, 400),
        ({"limit": "0"}, 204),
        ({"currency": "EUR"}, 400),
        ({"currency": ""}, 204),
        ({"alert_percent": "0"}, 400),
        ({"alert_percent": "1"}, 204),
        ({"alert_percent": "100"}, 204),
        ({"alert_percent": "101"}, 400),
        ({"alert_percent": "8.5"}, 400),
        ({"alert_percent": "-1"}, 400),
        ({"alert_percent": "٣"}, 400),
        ({"alert_percent": "9" * 5_000}, 400),
        ({"target": ""}, 400),
        ({"target": "team:x"}, 400),
        ({"target": "workspace:"}, 400),
        ({"target": "workspace:ws_1"}, 404),
        ({"target": "key:\0"}, 404),
        ({"target": "account:default"}, 204),
        ({"target": "account:nobody"}, 404),
        ({"account": "acme", "target": "workspace:ws_1"}, 204),
        ({"account": "nobody"}, 404),
    ],
)
def test_what_is_no_limit_is_told_where_it_was_asked_for(
    fields: dict[str, Any], status: int, tmp_path: Path
) -> None:
    async def main() -> None:
        async with open_usage(tmp_path) as visitor:
            done = await put(visitor, **fields)
            assert done.status_code == status, done.text
            assert (done.headers.get("hx-retarget") == "#messages") is (status != 204)
            assert len(await every_cap(visitor)) == (status == 204)

    run(main())


@pytest.mark.parametrize("role", [Role.MEMBER, Role.READ_ONLY])
def test_limits_are_for_admins(role: Role, tmp_path: Path) -> None:
    async def main() -> None:
        async with open_usage(tmp_path, needs_keys=True) as visitor:
            await enter(visitor, role)
            assert (await visitor.get(PATH)).status_code == 403
            assert (await put(visitor, target="workspace:ws_1")).status_code == 403
            fields = {"target": "workspace:ws_1", "currency": "USD"}
            assert (await visitor.act(f"{PATH}/remove", fields)).status_code == 403

    run(main())


def test_an_admin_cannot_lift_what_the_operator_set(tmp_path: Path) -> None:
    """They see it and cannot choose it; their own workspaces and keys they limit."""

    async def main() -> None:
        rows = [Row("b1", at=NOW - 60)]
        async with open_usage(tmp_path, rows, needs_keys=True) as visitor:
            spec = CapSpec(Scope.ACCOUNT, "20", "acme", "USD")
            await visitor.house.services.accounting.caps.put(Caller(), spec)
            await enter(visitor, Role.ADMIN)
            page = await visitor.get(PATH)
            assert "the account account 20 USD" in text_of(page)
            assert "set by the operator" in text_of(page)
            assert "The whole account" not in text_of(page)
            assert f"{PATH}/remove" not in page.text
            assert (await put(visitor, target="account:acme")).status_code == 403
            fields = {"target": "account:acme", "currency": "USD"}
            assert (await visitor.act(f"{PATH}/remove", fields)).status_code == 403
            assert (await put(visitor, target="key:key_2")).status_code == 204
            assert "robot 2 API key" in text_of(await visitor.get(PATH))
            assert (await put(visitor, account="default")).status_code == 404
            assert (await visitor.get(f"{PATH}?account=all")).status_code == 404

    run(main())


def test_the_operator_sees_to_every_account(tmp_path: Path) -> None:
    """One at a time when a limit is set, all at once when they are looked at."""

    async def main() -> None:
        async with open_usage(tmp_path) as visitor:
            theirs = await put(visitor, target="account:acme", account="acme")
            assert theirs.headers["hx-redirect"] == f"/console{PATH}?account=acme"
            await put(visitor)
            ours = await visitor.get(PATH)
            assert ours.text.count(f'hx-post="/console{PATH}/remove"') == 1
            page = await visitor.get(f"{PATH}?account=all")
            assert page.text.count(f'hx-post="/console{PATH}/remove"') == 2
            assert "To set a limit, choose one account." in text_of(page)
            one = await visitor.get(f"{PATH}?account=acme")
            assert 'value="workspace:ws_2">Sales' in one.text
            assert ROOM not in one.text
            fields = {"target": "account:acme", "currency": "USD", "account": "acme", "back": "all"}
            gone = await visitor.act(f"{PATH}/remove", fields)
            assert gone.headers["hx-redirect"] == f"/console{PATH}?account=all"
            assert len(await every_cap(visitor)) == 1

    run(main())
