"""The console's entry: sessions, tokens, roles, foreign pages, and what is told of an error."""

from pathlib import Path

import pytest
from api_house import run
from console_house import TTL, open_console, text_of

from batchmill.domain.account import Role
from batchmill.service.caller import Caller


def test_without_keys_nobody_is_asked_for_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            page = await visitor.get("/batches")
            assert page.status_code == 200
            assert "There are no batches yet." in text_of(page)
            asked = await visitor.get("/sign-in")
            assert (asked.status_code, asked.headers["location"]) == (303, "/console/batches")

    run(main())


def test_with_keys_a_page_leads_to_the_sign_in_and_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            sent = await visitor.get("/batches?status=failed")
            assert sent.status_code == 303
            assert sent.headers["location"] == (
                "/console/sign-in?next=%2Fconsole%2Fbatches%3Fstatus%3Dfailed"
            )
            secret = await visitor.make_key()
            done = await visitor.client.post(
                "/console/sign-in", data={"key": secret, "next": "/console/batches?status=failed"}
            )
            assert (done.status_code, done.headers["location"]) == (
                303,
                "/console/batches?status=failed",
            )
            cookie = done.headers["set-cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=lax" in cookie
            assert secret not in cookie
            assert (await visitor.get("/batches")).status_code == 200

    run(main())


def test_a_sign_in_leads_nowhere_else(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            secret = await visitor.make_key()
            for elsewhere in ("https://evil.example/", "//evil.example/console/", "/v1/files", "x"):
                done = await visitor.client.post(
                    "/console/sign-in", data={"key": secret, "next": elsewhere}
                )
                assert done.headers["location"] == "/console/batches", elsewhere
                visitor.house.clock.time += 60

    run(main())


def test_a_wrong_key_is_told_and_opens_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            page = await visitor.sign_in("sk-bm-wrong")
            assert page.status_code == 401
            assert "Incorrect API key" in text_of(page)
            assert "sk-bm-wrong" not in page.text
            assert (await visitor.get("/batches")).status_code == 303

    run(main())


def test_signing_in_is_limited_by_address_to_five_a_minute(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            secret = await visitor.make_key()
            for _ in range(5):
                assert (await visitor.sign_in("wrong")).status_code == 401
            assert (await visitor.sign_in(secret)).status_code == 429
            visitor.house.clock.time += 60
            assert (await visitor.sign_in(secret)).status_code == 303

    run(main())


def test_a_session_ends_in_time_and_with_its_key(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            await visitor.make_key()
            await visitor.sign_in(await visitor.make_key())
            visitor.house.clock.time += TTL - 1
            assert (await visitor.get("/batches")).status_code == 200
            visitor.house.clock.time += 1
            open_page = {"hx-current-url": "http://localhost/console/files?search=a"}
            part = {"hx-request": "true", "hx-target": "live", **open_page}
            renewed = await visitor.get("/batches", **part)
            assert renewed.status_code == 401
            assert renewed.headers["hx-redirect"] == (
                "/console/sign-in?next=%2Fconsole%2Ffiles%3Fsearch%3Da"
            )
            await visitor.sign_in(await visitor.make_key())
            assert (await visitor.get("/batches")).status_code == 200
            keys = visitor.house.services.admin.keys
            for key in await keys.list(Caller()):
                await keys.revoke(Caller(), key.id)
            assert (await visitor.get("/batches")).status_code == 303

    run(main())


def test_a_forged_ticket_opens_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            await visitor.sign_in(await visitor.make_key())
            ticket = visitor.client.cookies["batchmill_session"]
            body, _, seal = ticket.partition(".")
            for forged in (
                f"{body}.{seal[:-1]}{'0' if seal[-1] != '0' else '1'}",
                f"{body[:-2]}AA.{seal}",
                body,
                "%C3%A9.",
                "x" * 5_000,
            ):
                visitor.client.cookies.clear()
                page = await visitor.get("/batches", cookie=f"batchmill_session={forged}")
                assert page.status_code == 303, forged

    run(main())


def test_an_action_needs_its_sessions_token_and_a_page_of_this_host(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            path = "/workspace"
            fields = {"workspace": "ws_default"}
            assert (await visitor.act(path, fields)).status_code == 204
            for headers in (
                {"x-form-token": ""},
                {"x-form-token": "0" * 64},
                {"origin": "http://localhost:9"},
                {"origin": "null"},
                {"sec-fetch-site": "cross-site"},
                {"sec-fetch-site": "same-site"},
            ):
                refused = await visitor.act(path, fields, **headers)
                assert refused.status_code == 403, headers
                assert refused.headers.get("hx-retarget") or refused.json()["error"]

    run(main())


def test_one_session_s_token_is_of_no_use_to_another(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            secret = await visitor.make_key()
            await visitor.sign_in(secret)
            first = await visitor.token()
            await visitor.sign_in(secret)
            assert await visitor.token() != first
            stale = {"x-form-token": first}
            refused = await visitor.act("/sign-out", None, **stale)
            assert refused.status_code == 403

    run(main())


def test_an_admin_enters_every_workspace_of_the_account_a_member_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            room = await visitor.house.services.admin.workspaces.create(Caller(), "Evaluations")
            await visitor.sign_in(await visitor.make_key())
            done = await visitor.act("/workspace", {"workspace": room.id})
            assert done.headers["hx-redirect"] == "/console/batches"
            page = await visitor.get("/batches")
            assert f'value="{room.id}" selected' in page.text
            await visitor.sign_in(await visitor.make_key(Role.MEMBER))
            assert (await visitor.act("/workspace", {"workspace": room.id})).status_code == 404
            assert (await visitor.act("/workspace", {"workspace": "\0"})).status_code == 404

    run(main())


def test_pages_forbid_everything_from_elsewhere(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            page = await visitor.get("/batches")
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self';" in policy
            assert "unsafe" not in policy
            assert page.headers["cache-control"] == "no-store"
            assert "http://" not in page.text.replace("http://localhost", "")

    run(main())


def test_an_address_without_a_page_is_told_as_a_page(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            page = await visitor.get("/nowhere/at/all")
            assert page.status_code == 404
            assert "There is no page at this address." in text_of(page)
            assert (await visitor.get("/static/../app.py")).status_code == 404
            assert (await visitor.get("/static/nothing.js")).status_code == 404

    run(main())


def test_an_error_that_nobody_foresaw_is_told_as_a_page_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def burst(*_: object) -> None:
        raise RuntimeError("a surprise")

    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            monkeypatch.setattr(visitor.house.services.batches, "list", burst)
            page = await visitor.get("/batches")
            assert page.status_code == 500
            assert "The server met an error of its own" in text_of(page)
            assert "a surprise" not in page.text
            assert page.headers["x-request-id"] in text_of(page)
            logged = [one for one in visitor.house.logged if one["event"] == "request_failed"]
            assert [one["route"] for one in logged] == ["/console/batches"]

    run(main())
