"""One batch and its lines in a browser: live to its end, lines read beside their list."""

import re

import pytest
from browser_house import BASE, OpensWindows, Window
from browser_server import Server, chat_lines
from playwright.sync_api import Page, Response, expect

from batchmill.upstream.mock import Script

pytest_plugins = ["browser_fixtures"]

EVIL = "<img src=x onerror='window.evil=1'>"


@pytest.fixture(scope="module")
def ended(server: Server) -> str:
    """A batch of sixty lines that has ended."""
    batch = server.submit(chat_lines(60), name="Sixty")
    server.wait(batch)
    return batch


def open_lines(window: Window, batch: str) -> Page:
    page = window.open(f"/batches/{batch}/lines")
    expect(page.locator("#line-1")).to_be_visible()
    return page


def test_the_page_follows_a_batch_to_its_end_and_then_rests(window: Window) -> None:
    server = window.server
    server.upstream.hold()
    batch = server.submit(chat_lines(3), name="To its end")
    page = window.open(f"/batches/{batch}")
    live = page.locator("#live")
    expect(live).to_contain_text("0 of 3 lines")
    heading = page.locator("h1")
    heading.evaluate("one => { one.mark = 'the same'; }")
    page.locator("#cancel").focus()
    with page.expect_response(lambda answer: _is_poll(answer, batch)):
        pass
    expect(page.locator("#cancel")).to_be_focused()
    server.upstream.release()
    expect(live).to_contain_text("3 of 3 lines")
    expect(page.locator("#start-again")).to_be_visible()
    expect(page.locator("#rate-chart canvas")).to_be_visible()
    assert heading.evaluate("one => one.mark") == "the same"
    assert live.get_attribute("hx-trigger") is None


def _is_poll(answer: Response, batch: str) -> bool:
    return answer.url.endswith(f"/batches/{batch}") and "hx-target" in answer.request.headers


def test_what_was_opened_stays_open_while_the_batch_runs(window: Window) -> None:
    server = window.server
    server.upstream.hold()
    batch = server.submit(chat_lines(60), name="Half way")
    server.upstream.hold_after(30)
    page = window.open(f"/batches/{batch}")
    region = page.get_by_role("region", name="Throughput and latency over time")
    page.get_by_text("The same as a table").click()
    expect(region).to_be_visible()
    drawn = page.locator("#rate-chart canvas")
    drawn.evaluate("one => { one.mark = 'the same'; }")
    for _ in range(2):
        with page.expect_response(lambda answer: _is_poll(answer, batch)):
            pass
    expect(region).to_be_visible()
    server.upstream.release()
    expect(page.locator("#start-again")).to_be_visible()
    expect(region).to_be_visible()
    assert drawn.evaluate("one => one.mark") == "the same"


def test_a_line_opens_beside_its_list_and_gives_the_focus_back(window: Window, ended: str) -> None:
    window.page.set_viewport_size({"width": 1280, "height": 800})
    page = open_lines(window, ended)
    link = page.locator("#line-2 a")
    link.focus()
    page.keyboard.press("Enter")
    title = page.locator("#line-title")
    expect(title).to_be_focused()
    expect(title).to_contain_text("Line 2")
    panel = page.locator("#line-panel")
    expect(panel).to_contain_text("user")
    expect(panel).to_contain_text("assistant")
    page.locator("#line-5 a").click()
    expect(title).to_contain_text("Line 5")
    expect(page.locator("tr[data-open]")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page.locator("#line-5 a")).to_be_focused()
    link.click()
    page.get_by_role("button", name="Close").click()
    expect(link).to_be_focused()
    link.click()
    page.get_by_role("link", name="Open as page").click()
    expect(page).to_have_url(re.compile(r"/lines/2$"))
    expect(page.locator("#line-title")).to_contain_text("Line 2")


def test_where_there_is_no_room_a_line_is_a_page(
    server: Server, ended: str, new_window: OpensWindows
) -> None:
    page = open_lines(new_window(server, width=380), ended)
    page.locator("#line-3 a").click()
    expect(page).to_have_url(re.compile(r"/lines/3$"))
    page.go_back()
    expect(page.locator("#line-3")).to_be_visible()


def test_lines_are_sought_and_paged_in_the_address(window: Window, ended: str) -> None:
    server = window.server
    page = open_lines(window, ended)
    rows = page.locator("#rows tbody tr")
    expect(rows).to_have_count(50)
    page.get_by_role("link", name="Next").click()
    expect(rows).to_have_count(10)
    expect(page).to_have_url(re.compile("after="))
    page.get_by_role("link", name="First lines").click()
    expect(rows).to_have_count(50)
    name = page.locator("#line-60 a")
    expect(name).to_have_count(0)
    page.get_by_label("Outcome").select_option("failed")
    expect(page.get_by_text("No line fits.")).to_be_visible()
    expect(page).to_have_url(f"{server.url}{BASE}/batches/{ended}/lines?outcome=failed")
    page.get_by_role("link", name="Show all").click()
    expect(rows).to_have_count(50)


def test_lines_that_failed_are_run_again(window: Window) -> None:
    server = window.server
    server.upstream.release()
    server.upstream.play(Script(rate_5xx=1.0, status_5xx=501))
    batch = server.submit(chat_lines(2), name="Unlucky")
    server.wait(batch)
    server.upstream.play(Script())
    page = window.open(f"/batches/{batch}")
    expect(page.get_by_role("heading", name="Errors by code")).to_be_visible()
    page.locator("#rerun-failed").click()
    expect(page).to_have_url(re.compile(r"/batches/new\?file="))
    expect(page.get_by_text("The lines that failed are now the file")).to_be_visible()


def test_hostile_content_does_nothing(window: Window) -> None:
    server = window.server
    server.upstream.release()
    lines = chat_lines(1, text=EVIL)
    batch = server.submit([{**lines[0], "custom_id": EVIL}], name=EVIL)
    server.wait(batch)
    for path in ("", "/lines", "/lines/1"):
        page = window.open(f"/batches/{batch}{path}")
        expect(page.get_by_text(EVIL).first).to_be_visible()
        assert page.evaluate("window.evil === undefined")
