"""Settings in a browser: what is said in a dialog, a secret shown once, and the list behind it."""

import pytest
from browser_house import BASE, OpensWindows, Window
from browser_server import Server
from playwright.sync_api import Page, expect

pytest_plugins = ["browser_fixtures"]
pytestmark = pytest.mark.slow


def ask_for_key(page: Page, name: str) -> None:
    """Open the dialog, and fill it in by keyboard alone."""
    page.get_by_role("link", name="New key").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.keyboard.type(name)


def test_a_key_s_secret_is_shown_in_the_dialog_and_gone_with_it(window: Window) -> None:
    page = window.open("/settings/keys")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask_for_key(page, "Nightly")
    page.keyboard.press("Enter")
    shown = page.get_by_label("The key", exact=True)
    expect(shown).to_be_visible()
    secret = shown.input_value()
    copy = page.get_by_role("button", name="Copy")
    expect(copy).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    expect(page.locator("#live")).to_contain_text("Nightly")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    # The browser tells of the close in a task of its own, after the dialog is no longer seen.
    expect(shown).to_have_count(0)
    assert secret not in page.content()
    assert secret not in page.url
    assert secret not in str(page.context.cookies())


def test_what_a_dialog_shows_works_from_the_first_moment_on(window: Window) -> None:
    page = window.open("/settings/keys")
    # No timer ends: what a form needs must not wait for one, or the browser sends it by itself.
    page.evaluate("window.setTimeout = () => 0")
    ask_for_key(page, "Hasty")
    page.keyboard.press("Enter")
    expect(page.get_by_label("The key", exact=True)).to_be_visible()
    assert "Hasty" not in page.url


def test_a_refusal_is_said_in_the_dialog_and_gone_with_the_next_one(window: Window) -> None:
    page = window.open("/settings/keys")
    ask_for_key(page, "Bad ")
    page.get_by_label("Role").select_option("member")
    page.get_by_label("Name", exact=True).evaluate("field => { field.value = '\\u202e'; }")
    window.forgive(rf"400 .*{BASE}/settings/keys")
    page.get_by_role("button", name="Create key").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_contain_text("Invalid 'name'")
    expect(page.locator("#messages")).to_be_empty()
    page.keyboard.press("Escape")
    ask_for_key(page, "Good")
    expect(dialog.get_by_role("alert")).to_have_count(0)


def test_a_revoked_key_ends_its_own_session(keyed_server: Server, new_window: OpensWindows) -> None:
    first = new_window(keyed_server)
    page = first.sign_in("admin", "/settings/keys")
    ask_for_key(page, "Second admin")
    page.get_by_label("Role").select_option("admin")
    page.get_by_role("button", name="Create key").click()
    secret = page.get_by_label("The key", exact=True).input_value()
    second = new_window(keyed_server)
    other = second.open("/settings/keys")
    other.get_by_label("API key").fill(secret)
    other.get_by_role("button", name="Sign in").click()
    expect(other.get_by_text("began this session", exact=True)).to_be_visible()
    other.get_by_role("button", name="Revoke Second admin").click()
    confirm = other.get_by_role("dialog")
    expect(confirm).to_contain_text("It began this session, which ends with it.")
    confirm.get_by_role("button", name="Keep").click()
    expect(other.get_by_text("began this session", exact=True)).to_be_visible()
    other.get_by_role("button", name="Revoke Second admin").click()
    confirm.get_by_role("button", name="Revoke key").click()
    expect(other.get_by_label("API key")).to_be_visible()
