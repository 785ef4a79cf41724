"""Texts that would be a page of their own: on every page they are shown as what they are, text."""

from collections.abc import Iterator

import pytest
from browser_house import OpensWindows, open_context, open_window_in
from browser_pages import Stock, page_routes, stocked
from browser_server import chat_line
from playwright.sync_api import Browser, BrowserContext, Page, expect

pytest_plugins = ["browser_fixtures"]

MARK = '"><img src=x onerror=hit()><script>window.hit=1</script>'
TURNED = f"\u202e{MARK}"
SHOWING = ("/batches", "/batches/{batch_id}", "/batches/{batch_id}/lines", "/files",
           "/settings/keys", "/settings/workspaces", "/settings/webhooks")  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stock]:
    with stocked(tmp_path_factory.mktemp("hostile"), keyed=False, mark=MARK) as made:
        yield made


@pytest.fixture(scope="module")
def visitor(browser: Browser) -> Iterator[BrowserContext]:
    context = open_context(browser)
    yield context
    context.close()


def assert_harmless(page: Page) -> None:
    """Nothing of what users gave has become a part of the page."""
    assert page.evaluate("typeof window.hit") == "undefined"
    assert page.locator("img[src='x'], script:not([src]), [onerror]").count() == 0


@pytest.mark.parametrize("route", [path for path in page_routes() if path != "/sign-in"])
def test_no_page_takes_a_text_for_markup(
    hostile: Stock, visitor: BrowserContext, route: str
) -> None:
    with open_window_in(visitor, hostile.server) as window:
        page = window.open(hostile.address(route))
        expect(page.locator("main h1")).to_be_visible()
        assert_harmless(page)
        if route in SHOWING:
            expect(page.locator("main").get_by_text(MARK).first).to_be_attached()


def test_pages_that_show_such_texts_have_not_moved() -> None:
    assert set(SHOWING) <= set(page_routes())


def test_what_a_model_was_asked_and_answers_is_text(
    hostile: Stock, new_window: OpensWindows
) -> None:
    server = hostile.server
    picture = {"type": "image_url", "image_url": {"url": "http://pictures.invalid/x.png"}}
    parts = [{"type": "text", "text": TURNED}, picture]
    message = {"role": "user", "content": parts}
    line = chat_line(1, custom_id=TURNED)
    line["body"]["messages"] = [message]
    batch = server.submit([line], name=TURNED[:99], description=TURNED)
    server.wait(batch)
    window = new_window(server)
    page = window.open(f"/batches/{batch}/lines/1")
    expect(page.get_by_text(f"You said: {TURNED}").first).to_be_visible()
    expect(page.get_by_text("http://pictures.invalid/x.png").first).to_be_visible()
    assert_harmless(page)
    page = window.open(f"/batches/{batch}/lines")
    page.get_by_role("link", name=MARK).click()
    expect(page.locator("#line-panel")).to_contain_text(MARK)
    assert_harmless(page)


def test_a_question_before_a_deed_shows_a_hostile_name_as_text(
    hostile: Stock, new_window: OpensWindows
) -> None:
    server = hostile.server
    server.upstream.hold()
    batch = server.submit([chat_line(1)], name=f"Held{MARK}")
    page = new_window(server).open(f"/batches/{batch}")
    page.locator("#cancel").click()
    expect(page.locator("#confirm")).to_contain_text(f"Held{MARK}")
    assert_harmless(page)
    page.locator("#confirm-yes").click()
    expect(page.get_by_text(f"Held{MARK} is being cancelled.")).to_be_visible()
    assert_harmless(page)
    server.upstream.release()
    server.wait(batch)
