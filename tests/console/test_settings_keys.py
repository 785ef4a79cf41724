"""Keys on their page: made and shown once, listed, revoked; and who may see any of it."""

import re
from html import unescape
from pathlib import Path

import httpx2
import pytest
from api_house import NOON, run
from console_house import Visitor, open_console, text_of

from batchmill.console.pages.settings_scope import PAGE_ROWS
from batchmill.domain.account import OPERATOR, Key, Role
from batchmill.service.caller import Caller
from batchmill.service.keys import KeySpec

EVIL = "<script>alert(1)</script>"
KEYS = "/settings/keys"
DAY = 86_400


async def keys_of(visitor: Visitor, account: str | None = None) -> list[Key]:
    return list(await visitor.house.services.admin.keys.list(Caller(), account))


async def make(visitor: Visitor, path: str = KEYS, **fields: object) -> httpx2.Response:
    """Send the form of a new key, from where it stands."""
    return await visitor.act(path, {"name": "k", **fields}, **{"hx-target": "made"})


def secret_in(page: httpx2.Response) -> str:
    found = re.search(r'id="secret"[^>]*value="(sk-bm-[^"]+)"', page.text)
    assert found, page.text
    return unescape(found[1])


def test_a_secret_is_shown_once_and_opens_the_door(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            await visitor.sign_in(await visitor.make_key())
            made = await make(visitor, name="Nightly")
            assert made.status_code == 200
            assert "<html" not in made.text
            secret = secret_in(made)
            assert "Copy it now" in text_of(made)
            assert made.headers["cache-control"] == "no-store"
            assert secret not in str(made.headers)
            assert made.headers["hx-trigger"] == "settings-changed"
            listed = await visitor.renew(KEYS)
            assert "Nightly" in text_of(listed)
            assert secret not in listed.text
            assert secret not in str(visitor.house.logged)
            assert (await visitor.sign_in(secret)).status_code == 303

    run(main())


def test_a_key_is_made_as_the_form_says(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            room = await visitor.house.services.admin.workspaces.create(Caller(), "Evaluations")
            made = await make(
                visitor,
                name="Some",
                role="read-only",
                workspace=room.id,
                models=["qwen-plus", "Qwen/Qwen3-8B"],
                expires="2025-10-10",
            )
            assert made.status_code == 200
            (key,) = await keys_of(visitor)
            assert (key.name, key.role, key.workspace) == ("Some", Role.READ_ONLY, room.id)
            assert key.models == ("qwen-plus", "Qwen/Qwen3-8B")
            assert key.expires_at == 1_760_140_799  # the last second of that day
            said = text_of(await visitor.get(KEYS))
            assert "read-only in Evaluations" in said
            assert "qwen-plus, Qwen/Qwen3-8B" in said
            assert "expires 2025-10-10 23:59:59" in said

    run(main())


def test_what_is_left_empty_is_all_models_and_no_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            await make(visitor, role="member", workspace="ws_default", expires="")
            (key,) = await keys_of(visitor)
            assert (key.models, key.expires_at, key.role) == (None, None, Role.MEMBER)
            said = text_of(await visitor.get(KEYS))
            assert "never expires never active" in said

    run(main())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "1 to 100 characters"),
        ({"name": "x" * 101}, "1 to 100 characters"),
        ({"role": "owner"}, "Invalid value: 'owner'"),
        ({"expires": "soon"}, "'soon' is no day"),
        ({"expires": "2025-10-08"}, "Invalid 'expires_at'"),
        ({"models": "qwen-plus"}, "keys of the default workspace can call every model"),
        ({"workspace": "ws_of_nobody"}, "No workspace found"),
    ],
)
def test_a_form_that_cannot_be_is_refused_with_a_reason(
    tmp_path: Path, fields: dict[str, str], said: str
) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            refused = await make(visitor, **fields)
            assert refused.status_code in {400, 404}
            assert refused.headers["hx-retarget"] == "#messages"
            assert said in text_of(refused)
            assert not await keys_of(visitor)

    run(main())


def test_a_name_may_have_a_hundred_characters(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            assert (await make(visitor, name="x" * 100)).status_code == 200

    run(main())


def test_a_key_is_revoked_and_says_when(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            await make(visitor, name="Gone")
            (key,) = await keys_of(visitor)
            assert f'id="revoke-{key.id}"' in (await visitor.get(KEYS)).text
            done = await visitor.act(f"{KEYS}/{key.id}/revoke")
            assert done.headers["hx-redirect"] == "/console/settings/keys"
            page = await visitor.get(KEYS)
            assert "Key Gone is revoked." in text_of(page)
            assert "revoked 2025-10-09 08:53:20" in text_of(page)
            assert f'id="revoke-{key.id}"' not in page.text
            assert (await visitor.act(f"{KEYS}/key_of_nobody/revoke")).status_code == 404

    run(main())


def test_the_last_admin_key_is_not_revoked_and_the_reason_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            await visitor.sign_in(await visitor.make_key())
            (key,) = await keys_of(visitor)
            page = await visitor.get(KEYS)
            assert "began this session" in text_of(page)
            assert "It began this session, which ends with it." in page.text
            refused = await visitor.act(f"{KEYS}/{key.id}/revoke")
            assert refused.status_code == 409
            assert "is the last usable admin key" in text_of(refused)
            await visitor.make_key()
            assert (await visitor.act(f"{KEYS}/{key.id}/revoke")).status_code == 204
            assert (await visitor.get(KEYS)).status_code == 303

    run(main())


def test_keys_are_found_by_their_status(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            await make(visitor, name="Alive")
            await visitor.make_key(expires_in=5)
            await make(visitor, name="Shut")
            await visitor.act(f"{KEYS}/{(await keys_of(visitor))[-1].id}/revoke")
            rows = r'id="row-key_'
            visitor.house.clock.time = NOON + 4
            assert len(re.findall(rows, (await visitor.get(f"{KEYS}?status=active")).text)) == 2
            visitor.house.clock.time = NOON + 5
            for status, shown in (("active", 1), ("expired", 1), ("revoked", 1), ("", 3), ("x", 3)):
                page = await visitor.get(f"{KEYS}?status={status}")
                assert len(re.findall(rows, page.text)) == shown, status
            await visitor.act(f"{KEYS}/{(await keys_of(visitor))[0].id}/revoke")
            assert "No key fits." in text_of(await visitor.get(f"{KEYS}?status=active"))

    run(main())


def test_the_list_is_cut_into_pages(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            for number in range(PAGE_ROWS):
                spec = KeySpec(f"key number {number}")
                await visitor.house.services.admin.keys.create(Caller(), spec)
            whole = await visitor.get(KEYS)
            assert 'rel="next"' not in whole.text
            await make(visitor, name="the newest")
            first = await visitor.get(KEYS)
            assert "key number 0 " not in text_of(first)
            assert "the newest" in text_of(first)
            older = re.search(r'href="/console([^"]+)" rel="next"', first.text)
            assert older
            second = await visitor.get(unescape(older[1]))
            assert "key number 0 " in text_of(second)
            assert "the newest" not in text_of(second)
            assert 'id="newest" href="/console/settings/keys"' in second.text
            for nonsense in ("nobody", "%00", "x" * 5_000):
                assert (await visitor.get(f"{KEYS}?after={nonsense}")).status_code == 200

    run(main())


def test_an_empty_list_says_what_to_do(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            said = text_of(await visitor.get(KEYS))
            assert "There are no keys yet. Make one for each client" in said
            assert "Keys that are made here count once server.require_keys is set." in said

    run(main())


def test_a_server_with_keys_does_not_say_that_they_do_not_count(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            await visitor.sign_in(await visitor.make_key())
            assert "server.require_keys" not in (await visitor.get(KEYS)).text

    run(main())


def test_hostile_names_are_shown_as_text(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            made = await make(visitor, name=EVIL)
            pages = [made, await visitor.get(KEYS)]
            await visitor.act(f"{KEYS}/{(await keys_of(visitor))[0].id}/revoke")
            for page in [*pages, await visitor.get(KEYS)]:
                assert EVIL not in page.text
                assert EVIL in text_of(page)

    run(main())


@pytest.mark.parametrize("role", [Role.MEMBER, Role.READ_ONLY])
def test_who_is_no_admin_sees_only_webhooks(tmp_path: Path, role: Role) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            await visitor.make_key()
            await visitor.sign_in(await visitor.make_key(role))
            for path in (KEYS, f"{KEYS}/new", "/settings/workspaces", "/settings/audit"):
                assert (await visitor.get(path)).status_code == 403, path
            assert (await make(visitor)).status_code == 403
            key = (await keys_of(visitor))[0]
            assert (await visitor.act(f"{KEYS}/{key.id}/revoke")).status_code == 403
            batches = await visitor.get("/batches")
            assert 'href="/console/settings/webhooks"' in batches.text
            sent = await visitor.get("/settings")
            assert sent.headers["location"] == "/console/settings/webhooks"
            page = await visitor.get("/settings/webhooks")
            tabs = re.findall(r'href="/console/settings/(\w+)"', page.text)
            assert set(tabs) == {"webhooks"}

    run(main())


def test_an_admin_is_led_to_the_keys(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            assert (await visitor.get("/settings")).headers["location"] == "/console/settings/keys"
            assert 'href="/console/settings/keys"' in (await visitor.get("/batches")).text

    run(main())


def test_the_operator_sees_to_another_account(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            admin = visitor.house.services.admin
            account = await admin.accounts.create(Caller(), "Research")
            whose = f"?account={account.id}"
            page = await visitor.get(f"{KEYS}{whose}")
            assert f'value="{account.id}" selected' in page.text
            assert f'href="/console/settings/workspaces{whose}"' in page.text
            asked = await visitor.get(f"{KEYS}/new{whose}")
            assert "New key of Research" in text_of(asked)
            await make(visitor, f"{KEYS}{whose}", role="admin")
            (key,) = await keys_of(visitor, account.id)
            assert not await keys_of(visitor)
            done = await visitor.act(f"{KEYS}/{key.id}/revoke{whose}")
            assert done.headers["hx-redirect"] == f"/console/settings/keys{whose}"
            assert (await visitor.get(f"{KEYS}?account=acct_of_nobody")).status_code == 404
            own = await visitor.get(f"{KEYS}?account={OPERATOR}")
            assert f'href="/console{KEYS}"' in own.text

    run(main())


def test_another_account_s_admin_finds_only_their_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            await visitor.make_key()
            account = await visitor.house.services.admin.accounts.create(Caller(), "Research")
            await visitor.sign_in(await visitor.make_key(account=account.id))
            page = await visitor.get(KEYS)
            assert page.status_code == 200
            assert "Accounts" not in text_of(page)
            assert (await visitor.get(f"{KEYS}?account={OPERATOR}")).status_code == 404
            assert (await make(visitor, f"{KEYS}?account={OPERATOR}")).status_code == 404
            assert len(await keys_of(visitor)) == 1

    run(main())
