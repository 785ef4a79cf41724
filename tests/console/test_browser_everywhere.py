"""What holds of every page: nobody is kept out, nothing leaves the host, nothing spills over.

The pages are those that the console routes to, so that a new one is looked at
without being named here.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import cast
from urllib.parse import urljoin, urlsplit

import pytest
from browser_house import BASE, OpensWindows, Window, open_context, open_window_in
from browser_pages import Stock, file_routes, page_routes, stocked, texts_of
from playwright.sync_api import Browser, BrowserContext, Locator, Page, ViewportSize, expect

pytest_plugins = ["browser_fixtures"]
pytestmark = pytest.mark.slow

AXE = Path(__file__).parent / "node" / "node_modules" / "axe-core" / "axe.min.js"
WALK = Path(__file__).parent / "browser_walk.js"
# Off unless asked for: too small to be touched.
RULES = {"target-size": {"enabled": True}}
ROUTES = [path for path in page_routes() if path != "/sign-in"]
PHONE = ViewportSize(width=380, height=800)


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stock]:
    with stocked(tmp_path_factory.mktemp("stocked")) as made:
        yield made


@pytest.fixture(scope="module")
def signed_in(stock: Stock, browser: Browser) -> Iterator[BrowserContext]:
    """A browser in which an admin has signed in: not every test does, nor asks for every style."""
    context = open_context(browser)
    Window(context.new_page(), stock.server).sign_in("admin")
    yield context
    context.close()


@pytest.fixture
def inside(stock: Stock, signed_in: BrowserContext) -> Iterator[Window]:
    """A window of an admin who has signed in."""
    with open_window_in(signed_in, stock.server) as window:
        yield window


def open_page(inside: Window, stock: Stock, route: str) -> Page:
    """Go to a page of this route."""
    page = inside.open(stock.address(route))
    expect(page.locator("main h1")).to_be_visible()
    return page


def views_of(page: Page) -> list[str]:
    """The other views of the same page, which its tabs lead to."""
    here = urlsplit(page.url).path
    links = page.locator("main .tabs a[href]").all()
    hrefs = [str(link.get_attribute("href")) for link in links]
    return [href for href in hrefs if urlsplit(href).path in {here, ""}]


def assert_accessible(page: Page) -> None:
    """Axe finds nothing in either theme."""
    page.evaluate(AXE.read_text())
    for theme in ("light", "dark"):
        assert_no_violation(page, theme)


def assert_no_violation(page: Page, theme: str) -> None:
    """Axe finds nothing in the theme."""
    page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    found = page.evaluate("rules => axe.run({rules})", RULES)
    told = "\n".join(map(texts_of, found["violations"]))
    assert not found["violations"], f"{page.url} in {theme}:\n{told}"


def walk(page: Page, within: str = "body") -> None:
    """Tab gets once around all that can be used, in its order, and one sees where one is."""
    page.evaluate(WALK.read_text())
    goals = cast("list[str]", page.evaluate("within => walk.begin(within)", within))
    reached: list[int] = []
    for _ in range(len(goals) * 4 + 10):
        here = page.evaluate("walk.here()")
        if reached and len(reached) > 1 and here["place"] == reached[0]:
            break
        if here["place"] >= 0 and here["place"] not in reached[-1:]:
            assert here["isMarked"], f"the focus cannot be seen on {here['name']}"
            reached.append(here["place"])
        page.keyboard.press("Tab")
    missed = [name for place, name in enumerate(goals) if place not in reached]
    assert not missed, f"{page.url}: Tab does not get to {missed}"
    turns = [goals[to] for at, to in pairwise(reached) if to < at]
    assert len(turns) <= 1, f"{page.url}: Tab goes back to {turns}"


@pytest.mark.parametrize("route", ROUTES)
def test_axe_finds_nothing(inside: Window, stock: Stock, route: str) -> None:
    page = open_page(inside, stock, route)
    assert_accessible(page)
    for view in views_of(page):
        page.goto(urljoin(page.url, view))
        assert_accessible(page)


@pytest.mark.parametrize("route", ROUTES)
def test_nothing_spills_over_a_phone(inside: Window, stock: Stock, route: str) -> None:
    inside.page.set_viewport_size(PHONE)
    page = open_page(inside, stock, route)
    assert_within(page)
    for view in views_of(page):
        page.goto(urljoin(page.url, view))
        assert_within(page)


def assert_within(page: Page) -> None:
    """The page is no wider than what it is looked at through."""
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE["width"], f"{page.url} is {wide} wide"


@pytest.mark.parametrize("route", ROUTES)
def test_the_keyboard_gets_everywhere_in_order(inside: Window, stock: Stock, route: str) -> None:
    walk(open_page(inside, stock, route))


@pytest.mark.parametrize("route", ROUTES)
def test_dialogs_hold_the_focus_and_give_it_back(inside: Window, stock: Stock, route: str) -> None:
    page = open_page(inside, stock, route)
    for opener in page.locator("main [data-dialog]").all()[:3]:
        look_at_dialog(page, opener, "#dialog")
    for opener in page.locator("main [hx-confirm]:visible").all()[:1]:
        look_at_dialog(page, opener, "#confirm")


def look_at_dialog(page: Page, opener: Locator, dialog: str) -> None:
    """Open it by the keyboard, go around in it, and leave it by Escape."""
    opener.focus()
    page.keyboard.press("Enter")
    expect(page.locator(dialog)).to_be_visible()
    assert_accessible(page)
    assert page.evaluate("id => document.activeElement.closest(id) !== null", dialog)
    walk(page, dialog)
    page.keyboard.press("Escape")
    expect(page.locator(dialog)).to_be_hidden()
    expect(opener).to_be_focused()


def test_the_first_tab_leads_past_the_navigation(inside: Window, stock: Stock) -> None:
    page = open_page(inside, stock, "/batches")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


@pytest.mark.parametrize("route", file_routes())
def test_what_is_no_page_is_a_file_to_keep(inside: Window, stock: Stock, route: str) -> None:
    address = f"{stock.server.url}{BASE}{stock.address(route)}"
    answer = inside.page.request.get(address)
    assert answer.ok, f"{address} answers {answer.status}"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_sign_in_is_for_everyone(stock: Stock, new_window: OpensWindows, theme: str) -> None:
    page = new_window(stock.server, theme=theme).open("/sign-in")
    expect(page.get_by_label("API key")).to_be_focused()
    assert_accessible(page)
    walk(page)
    page.set_viewport_size(PHONE)
    assert_within(page)
