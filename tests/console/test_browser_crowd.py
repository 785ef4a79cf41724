"""Ten thousand batches and ten thousand files: a page has its rows, the others are behind it."""

import re
from collections.abc import Iterator

import pytest
from browser_crowd import crowd
from browser_house import OpensWindows
from browser_server import Server, chat_lines, serving
from playwright.sync_api import Page, expect

pytest_plugins = ["browser_fixtures"]
pytestmark = pytest.mark.slow

MANY = 10_000
ROWS = 50


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("crowd")) as server:
        server.wait(server.submit(chat_lines(1), name="One of many"))
        server.stop()
        crowd(server.data, MANY)
        server.start()
        yield server


def ids_of(page: Page) -> list[str]:
    """What the rows of the page are about."""
    rows = page.locator("main tbody tr")
    expect(rows).to_have_count(ROWS)
    return [str(row.get_attribute("id")) for row in rows.all()]


@pytest.mark.parametrize(("path", "older"), [("/batches", "Older"), ("/files", "Older")])
def test_a_page_has_fifty_rows_and_leads_to_the_next(
    crowded: Server, new_window: OpensWindows, path: str, older: str
) -> None:
    page = new_window(crowded).open(path)
    first = ids_of(page)
    page.get_by_role("link", name=older).click()
    expect(page).to_have_url(re.compile("after="))
    second = ids_of(page)
    assert len({*first, *second}) == 2 * ROWS


@pytest.mark.parametrize(("path", "text"), [("/batches", "one of"), ("/files", "input")])
def test_what_is_sought_among_them_is_found_page_by_page(
    crowded: Server, new_window: OpensWindows, path: str, text: str
) -> None:
    page = new_window(crowded).open(path)
    page.get_by_label("Name or id").fill(text)
    expect(page).to_have_url(re.compile("search="))
    assert len(set(ids_of(page))) == ROWS
    page.get_by_label("Name or id").fill("0002a7")
    expect(page.locator("main tbody tr")).to_have_count(1)
