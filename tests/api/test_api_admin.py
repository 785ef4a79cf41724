"""Administration over HTTP: accounts, workspaces, keys, the audit log."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_house import House, as_object, fault, open_house, run
from api_keys import WHO, admin_of, as_holder, new_account, new_key, new_workspace, open_locked

from batchmill.domain.account import OPERATOR, OPERATOR_WORKSPACE, Role, digest_of

KEYS = "/v1/admin/keys"
HUNDRED_YEARS = 100 * 366 * 86_400


async def make(client: httpx2.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return as_object(answer)


async def refuse(client: httpx2.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code == 400, answer.text
    return fault(answer)


async def told(client: httpx2.AsyncClient, **query: str) -> list[str]:
    """The audit log, newest first, a line an entry."""
    answer = as_object(await client.get("/v1/admin/audit", params=query))
    return [f"{one['actor']} {one['action']} {one['target']}" for one in answer["data"]]


def test_a_key_is_shown_once_and_kept_as_a_digest(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = await make(house.client, KEYS, name="nightly job")
            secret = made.pop("key")
            assert made == {
                "id": made["id"],
                "object": "admin.key",
                "account": OPERATOR,
                "workspace": OPERATOR_WORKSPACE,
                "name": "nightly job",
                "role": "member",
                "prefix": secret[: len(made["prefix"])],
                "models": None,
                "created_at": int(house.clock.time),
                "expires_at": None,
                "revoked_at": None,
                "last_used_at": None,
            }
            assert as_object(await house.client.get(f"{KEYS}/{made['id']}")) == made
            assert as_object(await house.client.get(KEYS))["data"] == [made]
            stored = await house.store.keys.find(made["prefix"])
            assert stored is not None
            assert stored.digest == digest_of(secret)
            assert secret not in repr(stored)

    run(main())


def test_no_two_keys_are_alike(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            secrets = {(await make(house.client, KEYS, name="k"))["key"] for _ in range(20)}
            assert len(secrets) == 20
            assert len({secret[:15] for secret in secrets}) == 20

    run(main())


@pytest.mark.parametrize("path", ["/v1/admin/accounts", "/v1/admin/workspaces", KEYS])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("x", None),
        ("ä😀" * 50, None),
        ("x" * 100, None),
        ("x" * 101, "invalid_string_length"),
        ("", "invalid_string_length"),
        (" x", "invalid_string"),
        ("x\n", "invalid_string"),
        ("\x1b[31m", "invalid_string"),
        ("a\0b", "invalid_string"),
        ("\u202egnp", "invalid_string"),
    ],
)
def test_names_are_something_to_read(
    tmp_path: Path, path: str, name: str, code: str | None
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            if code is None:
                assert (await make(house.client, path, name=name))["name"] == name
            else:
                error = await refuse(house.client, path, name=name)
                assert (error["param"], error["code"]) == ("name", code)

    run(main())


@pytest.mark.parametrize(
    ("asked", "lives"),
    [
        ({"expires_in": 1}, 1.0),
        ({"expires_in": HUNDRED_YEARS}, float(HUNDRED_YEARS)),
        ({"expires_at": 1_760_000_001}, 0.5),
        ({"expires_at": 1_760_000_001 + HUNDRED_YEARS}, HUNDRED_YEARS + 0.5),
        ({"expires_in": 0}, None),
        ({"expires_in": -1}, None),
        ({"expires_in": HUNDRED_YEARS + 1}, None),
        ({"expires_at": 1_760_000_000}, None),
        ({"expires_at": 1_760_000_002 + HUNDRED_YEARS}, None),
        ({"expires_in": 60, "expires_at": 1_760_000_100}, None),
        ({"expires_in": "60"}, None),
        ({"expires_in": True}, None),
        ({"expires_in": 1.5}, None),
    ],
)
def test_a_life_is_given_in_one_of_two_ways(
    tmp_path: Path, asked: dict[str, Any], lives: float | None
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            if lives is None:
                error = await refuse(house.client, KEYS, name="k", **asked)
                assert error["param"] in asked
                return
            made = await make(house.client, KEYS, name="k", **asked)
            key = await house.store.keys.find(made["prefix"])
            assert key is not None
            assert key.expires_at == pytest.approx(house.clock.time + lives, abs=1e-6)

    run(main())


def test_only_keys_of_another_workspace_are_limited_to_models(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            room = (await make(house.client, "/v1/admin/workspaces", name="Lab"))["id"]
            for models in (["a"], ["a"] * 100, ["x" * 200]):
                made = await make(house.client, KEYS, name="k", workspace=room, models=models)
                assert made["models"] == models
            for workspace, models in (
                (None, ["a"]),
                (OPERATOR_WORKSPACE, ["a"]),
                (OPERATOR_WORKSPACE, []),
                (room, []),
                (room, ["a"] * 101),
                (room, [""]),
                (room, ["x" * 201]),
                (room, ["\0"]),
            ):
                error = await refuse(
                    house.client, KEYS, name="k", workspace=workspace, models=models
                )
                assert error["param"] == "models"

    run(main())


def test_admin_keys_are_of_the_default_workspace(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            room = await new_workspace(house)
            error = await refuse(house.client, KEYS, name="k", role="admin", workspace=room)
            assert error["param"] == "role"
            body = {"name": "k", "role": "admin", "workspace": OPERATOR_WORKSPACE}
            assert (await make(house.client, KEYS, **body))["role"] == "admin"

    run(main())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": 1},
        {"name": "k", "role": "owner"},
        {"name": "k", "role": None},
        {"name": "k", "models": "a"},
        {"name": "k", "models": [1]},
    ],
)
def test_what_is_no_key_at_all_is_refused(tmp_path: Path, body: dict[str, Any]) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            await refuse(house.client, KEYS, **body)
            assert await house.store.keys.list(OPERATOR) == []

    run(main())


@pytest.mark.parametrize("unknown", ["acct_none", "x" * 3000, "\x07", ""])
def test_accounts_and_workspaces_that_are_not_there_are_not_found(
    tmp_path: Path, unknown: str
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for field in ("account", "workspace"):
                answer = await house.client.post(KEYS, json={"name": "k", field: unknown})
                assert answer.status_code == 404
                assert fault(answer)["param"] == field

    run(main())


def test_a_key_may_revoke_itself_unless_nobody_could_follow_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            first = await new_key(house)
            await new_key(house, Role.MEMBER)
            await new_key(house, expires_in=60)
            house.clock.time += 60
            path = f"{KEYS}/{first.key.id}/revoke"
            async with as_holder(house, first.secret) as client:
                answer = await client.post(path)
                assert answer.status_code == 409
                assert fault(answer)["code"] == "last_admin_key"
                assert answer.headers["x-should-retry"] == "false"
                await new_key(house)
                answer = await client.post(path)
                assert answer.status_code == 200
                assert as_object(answer)["revoked_at"] == int(house.clock.time)
                assert (await client.post(path)).status_code == 401

    run(main())


def test_the_operator_may_shut_an_account_out_and_the_machine_everyone(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            boss = await new_key(house)
            acme = await new_account(house, "Acme")
            theirs = await new_key(house, account=acme)
            async with as_holder(house, boss.secret) as client:
                path = f"{KEYS}/{theirs.key.id}/revoke"
                answer = await client.post(path, params={"account": acme})
                assert answer.status_code == 200
                await admin_of(house).keys.revoke(WHO, boss.key.id)
                assert (await client.get(KEYS)).status_code == 401

    run(main())


def test_without_keys_in_force_any_key_may_be_revoked(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = await make(house.client, KEYS, name="k", role="admin")
            answer = await house.client.post(f"{KEYS}/{made['id']}/revoke")
            assert answer.status_code == 200

    run(main())


def test_a_second_revocation_changes_nothing_and_is_not_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = await make(house.client, KEYS, name="k")
            path = f"{KEYS}/{made['id']}/revoke"
            first = as_object(await house.client.post(path))
            house.clock.time += 100
            assert as_object(await house.client.post(path)) == first
            assert len(await told(house.client)) == 2

    run(main())


def test_what_was_done_stands_in_the_log_of_whom_it_concerns(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            boss = await new_key(house)
            async with as_holder(house, boss.secret) as client:
                acme = (await make(client, "/v1/admin/accounts", name="Acme"))["id"]
                body = {"name": "Lab", "account": acme}
                room = (await make(client, "/v1/admin/workspaces", **body))["id"]
                key = await make(client, KEYS, name="k", role="admin", account=acme)
                async with as_holder(house, key["key"]) as theirs:
                    own = await make(theirs, KEYS, name="own")
                    await theirs.post(f"{KEYS}/{own['id']}/revoke")
                    assert await told(theirs) == [
                        f"{key['id']} key.revoked {own['id']}",
                        f"{key['id']} key.created {own['id']}",
                        f"{boss.key.id} key.created {key['id']}",
                        f"{boss.key.id} workspace.created {room}",
                    ]
                    assert await told(theirs) == await told(client, account=acme)
                assert await told(client) == [
                    f"{boss.key.id} account.created {acme}",
                    f"machine key.created {boss.key.id}",
                ]

    run(main())


def test_without_keys_in_force_the_log_says_anyone(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = await make(house.client, KEYS, name="k")
            assert await told(house.client) == [f"anyone key.created {made['id']}"]
            entry = as_object(await house.client.get("/v1/admin/audit"))["data"][0]
            assert entry["detail"] == "k, member, ws_default"
            assert entry["created_at"] == int(house.clock.time)

    run(main())


async def ids(house: House, **query: Any) -> tuple[list[str], bool]:
    page = as_object(await house.client.get("/v1/admin/audit", params=query))
    return [one["id"] for one in page["data"]], page["has_more"]


def test_the_log_is_read_in_pages(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for _ in range(5):
                await make(house.client, KEYS, name="k")
            every, _ = await ids(house)
            first, more = await ids(house, limit=3)
            rest, end = await ids(house, limit=3, after=first[-1])
            assert first + rest == every
            assert (len(every), more, end) == (5, True, False)
            for limit, status in (("0", 400), ("1", 200), ("100", 200), ("101", 400)):
                answer = await house.client.get("/v1/admin/audit", params={"limit": limit})
                assert answer.status_code == status
            answer = await house.client.get("/v1/admin/audit", params={"after": "deed_none"})
            assert answer.status_code == 404
            assert fault(answer)["param"] == "after"

    run(main())


def test_an_account_has_a_default_workspace_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            acme = (await make(house.client, "/v1/admin/accounts", name="Acme"))["id"]
            path = "/v1/admin/workspaces"
            await make(house.client, path, name="Lab", account=acme)
            listed = as_object(await house.client.get(path, params={"account": acme}))["data"]
            assert [(one["name"], one["is_default"]) for one in listed] == [
                ("Default", True),
                ("Lab", False),
            ]
            assert {one["account"] for one in listed} == {acme}
            accounts = as_object(await house.client.get("/v1/admin/accounts"))["data"]
            assert [one["id"] for one in accounts] == [OPERATOR, acme]

    run(main())


def test_a_secret_is_in_no_log_line(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            boss = await new_key(house)
            async with as_holder(house, boss.secret) as client:
                made = await make(client, KEYS, name="k")
                await refuse(client, KEYS, name=boss.secret * 4)
                await client.get("/v1/files", headers={"authorization": made["key"]})
            shown = repr(house.logged)
            assert house.logged
            assert made["key"] not in shown
            assert boss.secret not in shown

    run(main())
