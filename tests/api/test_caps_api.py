"""Monthly limits: who may set which, on what, and how they stand."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_house import House, as_object, fault, run
from sqlalchemy import select
from usage_house import opened
from usage_rows import NOV, Row

from batchmill.domain.caps import Cap, Scope, month_of
from batchmill.domain.money import UNITS
from batchmill.domain.webhook import WebhookEndpoint, spending_event
from batchmill.service.caller import Caller
from batchmill.service.caps import CapState
from batchmill.service.deeds import deed_of
from batchmill.store.tables import deliveries


async def put(house: House, who: str = "admin", **fields: Any) -> httpx2.Response:
    body = {"scope": "workspace", "id": "ws_1", "limit": "20.00", **fields}
    body = {name: value for name, value in body.items() if value is not ...}
    return await house.client.post("/v1/admin/caps", json=body, headers={"x-who": who})


async def listed(house: House, who: str = "admin", **params: Any) -> list[dict[str, Any]]:
    answer = await house.client.get("/v1/admin/caps", params=params, headers={"x-who": who})
    assert answer.status_code == 200, answer.text
    return list(as_object(answer)["data"])


def test_a_limit_is_set_replaced_and_removed(tmp_path: Path) -> None:
    """Each is in the audit log of the account."""

    async def main() -> None:
        async with opened(tmp_path, [Row("b1", at=NOV)]) as house:
            first = as_object(await put(house, alert_percent=80))
            assert (first["limit"], first["currency"], first["alert_percent"]) == ("20", "USD", 80)
            assert (first["charged"], first["running"], first["percent"]) == ("2", "0", 10.0)
            second = as_object(await put(house, limit="1.5"))
            assert (second["limit"], second["alert_percent"]) == ("1.5", None)
            assert second["percent"] == 133.3
            assert await listed(house) == [second]
            url = "/v1/admin/caps/workspace/ws_1/USD"
            gone = await house.client.delete(url)
            assert as_object(gone)["deleted"] is True
            assert await listed(house) == []
            assert (await house.client.delete(url)).status_code == 404
            log = (await house.store.audit.list("acme", limit=9)).items
            assert [deed.action for deed in log] == ["cap.removed", "cap.changed", "cap.changed"]
            assert log[-1].target == "workspace/ws_1"
            assert log[-1].detail == "20 USD a month, alert at 80 %"

    run(main())


@pytest.mark.parametrize(
    ("who", "fields", "status"),
    [
        ("admin", {"scope": "key", "id": "key_2"}, 200),
        ("admin", {"account": "acme"}, 200),
        ("admin", {"scope": "account", "id": ...}, 403),
        ("admin", {"scope": "account", "id": "acme"}, 403),
        ("admin", {"scope": "account", "id": "rival"}, 403),
        ("rival", {}, 404),
        ("rival", {"scope": "key", "id": "key_1"}, 404),
        ("rival", {"account": "acme"}, 404),
        ("operator", {}, 404),
        ("operator", {"account": "acme"}, 200),
        ("operator", {"scope": "key", "id": "key_1", "account": "acme"}, 200),
        ("operator", {"scope": "key", "id": "key_1", "account": "rival"}, 404),
        ("operator", {"scope": "account", "id": "acme"}, 200),
        ("operator", {"scope": "account", "id": ..., "account": "acme"}, 200),
        ("operator", {"scope": "account", "id": ...}, 200),
        ("operator", {"scope": "account", "id": "nobody"}, 404),
    ],
)
def test_who_may_limit_what(who: str, fields: dict[str, Any], status: int, tmp_path: Path) -> None:
    """Admins their workspaces and keys; an account the operator's admins alone."""

    async def main() -> None:
        async with opened(tmp_path) as house:
            answer = await put(house, who, **fields)
            assert answer.status_code == status, answer.text
            everything = await listed(house, "operator", account="all")
            assert len(everything) == (status == 200)

    run(main())


def test_an_admin_cannot_lift_what_the_operator_set(tmp_path: Path) -> None:
    """They see it, and it stays."""

    async def main() -> None:
        async with opened(tmp_path) as house:
            await put(house, "operator", scope="account", id="acme")
            url = "/v1/admin/caps/account/acme/USD"
            for who, status in (("admin", 403), ("rival", 403), ("operator", 200)):
                assert len(await listed(house)) == 1
                answer = await house.client.delete(url, headers={"x-who": who})
                assert answer.status_code == status
            assert await listed(house) == []

    run(main())


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"limit": "a lot"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "1" * 13}, "limit"),
        ({"limit": "0." + "1" * 16}, "limit"),
        ({"limit": 20}, "limit"),
        ({"limit": ...}, "limit"),
        ({"alert_percent": 0}, "alert_percent"),
        ({"alert_percent": 101}, "alert_percent"),
        ({"currency": "EUR"}, "currency"),
        ({"scope": "team"}, "scope"),
        ({"id": ...}, "id"),
        ({"id": "a\0"}, "id"),
    ],
)
def test_what_is_no_limit_is_refused(fields: dict[str, Any], param: str, tmp_path: Path) -> None:
    """A currency that nothing is priced in too: such a limit would never be reached."""

    async def main() -> None:
        async with opened(tmp_path) as house:
            answer = await put(house, **fields)
            assert answer.status_code == 400, answer.text
            assert fault(answer)["param"] == param

    run(main())


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": "0"},
        {"limit": "1" * 12 + "." + "1" * 15},
        {"alert_percent": 1},
        {"alert_percent": 100},
        {"currency": "USD"},
    ],
)
def test_what_is_just_a_limit_is_taken(fields: dict[str, Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as house:
            answer = await put(house, **fields)
            assert answer.status_code == 200, answer.text
            assert as_object(answer).items() >= fields.items()

    run(main())


def test_a_limit_counts_its_scope_and_currency_alone(tmp_path: Path) -> None:
    """Of this month, closed shards and running ones apart."""
    rows = [
        Row("b1", at=NOV),
        Row("b2", at=NOV, key="key_9", running=True),
        Row("b3", at=NOV, workspace="ws_2", key="key_2"),
        Row("b4", at=NOV, currency="CNY"),
        Row("b5", at=NOV - 1),
        Row("b6", at=NOV, account="rival"),
    ]

    async def main() -> None:
        async with opened(tmp_path, rows) as house:
            await put(house)
            await put(house, scope="key", id="key_1")
            await put(house, "operator", scope="account", id="acme")
            found = {one["scope"]: (one["charged"], one["running"]) for one in await listed(house)}
            assert found == {"account": ("4", "2"), "workspace": ("2", "2"), "key": ("2", "0")}

    run(main())


def test_percent_is_of_the_limit() -> None:
    """Rounded down, so that 100 is never shown before it is reached."""
    cap = Cap("acme", Scope.KEY, "key_1", "USD", 3 * UNITS)
    assert CapState(cap, 2 * UNITS).percent == 66.6
    assert CapState(cap, 3 * UNITS - 1).percent == 99.9
    assert CapState(cap, 2 * UNITS, UNITS).percent == 100.0
    assert CapState(Cap("acme", Scope.KEY, "key_1", "USD", 0)).percent == 100.0


def test_an_alert_goes_out_once_a_month_with_its_event(tmp_path: Path) -> None:
    """Setting the limit anew in the same month does not repeat it."""
    cap = Cap("acme", Scope.WORKSPACE, "ws_1", "USD", UNITS, 80)
    endpoint = WebhookEndpoint(
        id="whe_1",
        account="acme",
        name="bills",
        url="https://example.com/hook",
        event_types=("spending.threshold_reached",),
        secret="whsec_x",
        created_at=NOV,
        updated_at=NOV,
    )
    deed = deed_of(Caller("acme"), "cap.changed", "x", NOV)

    async def main() -> None:
        async with opened(tmp_path) as house:
            caps = house.store.caps
            await house.store.webhooks.add(endpoint, deed, most=9)
            await caps.put(cap, deed_of(Caller("acme"), "cap.changed", "x", NOV))
            told = []
            for at in (NOV, NOV + 5, NOV + 40 * 86_400):
                told.append(await caps.alert(cap, month_of(at), spending_event(cap, UNITS, at)))
                await caps.put(cap, deed_of(Caller("acme"), "cap.changed", "x", NOV))
            assert told == [True, False, True]
            (stored,) = await caps.list("acme")
            assert stored.alerted_month == "2026-12"
            async with house.store._database.read() as connection:
                rows = (await connection.execute(select(deliveries))).mappings().all()
            assert [row["event_type"] for row in rows] == ["spending.threshold_reached"] * 2
            assert not await caps.alert(
                Cap("acme", Scope.KEY, "none", "USD", 1), "2026-11", spending_event(cap, 1, NOV)
            )

    run(main())


def test_a_list_for_what_can_be_no_account_is_refused(tmp_path: Path) -> None:
    """By an answer that the description has: the client of the house looks."""

    async def main() -> None:
        async with opened(tmp_path, []) as house:
            answer = await house.client.get("/v1/admin/caps?account=%00")
            assert (answer.status_code, fault(answer)["param"]) == (400, "account")

    run(main())
