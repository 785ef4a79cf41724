"""Workspaces, accounts and the audit log on their pages: made, listed, kept from others."""

import re
from html import unescape
from pathlib import Path

from api_house import run
from console_house import Visitor, open_console, text_of

from batchmill.console.pages.settings_scope import PAGE_ROWS
from batchmill.domain.account import OPERATOR, Role
from batchmill.service.caller import MACHINE, Caller
from batchmill.service.keys import KeySpec

EVIL = "<img src=x onerror=alert(1)>"
WORKSPACES, ACCOUNTS, AUDIT = "/settings/workspaces", "/settings/accounts", "/settings/audit"


def next_of(text: str) -> str:
    found = re.search(r'href="/console([^"]+)" rel="next"', text)
    assert found
    return unescape(found[1])


def test_a_workspace_is_made_and_listed(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            assert "Default default ws_default" in text_of(await visitor.get(WORKSPACES))
            done = await visitor.act(WORKSPACES, {"name": EVIL})
            assert done.headers["hx-redirect"] == f"/console{WORKSPACES}"
            page = await visitor.get(WORKSPACES)
            assert f"Workspace {EVIL} is made." in text_of(page)
            assert EVIL not in page.text
            for name, status in (("", 400), ("x" * 101, 400), ("x" * 100, 204)):
                assert (await visitor.act(WORKSPACES, {"name": name})).status_code == status, name

    run(main())


def test_the_operator_makes_a_workspace_in_another_account(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            admin = visitor.house.services.admin
            account = await admin.accounts.create(Caller(), "Research")
            path = f"{WORKSPACES}?account={account.id}"
            done = await visitor.act(path, {"name": "Theirs"})
            assert done.headers["hx-redirect"] == f"/console{path}"
            assert "Theirs" in text_of(await visitor.get(path))
            named = [one.name for one in await admin.workspaces.list(Caller())]
            assert named == ["Default"]

    run(main())


def test_workspaces_are_cut_into_pages(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            workspaces = visitor.house.services.admin.workspaces
            for number in range(PAGE_ROWS - 1):
                await workspaces.create(Caller(), f"room {number}")
            assert 'rel="next"' not in (await visitor.get(WORKSPACES)).text
            await workspaces.create(Caller(), "one more")
            older = await visitor.get(next_of((await visitor.get(WORKSPACES)).text))
            assert len(re.findall('id="row-ws_', older.text)) == 1
            assert 'id="row-ws_default"' in older.text

    run(main())


def test_accounts_are_made_by_the_operator_and_looked_into(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            done = await visitor.act(ACCOUNTS, {"name": EVIL})
            assert done.headers["hx-redirect"] == f"/console{ACCOUNTS}"
            page = await visitor.get(ACCOUNTS)
            assert EVIL in text_of(page)
            assert EVIL not in page.text
            made = (await visitor.house.services.admin.accounts.list())[-1]
            assert f'href="/console/settings/keys?account={made.id}"' in page.text
            assert 'href="/console/settings/keys"' in page.text
            assert (await visitor.act(ACCOUNTS, {"name": " "})).status_code == 400
            for kind in ("keys", "workspaces", "audit"):
                looked = await visitor.get(f"/settings/{kind}?account={made.id}")
                assert looked.status_code == 200
                assert EVIL not in looked.text

    run(main())


def test_accounts_are_nobody_else_s(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            account = await visitor.house.services.admin.accounts.create(Caller(), "Research")
            for spec in ({"account": account.id}, {"role": Role.MEMBER}, {"role": Role.READ_ONLY}):
                await visitor.sign_in(await visitor.make_key(**spec))
                assert (await visitor.get(ACCOUNTS)).status_code == 403
                assert (await visitor.act(ACCOUNTS, {"name": "Mine"})).status_code == 403
                assert "/settings/accounts" not in (await visitor.get("/settings/webhooks")).text
            assert len(await visitor.house.services.admin.accounts.list()) == 2

    run(main())


async def do(visitor: Visitor, times: int) -> None:
    for number in range(times):
        await visitor.house.services.admin.workspaces.create(Caller(), f"deed {number}.")


def test_the_audit_log_says_who_did_what_to_which_thing(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            secret = await visitor.make_key()
            keys = visitor.house.services.admin.keys
            await visitor.sign_in(secret)
            (own,) = await keys.list(Caller())
            await visitor.act("/settings/keys", {"name": EVIL})
            await keys.create(Caller(actor=MACHINE), KeySpec("made by hand"))
            page = await visitor.get(AUDIT)
            said = text_of(page)
            made = next(one for one in await keys.list(Caller()) if one.name == EVIL)
            assert f"2025-10-09 08:53:20 k {own.id} key created {made.id} {EVIL}, member" in said
            assert "The operator at the server's machine key created" in said
            assert "Anyone no key was asked for key created" in said
            assert f"k {own.id} session started" in said
            assert EVIL not in page.text

    run(main())


def test_the_audit_log_is_cut_into_pages(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            assert "Nothing is written here yet." in text_of(await visitor.get(AUDIT))
            await do(visitor, PAGE_ROWS)
            assert 'rel="next"' not in (await visitor.get(AUDIT)).text
            await do(visitor, 1)
            first = await visitor.get(AUDIT)
            assert len(re.findall('id="row-deed_', first.text)) == PAGE_ROWS
            second = await visitor.get(next_of(first.text))
            assert len(re.findall('id="row-deed_', second.text)) == 1
            assert f'id="newest" href="/console{AUDIT}"' in second.text
            assert (await visitor.get(f"{AUDIT}?after=deed_of_nobody")).status_code == 404
            assert (await visitor.get(f"{AUDIT}?after=%00")).status_code == 200

    run(main())


def test_the_operator_reads_another_account_s_log_and_nobody_reads_theirs(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            account = await visitor.house.services.admin.accounts.create(Caller(), "Research")
            await visitor.sign_in(await visitor.make_key())
            foreign = await visitor.make_key(account=account.id)
            page = await visitor.get(f"{AUDIT}?account={account.id}")
            assert "key created" in text_of(page)
            await visitor.sign_in(foreign)
            assert (await visitor.get(f"{AUDIT}?account={OPERATOR}")).status_code == 404
            assert "session started" in text_of(await visitor.get(AUDIT))

    run(main())
