"""The list of batches in a browser: live, quiet where nothing runs, and still under one's hands."""

import re
from urllib.parse import urlsplit

import pytest
from browser_house import BASE, Window
from browser_server import chat_line, chat_lines
from playwright.sync_api import Page, Response, Route, expect

pytest_plugins = ["browser_fixtures"]
pytestmark = pytest.mark.slow


# Whether all of an element can be seen: nothing lies over its corners or cuts them off.
ON_TOP = """element => {
  const box = element.getBoundingClientRect();
  const corners = [[box.left, box.top], [box.right, box.bottom]];
  const inside = (x, y) => [x + (x === box.left ? 9 : -9), y + (y === box.top ? 9 : -9)];
  return corners.every(([x, y]) => element.contains(document.elementFromPoint(...inside(x, y))));
}"""


def is_poll(response: Response) -> bool:
    """Whether the list was renewed by it."""
    is_part = response.request.headers.get("hx-target") == "live"
    return is_part and urlsplit(response.url).path == f"{BASE}/batches"


def wait_for_poll(page: Page) -> None:
    """Return when the list has been renewed once more."""
    with page.expect_response(is_poll):
        pass


def test_a_new_server_says_what_to_do(window: Window) -> None:
    page = window.open("/batches")
    expect(page.get_by_text("There are no batches yet.")).to_be_visible()


def test_a_batch_is_live_until_its_end_and_then_nobody_asks(window: Window) -> None:
    server = window.server
    server.upstream.hold()
    batch = server.submit(chat_lines(3), name="First steps")
    window.page.clock.install()
    page = window.open("/batches")
    row = page.locator(f"#row-{batch}")
    expect(row).to_contain_text("in progress")
    expect(row).to_contain_text("0 / 3")
    with page.expect_response(is_poll):
        page.clock.run_for(2_000)
    server.upstream.release()
    expect(row).to_contain_text("completed")
    expect(row).to_contain_text("3 / 3")
    expect(row.get_by_role("button")).to_have_count(0)
    assert page.locator("#live").get_attribute("hx-trigger") is None
    asked = window.asked("/batches")
    page.clock.run_for(60_000)
    page.reload()
    expect(row).to_contain_text("completed")
    assert window.asked("/batches") == asked + 1


def test_a_row_fits_into_a_window_of_1200(window: Window) -> None:
    server = window.server
    server.upstream.hold()
    batch = server.submit(chat_lines(20_000), name="Nightly evaluation of the checkpoint")
    window.page.set_viewport_size({"width": 1200, "height": 800})
    page = window.open("/batches")
    expect(page.locator(f"#row-{batch}")).to_contain_text("0 / 20,000")
    expect(page.get_by_role("button", name="Cancel Nightly")).to_be_visible()
    spilled = page.locator(".table").evaluate("table => table.scrollWidth - table.clientWidth")
    assert spilled == 0, f"{spilled} pixels of the row are out of sight"
    server.upstream.release()


def test_rows_are_renewed_in_place_and_focus_stays(window: Window) -> None:
    server = window.server
    server.upstream.hold()
    batch = server.submit(chat_lines(2), name="In place")
    page = window.open("/batches")
    row = page.locator(f"#row-{batch}")
    expect(row).to_contain_text("in progress")
    row.evaluate("row => { row.mark = 'the same'; }")
    button = row.get_by_role("button", name="Cancel In place")
    button.focus()
    wait_for_poll(page)
    wait_for_poll(page)
    assert row.evaluate("row => row.mark") == "the same"
    expect(button).to_be_focused()
    server.upstream.release()
    expect(row).to_contain_text("completed")
    assert row.evaluate("row => row.mark") == "the same"


def test_one_can_type_while_rows_are_renewed(window: Window) -> None:
    server = window.server
    server.upstream.hold()
    sought = server.submit(chat_lines(1), name="Needle")
    other = server.submit(chat_lines(1), name="Hay")
    page = window.open("/batches")
    expect(page.locator(f"#row-{other}")).to_be_visible()
    search = page.get_by_label("Name or id")
    search.press_sequentially("Nee")
    expect(page.locator(f"#row-{other}")).to_have_count(0)
    wait_for_poll(page)
    search.press_sequentially("dle")
    wait_for_poll(page)
    expect(search).to_be_focused()
    expect(search).to_have_value("Needle")
    expect(page.locator(f"#row-{sought}")).to_be_visible()
    expect(page).to_have_url(re.compile("search=Needle"))
    server.upstream.release()


def test_what_is_sought_stands_in_the_address(window: Window) -> None:
    server = window.server
    server.upstream.release()
    batch = server.submit(chat_lines(1), name="To be shared")
    server.wait(batch)
    page = window.open("/batches")
    page.get_by_label("Status").select_option("completed")
    expect(page).to_have_url(f"{server.url}{BASE}/batches?status=completed")
    page.get_by_label("Name or id").fill("shared")
    expect(page).to_have_url(f"{server.url}{BASE}/batches?search=shared&status=completed")
    again = window.open("/batches?search=shared&status=completed")
    expect(again.get_by_label("Name or id")).to_have_value("shared")
    expect(again.locator("tbody tr")).to_have_count(1)
    expect(again.locator(f"#row-{batch}")).to_be_visible()


def test_a_batch_is_cancelled_only_when_that_is_confirmed(window: Window) -> None:
    server = window.server
    server.upstream.hold()
    batch = server.submit(chat_lines(2), name="Unwanted")
    page = window.open("/batches")
    cancel = page.get_by_role("button", name="Cancel Unwanted")
    cancel.click()
    dialog = page.locator("#confirm")
    expect(dialog).to_contain_text("Cancel Unwanted?")
    dialog.get_by_role("button", name="Keep").click()
    expect(dialog).to_be_hidden()
    assert server.ask("GET", f"/batches/{batch}")["status"] == "in_progress"
    cancel.click()
    dialog.get_by_role("button", name="Cancel batch").click()
    expect(page.get_by_text("Unwanted is being cancelled.")).to_be_visible()
    server.upstream.release()
    assert server.wait(batch)["status"] == "cancelled"


def test_a_failed_status_tells_why_to_hand_and_keyboard(window: Window) -> None:
    server = window.server
    batch = server.submit([chat_line(1), chat_line(1)], name="Twice the same")
    server.wait(batch)
    page = window.open("/batches")
    status = page.locator(f"#row-{batch}").get_by_role("button", name="failed")
    why = page.locator(f"#row-{batch}").get_by_role("tooltip")
    expect(why).to_be_hidden()
    status.hover()
    expect(why).to_be_visible()
    expect(why).to_contain_text("line 2")
    assert why.evaluate(ON_TOP), "the table cuts the tooltip off"
    page.mouse.move(0, 0)
    expect(why).to_be_hidden()
    status.focus()
    expect(why).to_be_visible()


def test_an_answer_to_what_is_no_longer_asked_changes_nothing(window: Window) -> None:
    server = window.server
    server.upstream.hold()
    batch = server.submit(chat_lines(1), name="Slowly told")
    waiting: list[Route] = []

    def keep_back(route: Route) -> None:
        if is_first := route.request.headers.get("hx-target") == "live" and not waiting:
            waiting.append(route)
        if not is_first:
            route.continue_()

    window.page.clock.install()
    page = window.open("/batches")
    expect(page.locator(f"#row-{batch}")).to_contain_text("in progress")
    page.route("**/batches", keep_back)
    with page.expect_request(lambda request: request.headers.get("hx-target") == "live"):
        page.clock.run_for(2_000)
    page.clock.run_for(2_000)
    server.upstream.release()
    server.wait(batch)
    with page.expect_event("requestfinished"):
        waiting[0].continue_()
    expect(page.locator(f"#row-{batch}")).to_contain_text("completed")
    page.locator(f"#row-{batch}").evaluate("row => { row.mark = 'the same'; }")
    page.wait_for_load_state("networkidle")
    assert page.locator(f"#row-{batch}").evaluate("row => row.mark") == "the same"
    expect(page.locator("section")).to_have_count(1)
