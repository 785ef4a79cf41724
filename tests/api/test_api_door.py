"""The door of a server that needs keys: who is let in, and how the others are told."""

import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openai
import pytest
from api_house import CATALOG, CHAT, LINE, House, as_object, fault, open_house, run
from api_keys import (
    WHO,
    admin_of,
    as_holder,
    bearer,
    lock,
    new_account,
    new_key,
    new_workspace,
    open_locked,
)
from test_api_official_client import served

from batchmill.domain.account import KEY_ENTROPY, Role, make_secret
from batchmill.domain.errors import StorageFull

STRANGER = make_secret(bytes(KEY_ENTROPY))
INCORRECT = {
    "message": "Incorrect API key provided. Send 'Authorization: Bearer' and a key of this "
    "server that is neither revoked nor expired.",
    "type": "invalid_request_error",
    "param": None,
    "code": "invalid_api_key",
}


async def refused(house: House, headers: dict[str, Any], path: str = "/v1/files") -> None:
    answer = await house.client.get(path, headers=headers)
    assert answer.status_code == 401
    assert fault(answer) == INCORRECT
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer any"},
        {"authorization": "Bearer sk-1234567890"},
        {"authorization": f"Bearer {STRANGER}"},
        {"authorization": f"Basic {STRANGER}"},
        {"authorization": STRANGER},
        {"authorization": "Bearer sk-bm-"},
        {"authorization": "Bearer sk-bm-AAAAAAAA-"},
        {"authorization": "Bearer sk-bm-AAAAAAAA-é".encode()},
        {"api-key": STRANGER},
        {"api-key": ""},
    ],
)
def test_who_has_no_key_is_told_so_in_the_envelope(tmp_path: Path, headers: dict[str, Any]) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            await refused(house, headers)

    run(main())


def test_a_key_opens_by_either_header(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            secret = (await new_key(house)).secret
            for headers in (
                {"authorization": f"Bearer {secret}"},
                {"authorization": f"bearer   {secret} "},
                {"api-key": secret},
                {"api-key": secret, "authorization": "Basic eA=="},
            ):
                answer = await house.client.get("/v1/files", headers=headers)
                assert answer.status_code == 200

    run(main())


def test_every_part_of_a_key_counts(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            secret = (await new_key(house)).secret
            public, hidden = secret[:15], secret[15:]
            wrong = (
                public + hidden[:-1] + ("A" if hidden[-1] != "A" else "B"),
                public,
                secret[:-1],
                secret + "A",
                secret.lower(),
                public + public + hidden,
            )
            for guess in wrong:
                await refused(house, bearer(guess))

    run(main())


def test_revoked_expired_and_unknown_keys_are_answered_alike(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            revoked = await new_key(house)
            expiring = await new_key(house, expires_in=60)
            house.clock.time += 59.999
            async with as_holder(house, expiring.secret) as client:
                assert (await client.get("/v1/files")).status_code == 200
            house.clock.time += 0.001
            await admin_of(house).keys.revoke(WHO, revoked.key.id)
            for secret in (revoked.secret, expiring.secret, STRANGER):
                await refused(house, bearer(secret))

    run(main())


def test_every_wrong_key_costs_one_comparison_in_constant_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            good, revoked = await new_key(house), await new_key(house)
            await admin_of(house).keys.revoke(WHO, revoked.key.id)
            compared: list[str] = []
            compare = hmac.compare_digest

            def counted(one: str, other: str) -> bool:
                compared.append(one)
                return compare(one, other)

            monkeypatch.setattr(hmac, "compare_digest", counted)
            wrong = good.secret[:-4] + ("AAAA" if good.secret[-4:] != "AAAA" else "BBBB")
            for secret in (STRANGER, revoked.secret, wrong, "nonsense", ""):
                compared.clear()
                await refused(house, bearer(secret))
                assert len(compared) == 1
                assert len(compared[0]) == 64

    run(main())


def test_a_revoked_key_stops_at_once_in_every_process(tmp_path: Path) -> None:
    """Two applications over one database, as two processes have them."""

    async def main() -> None:
        (tmp_path / "other").mkdir()
        async with open_locked(tmp_path) as house, open_house(tmp_path / "other") as other:
            lock(other.app, house)
            boss, worker = await new_key(house), await new_key(house, Role.MEMBER)
            async with (
                as_holder(house, worker.secret) as here,
                as_holder(other, worker.secret) as there,
                as_holder(house, boss.secret) as admin,
            ):
                for client in (here, there):
                    assert (await client.get("/v1/models")).status_code == 200
                answer = await admin.post(f"/v1/admin/keys/{worker.key.id}/revoke")
                assert as_object(answer)["revoked_at"] == int(house.clock.time)
                for client in (here, there):
                    assert (await client.get("/v1/models")).status_code == 401

    run(main())


@pytest.mark.parametrize("secret", [None, STRANGER])
def test_nothing_of_a_strangers_body_is_read(tmp_path: Path, secret: str | None) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            for path in ("/v1/files", "/v1/batches", "/v1/uploads", "/v1/admin/keys"):
                status = await knock(house, path, {} if secret is None else bearer(secret))
                assert status == 401
            assert house.stored_bytes() == []

    run(main())


async def knock(house: House, path: str, headers: dict[str, str]) -> int:
    """The status of a POST whose body nobody may ask for."""

    async def receive() -> Any:
        raise AssertionError("the body was asked for")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    fields = {"host": "localhost", "content-length": "1000000", **headers}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
    }
    await house.app(scope, receive, send)
    return int(sent[0]["status"])


def test_what_does_not_exist_needs_no_key(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            for method, path, status in (
                ("GET", "/nowhere", 404),
                ("GET", "/v1/nothing", 404),
                ("PUT", "/v1/files", 405),
                ("GET", "/healthz", 200),
                ("GET", "/readyz", 200),
                ("GET", "/openapi.json", 200),
            ):
                answer = await house.client.request(method, path)
                assert answer.status_code == status, path

    run(main())


def test_with_keys_every_host_and_every_page_may_ask(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            secret = (await new_key(house)).secret
            headers = {"host": "mill.example", "origin": "https://elsewhere.example"}
            await refused(house, headers)
            answer = await house.client.get("/v1/files", headers={**headers, **bearer(secret)})
            assert answer.status_code == 200

    run(main())


async def names(client: Any) -> Sequence[str]:
    return [one["id"] for one in as_object(await client.get("/v1/models"))["data"]]


def test_a_key_sees_only_the_models_that_it_may_call(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            room = await new_workspace(house)
            limited = await new_key(house, Role.MEMBER, workspace=room, models=("qwen-plus", "x"))
            free = await new_key(house, Role.MEMBER, workspace=room)
            async with as_holder(house, limited.secret) as client:
                assert await names(client) == ["qwen-plus"]
                assert (await client.get("/v1/models/qwen-plus")).status_code == 200
                hidden = await client.get("/v1/models/Qwen/Qwen3-8B")
                assert hidden.status_code == 404
                assert fault(hidden)["code"] == "model_not_found"
                unknown = await client.get("/v1/models/x")
                assert unknown.status_code == 404
            async with as_holder(house, free.secret) as client:
                assert set(await names(client)) == set(CATALOG.offers)

    run(main())


def test_a_use_is_noted_at_most_once_a_minute(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            made = await new_key(house)
            start = house.clock.time
            seen = []
            async with as_holder(house, made.secret) as client:
                for later in (0.0, 59.9, 60.0, 100.0, 120.0):
                    house.clock.time = start + later
                    assert (await client.get("/v1/models")).status_code == 200
                    key = await house.store.keys.find(made.key.prefix)
                    assert key is not None
                    assert key.last_used_at is not None
                    seen.append(round(key.last_used_at - start, 3))
            assert seen == [0.0, 0.0, 60.0, 60.0, 120.0]

    run(main())


def test_a_full_disk_keeps_nobody_from_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            secret = (await new_key(house)).secret

            async def full(*_: object) -> None:
                raise StorageFull("The disk is full.")

            monkeypatch.setattr(house.store.keys, "touch", full)
            answer = await house.client.get("/v1/files", headers=bearer(secret))
            assert answer.status_code == 200
            assert [one["event"] for one in house.logged] == ["storage_full", "request_served"]

    run(main())


def test_metrics_are_for_any_key_of_the_operator_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            ours = await new_key(house, Role.READ_ONLY)
            theirs = await new_key(house, account=await new_account(house, "Acme"))
            async with as_holder(house, ours.secret) as client:
                assert (await client.get("/metrics")).status_code == 200
            async with as_holder(house, theirs.secret) as client:
                answer = await client.get("/metrics")
                assert answer.status_code == 403
                message = fault(answer)["message"]
            assert message == (
                "An admin key of another account cannot do this: it takes a key of the "
                "operator's account."
            )

    run(main())


@pytest.mark.parametrize(
    ("role", "path", "message"),
    [
        (
            Role.READ_ONLY,
            "/v1/batches",
            "A read-only key cannot do this: it takes a member or an admin key.",
        ),
        (Role.MEMBER, "/v1/admin/keys", "A member key cannot do this: it takes an admin key."),
        (
            Role.MEMBER,
            "/v1/admin/accounts",
            "A member key cannot do this: it takes an admin key of the operator's account.",
        ),
    ],
)
def test_a_weak_role_is_told_which_one_it_takes(
    tmp_path: Path, role: Role, path: str, message: str
) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house:
            secret = (await new_key(house, role)).secret
            answer = await house.client.post(path, headers=bearer(secret), json={})
            assert answer.status_code == 403
            assert fault(answer) == {
                "message": message,
                "type": "invalid_request_error",
                "param": None,
                "code": "permission_denied",
            }

    run(main())


def test_the_official_client_knows_these_answers(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house, served(house) as client:
            with pytest.raises(openai.AuthenticationError) as stranger:
                await client.files.list()
            assert stranger.value.code == "invalid_api_key"
            assert stranger.value.request_id
            member = client.with_options(api_key=(await new_key(house, Role.MEMBER)).secret)
            file = await member.files.create(file=("in.jsonl", LINE), purpose="batch")
            reader = client.with_options(api_key=(await new_key(house, Role.READ_ONLY)).secret)
            assert (await reader.files.retrieve(file.id)).id == file.id
            with pytest.raises(openai.PermissionDeniedError) as weak:
                await reader.batches.create(
                    input_file_id=file.id,
                    endpoint=CHAT,  # type: ignore[arg-type]
                    completion_window="24h",
                )
            assert weak.value.code == "permission_denied"
            with pytest.raises(openai.AuthenticationError):
                await client.files.create(file=("in.jsonl", LINE * 50_000), purpose="batch")

    run(main())


def test_azures_client_is_let_in_by_its_own_header(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_locked(tmp_path) as house, served(house) as client:
            secret = (await new_key(house)).secret
            azure = openai.AsyncAzureOpenAI(
                base_url=str(client.base_url), api_key=secret, api_version="2024-10-21"
            )
            async with azure:
                assert [file async for file in azure.files.list()] == []

    run(main())
