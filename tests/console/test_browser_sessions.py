"""Sessions in a browser: roles, a session that ends under one's hands, a server that comes back."""

import re

from browser_house import BASE, OpensWindows
from browser_pages import page_routes
from browser_server import Server, chat_lines
from playwright.sync_api import expect

pytest_plugins = ["browser_fixtures"]

ONLY_FOR_ADMINS = ("/settings/keys", "/settings/audit", "/spending/limits")


def test_a_wrong_key_is_told_and_the_right_one_leads_on(
    keyed_server: Server, new_window: OpensWindows
) -> None:
    window = new_window(keyed_server)
    window.forgive("401")
    page = window.open("/files?search=x")
    page.get_by_label("API key").fill("sk-bm-wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("Incorrect API key")
    page.get_by_label("API key").fill(keyed_server.keys["admin"])
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{keyed_server.url}{BASE}/files?search=x")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    window.open("/batches")
    expect(page.get_by_label("API key")).to_be_visible()


def test_whoever_may_only_read_is_shown_nothing_to_do(
    keyed_server: Server, new_window: OpensWindows
) -> None:
    keyed_server.upstream.hold()
    keyed_server.submit(chat_lines(1), name="Not to be touched")
    reads, writes = new_window(keyed_server), new_window(keyed_server)
    for window, role in ((reads, "read-only"), (writes, "member")):
        page = window.sign_in(role)
        expect(page.get_by_role("link", name="Not to be touched")).to_be_visible()
    for name in ("Create batch", "Cancel Not to be touched"):
        expect(writes.page.locator("main").get_by_text(name).or_(
            writes.page.get_by_role("button", name=name)).first).to_be_visible()  # fmt: skip
        expect(reads.page.locator("main").get_by_text(name)).to_have_count(0)
        expect(reads.page.get_by_role("button", name=name)).to_have_count(0)
    keyed_server.upstream.release()


def test_pages_of_admins_are_neither_shown_nor_served_to_others(
    keyed_server: Server, new_window: OpensWindows
) -> None:
    routes = page_routes()
    admin = new_window(keyed_server)
    admin.sign_in("admin")
    for role in ("member", "read-only"):
        window = new_window(keyed_server)
        window.forgive("403")
        page = window.sign_in(role)
        for path in ONLY_FOR_ADMINS:
            assert path in routes, "the page has moved: name it here"
            assert admin.page.request.get(f"{keyed_server.url}{BASE}{path}").status == 200
            window.open(path)
            expect(page.get_by_role("alert")).to_be_visible()
            expect(page.locator(f"a[href='{BASE}{path}']")).to_have_count(0)
            assert page.request.get(f"{keyed_server.url}{BASE}{path}").status == 403


def test_a_session_that_ends_on_an_open_page_leads_to_the_sign_in_and_back(
    keyed_server: Server, new_window: OpensWindows
) -> None:
    server = keyed_server
    server.upstream.hold()
    server.submit(chat_lines(1), name="Still running")
    secret = server.make_key("admin")
    window = new_window(server)
    window.forgive("401")
    page = window.open("/batches?status=in_progress")
    page.get_by_label("API key").fill(secret)
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Still running")).to_be_visible()
    server.revoke_key(secret)
    expect(page.get_by_label("API key")).to_be_visible()
    page.get_by_label("API key").fill(server.keys["admin"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Still running")).to_be_visible()
    expect(page).to_have_url(re.compile(r"status=in_progress$"))
    server.upstream.release()


def test_an_open_page_outlives_a_restart_of_the_server(
    keyed_server: Server, new_window: OpensWindows
) -> None:
    server = keyed_server
    server.upstream.hold()
    batch = server.submit(chat_lines(2), name="Through the restart")
    window = new_window(server)
    window.forgive("ERR_CONNECTION|ERR_EMPTY_RESPONSE|htmx:(sendError|afterRequest)")
    page = window.sign_in("admin")
    row = page.locator(f"#row-{batch}")
    expect(row).to_contain_text("in progress")
    row.evaluate("row => { row.mark = 'the same'; }")
    notice = page.get_by_text("The server does not answer.")
    expect(notice).to_be_hidden()
    server.stop()
    expect(notice).to_be_visible()
    server.start()
    server.upstream.release()
    expect(notice).to_be_hidden()
    expect(row).to_contain_text("completed")
    expect(row).to_contain_text("2 / 2")
    assert row.evaluate("row => row.mark") == "the same"
