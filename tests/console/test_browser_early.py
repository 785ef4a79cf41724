"""What a visitor does in a browser before a page's scripts are there: held, and done with them."""

import pytest
from browser_house import BASE, Window
from browser_server import chat_lines
from playwright.sync_api import Page, Route, expect

pytest_plugins = ["browser_fixtures"]
pytestmark = pytest.mark.slow


class Scripts:
    """htmx, which does not come before it is let come, whenever it is asked for."""

    def __init__(self, page: Page) -> None:
        self._withheld: list[Route] | None = []
        page.route("**/htmx.min.js*", self._on_asked)

    def come(self) -> None:
        withheld, self._withheld = self._withheld or [], None
        for route in withheld:
            route.continue_()

    def _on_asked(self, route: Route) -> None:
        if self._withheld is None:
            route.continue_()
        else:
            self._withheld.append(route)


def open_before_its_scripts(window: Window, path: str) -> tuple[Page, Scripts]:
    scripts = Scripts(window.page)
    window.page.goto(f"{window.server.url}{BASE}{path}", wait_until="commit")
    return window.page, scripts


def test_a_click_opens_its_dialog(window: Window) -> None:
    page, scripts = open_before_its_scripts(window, "/settings/keys")
    page.get_by_role("link", name="New key").click()
    scripts.come()
    expect(page.get_by_role("dialog").get_by_label("Name", exact=True)).to_be_visible()


def test_a_form_is_sent_by_the_scripts_and_not_by_the_browser(window: Window) -> None:
    page, scripts = open_before_its_scripts(window, "/settings/keys/new")
    page.get_by_label("Name", exact=True).fill("Hasty")
    page.keyboard.press("Enter")
    scripts.come()
    expect(page.get_by_label("The key", exact=True)).to_be_visible()
    assert "Hasty" not in page.url


def test_a_filter_that_was_chosen_is_applied(window: Window) -> None:
    page, scripts = open_before_its_scripts(window, "/files")
    page.get_by_label("Purpose").select_option("batch")
    scripts.come()
    page.wait_for_url("**/files?purpose=batch")


def test_what_was_typed_into_a_search_is_looked_for(window: Window) -> None:
    page, scripts = open_before_its_scripts(window, "/files")
    page.get_by_label("Name or id").press_sequentially("march")
    scripts.come()
    page.wait_for_url("**/files?search=march")


def test_a_form_without_a_button_is_sent_by_the_scripts_too(window: Window) -> None:
    page, scripts = open_before_its_scripts(window, "/files")
    page.evaluate("window.isSamePage = true")
    page.get_by_label("Name or id").press("Enter")
    with page.expect_response(lambda answer: "hx-request" in answer.request.headers):
        scripts.come()
    assert page.evaluate("window.isSamePage")


def test_a_plain_link_is_followed_at_once(window: Window) -> None:
    batch_id = window.server.submit(chat_lines(1), name="Followed")
    page, _ = open_before_its_scripts(window, "/batches")
    page.get_by_role("link", name="Followed").click()
    page.wait_for_url(f"**/batches/{batch_id}", wait_until="commit")
