"""Every route, every role, the own account and another's: who gets in."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import httpx2
import pytest
from access_table import CALLERS, ROWS, Row
from api_house import LINE, House, as_object, open_house, run
from api_keys import WHO, admin_of, bearer, new_account, new_key, new_workspace, open_locked
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from batchmill.api.routes import BASES
from batchmill.domain.account import KEY_ENTROPY, OPERATOR, Role, make_secret
from batchmill.domain.rates import RateRule
from batchmill.domain.webhook import (
    SECRET_ENTROPY,
    Delivery,
    WebhookEndpoint,
    make_webhook_secret,
)
from batchmill.door.access import Access
from batchmill.service.deeds import deed_of

EVERYTHING = ("file", "batch", "workspace", "key", "cap", "hook", "delivery")
NAMING_ALL = Row("", "", "".join(f"{{{name}}}" for name in EVERYTHING), Access.OPEN, 0, 0)


@dataclass(frozen=True)
class Route:
    """A route of the application, and what it asks for."""

    op: str | None
    method: str
    path: str
    asks_for: tuple[Access, RateRule | None]


def routes_of(app: FastAPI) -> Iterator[Route]:
    """Every route that the application serves; fails for one that names no access."""
    for context in iter_route_contexts(app.routes):
        asked = [getattr(one.dependency, "asks_for", None) for one in context.dependencies]
        (asks_for,) = filter(None, asked)
        (method,) = context.methods or {""}
        yield Route(context.operation_id, method, context.path or "", asks_for)


def every_route(tmp_path: Path) -> list[Route]:
    async def main() -> list[Route]:
        async with open_house(tmp_path) as house:
            return list(routes_of(house.app))

    return run(main())


def test_every_operation_has_a_row_and_every_row_an_operation(tmp_path: Path) -> None:
    served = {(route.op, route.method) for route in every_route(tmp_path) if route.op}
    assert served == {(row.op, row.method) for row in ROWS}


def test_every_operation_asks_for_what_its_rows_say(tmp_path: Path) -> None:
    table = {(row.op, row.access) for row in ROWS}
    asked = {(route.op, route.asks_for[0]) for route in every_route(tmp_path) if route.op}
    assert asked == table


def test_head_and_the_other_base_path_ask_for_the_same(tmp_path: Path) -> None:
    routes = every_route(tmp_path)
    asked = {(one.method, one.path): one.asks_for for one in routes}
    for one in routes:
        if one.op is None:
            assert one.method == "HEAD"
            assert one.asks_for == asked["GET", one.path], one.path
        if one.path.startswith(BASES[0]):
            twin = BASES[1] + one.path.removeprefix(BASES[0])
            assert one.asks_for == asked[one.method, twin], one.path


@dataclass
class Neighbours:
    """Accounts with keys of each role: acme, another one, and the operator's."""

    house: House
    acme: str
    secrets: dict[str, str | None] = field(default_factory=dict)

    async def ask(self, row: Row, caller: str, things: dict[str, str]) -> httpx2.Response:
        secret = self.secrets[caller]
        more: dict[str, Any] = dict(row.form or {})
        if row.body is not None:
            more["content"] = filled(json.dumps(row.body), things)
        return await self.house.client.request(
            row.method,
            filled(row.path, things),
            headers={} if secret is None else bearer(secret),
            **more,
        )


def filled(text: str, things: dict[str, str]) -> str:
    """The text with the ids of things in it."""
    for name, value in things.items():
        text = text.replace(f"{{{name}}}", value)
    return text


async def settle(house: House) -> Neighbours:
    """The accounts and the keys of every caller."""
    acme, other = await new_account(house, "Acme"), await new_account(house, "Other")
    neighbours = Neighbours(house, acme)
    for mark, account in (("", acme), ("x-", other), ("op-", OPERATOR)):
        for role in Role:
            made = await new_key(house, role, account=account)
            neighbours.secrets[f"{mark}{role}"] = made.secret
    revoked = await new_key(house, account=acme)
    await admin_of(house).keys.revoke(WHO, revoked.key.id, acme)
    strangers = {"nobody": None, "stranger": make_secret(bytes(KEY_ENTROPY))}
    neighbours.secrets |= {**strangers, "revoked": revoked.secret}
    assert set(neighbours.secrets) == set(CALLERS)
    return neighbours


class Things:
    """What belongs to acme: made anew for each request that names it."""

    def __init__(self, neighbours: Neighbours) -> None:
        self._house = neighbours.house
        self._acme = neighbours.acme
        self._headers = bearer(neighbours.secrets["admin"] or "")

    async def named_in(self, row: Row) -> dict[str, str]:
        text = row.path + json.dumps(row.body)
        made = {"account": self._acme}
        for name in (*EVERYTHING, "upload", "part"):
            if f"{{{name}}}" in text:
                made[name] = await getattr(self, f"_{name}")(made)
        return made

    async def _post(self, path: str, **more: Any) -> str:
        answer = await self._house.client.post(path, headers=self._headers, **more)
        assert answer.status_code == 200, answer.text
        return str(as_object(answer)["id"])

    async def _file(self, _made: dict[str, str]) -> str:
        sent = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", LINE)}}
        return await self._post("/v1/files", **sent)

    async def _batch(self, _made: dict[str, str]) -> str:
        body = {"input_file_id": "none", "completion_window": "24h"}
        return await self._post("/v1/batches", json={**body, "endpoint": "/v1/chat/completions"})

    async def _upload(self, _made: dict[str, str]) -> str:
        body = {"filename": "a", "purpose": "batch", "mime_type": "text/plain"}
        return await self._post("/v1/uploads", json={**body, "bytes": len(LINE)})

    async def _part(self, made: dict[str, str]) -> str:
        path = f"/v1/uploads/{made['upload']}/parts"
        return await self._post(path, files={"data": ("part", LINE)})

    async def _workspace(self, _made: dict[str, str]) -> str:
        return await new_workspace(self._house, self._acme)

    async def _key(self, _made: dict[str, str]) -> str:
        return (await new_key(self._house, Role.READ_ONLY, account=self._acme)).key.id

    async def _cap(self, made: dict[str, str]) -> str:
        """The workspace that the limit is set on."""
        room = await self._workspace(made)
        body = {"scope": "workspace", "id": room, "limit": "5", "currency": "USD"}
        answer = await self._house.client.post("/v1/admin/caps", headers=self._headers, json=body)
        assert answer.status_code == 200, answer.text
        return room

    async def _hook(self, _made: dict[str, str]) -> str:
        """An endpoint that nothing is ever sent to: its address is a private one."""
        now = self._house.clock.now()
        endpoint = WebhookEndpoint(
            id=f"we_{token_hex(12)}",
            account=self._acme,
            name="Bell",
            url="http://127.0.0.1:9/",
            event_types=("batch.completed",),
            secret=make_webhook_secret(bytes(SECRET_ENTROPY)),
            created_at=now,
            updated_at=now,
        )
        deed = deed_of(WHO, "webhook.created", endpoint.id, now)
        await self._house.store.webhooks.add(endpoint, deed, most=100)
        return endpoint.id

    async def _delivery(self, made: dict[str, str]) -> str:
        now = self._house.clock.now()
        delivery = Delivery(
            id=f"whdlv_{token_hex(12)}",
            account=self._acme,
            event_id="evt_1",
            event_type="batch.completed",
            subject="batch_1",
            url="https://bell.example/",
            payload="{}",
            created_at=now,
            next_at=now + 60,
            endpoint_id=await self._hook(made),
        )
        await self._house.store.webhooks.enqueue(delivery)
        return delivery.id


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_a_row_of_the_table_holds_for_every_caller(tmp_path: Path, row: Row) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            neighbours = await settle(house)
            things = Things(neighbours)
            found = {}
            for caller in CALLERS:
                named = await things.named_in(row)
                found[caller] = (await neighbours.ask(row, caller, named)).status_code
            assert found == {caller: row.expected(caller) for caller in CALLERS}

    run(main())


READS = [row for row in ROWS if row.method == "GET" and row.path.startswith("/v1/")]


@pytest.mark.parametrize("row", READS, ids=lambda row: row.path)
def test_no_list_shows_what_is_anothers(tmp_path: Path, row: Row) -> None:
    """No id of acme's is in any answer to another account's keys."""

    async def main() -> None:
        async with open_locked(tmp_path) as house:
            neighbours = await settle(house)
            things = await Things(neighbours).named_in(NAMING_ALL)
            for caller in ("x-read-only", "x-member", "x-admin", "op-member"):
                shown = (await neighbours.ask(row, caller, things)).text
                asked = filled(row.path, things)
                assert not [id_ for id_ in things.values() if id_ in shown and id_ not in asked]

    run(main())


def test_the_role_that_reads_changes_nothing(tmp_path: Path) -> None:
    """Whatever a read-only key asks for, what there was is still there and nothing is new."""

    async def main() -> None:
        async with open_locked(tmp_path) as house:
            neighbours = await settle(house)
            things = await Things(neighbours).named_in(NAMING_ALL)
            looks = [row for row in ROWS if row.method == "GET" and row.access is Access.READ]

            async def seen() -> list[str]:
                return [(await neighbours.ask(row, "admin", things)).text for row in looks]

            before = await seen()
            for row in ROWS:
                await neighbours.ask(row, "read-only", {**things, "upload": "none", "part": "none"})
            assert await seen() == before

    run(main())
