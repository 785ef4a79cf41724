"""Charts, monitoring, spending and limits in a browser: drawn once, renewed in place, usable."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from browser_house import BASE, OpensWindows, Window
from browser_server import MODEL, Server, chat_lines
from playwright.sync_api import Locator, Page, Response, expect

pytest_plugins = ["browser_fixtures"]
pytestmark = pytest.mark.slow

# How much of a chart has the first colour of charts.
PAINTED = """figure => {
    const canvas = figure.querySelector("canvas");
    const probe = document.body.appendChild(document.createElement("span"));
    probe.style.color = "var(--chart-1)";
    const wanted = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
    probe.remove();
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let painted = 0;
    for (let at = 0; at < data.length; at += 4)
        if (wanted.every((part, of) => data[at + of] === part)) painted += 1;
    return painted;
}"""
NEXT_PAINT = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
INSERT = """chart => {
    document.getElementById("drawn-by-test")?.remove();
    const figure = document.createElement("figure");
    Object.assign(figure, { className: "chart", id: "drawn-by-test" });
    figure.setAttribute("aria-label", "A test");
    Object.assign(figure.dataset, { height: "200", chart: JSON.stringify(chart) });
    document.querySelector("main").append(figure);
    document.dispatchEvent(new Event("htmx:afterSettle"));
}"""


def is_poll(response: Response) -> bool:
    is_part = response.request.headers.get("hx-target") == "live"
    return is_part and urlsplit(response.url).path.startswith(f"{BASE}/monitoring")


def run_batch(server: Server, lines: int = 3) -> None:
    server.wait(server.submit(chat_lines(lines)))


def chart(page: Page, name: str = "calls") -> Locator:
    return page.locator(f"#{name}")


def painted(figure: Locator) -> int:
    """How many points of the chart have the colour of its first series."""
    figure.page.evaluate(NEXT_PAINT)
    return int(figure.evaluate(PAINTED))


def insert(page: Page, **data: Any) -> Locator:
    """Put a chart on the page, as a renewed page brings one."""
    page.evaluate(INSERT, data)
    return chart(page, "drawn-by-test")


def bars(values: list[float | None], name: str = "calls") -> dict[str, Any]:
    return {"name": name, "values": values, "kind": "bar"}


def calls_in(figure: Locator) -> int:
    """How many calls the legend counts."""
    text = figure.get_by_role("button", name="succeeded").inner_text()
    return int(re.sub(r"\D", "", text))


def test_a_chart_is_renewed_in_place(window: Window) -> None:
    """The same canvas, the new figures; what was hidden stays hidden, in another theme too."""
    run_batch(window.server)
    window.page.clock.install()
    page = window.open("/monitoring")
    figure = chart(page)
    expect(figure.locator("canvas")).to_be_visible()
    before = calls_in(figure)
    figure.locator("canvas").evaluate("canvas => { canvas.mark = 'the same'; }")
    hidden = figure.get_by_role("button", name="failed")
    hidden.click()
    expect(hidden).to_have_attribute("aria-pressed", "false")
    run_batch(window.server)
    with page.expect_response(is_poll):
        page.clock.run_for(10_000)
    expect(figure.get_by_role("button", name="succeeded")).to_contain_text(str(before + 3))
    assert figure.locator("canvas").evaluate("canvas => canvas.mark") == "the same"
    expect(hidden).to_have_attribute("aria-pressed", "false")
    page.get_by_role("button", name="Dark theme").click()
    expect(figure.get_by_role("button", name="failed")).to_have_attribute("aria-pressed", "false")
    assert figure.locator("canvas").evaluate("canvas => canvas.mark") is None


def test_the_pointer_is_told_the_figures_of_a_period(window: Window) -> None:
    run_batch(window.server)
    page = window.open("/monitoring?range=hour")
    figure = chart(page)
    expect(figure.locator(".when")).to_have_text("Total")
    figure.locator(".u-over").hover()
    expect(figure.locator(".when")).to_have_text(re.compile(r"^\d+ \w+ \d{4}, \d\d:00$"))
    page.get_by_role("heading", name="Monitoring").hover()
    expect(figure.locator(".when")).to_have_text("Total")


def test_a_series_is_hidden_with_the_keyboard(window: Window) -> None:
    window.forgive("willReadFrequently")
    run_batch(window.server)
    page = window.open("/monitoring")
    figure = chart(page)
    button = figure.get_by_role("button", name="succeeded")
    assert painted(figure) > 0
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(button).to_be_focused()
    assert painted(figure) == 0
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize("kind", ["bar", "line"])
def test_one_point_is_seen(kind: str, window: Window) -> None:
    """A line of one point too, which has no length."""
    window.forgive("willReadFrequently")
    page = window.open("/monitoring")
    one = {**bars([7]), "kind": kind}
    figure = insert(page, x=[1_790_000_000], period="hour", series=[one])
    expect(figure.get_by_role("button")).to_contain_text("7")
    assert painted(figure) > 0
    none = insert(page, x=[1_790_000_000], period="hour", series=[{**one, "values": [None]}])
    expect(none.get_by_role("button")).to_contain_text("—")
    assert painted(none) == 0


def test_a_chart_of_nothing_says_so(window: Window) -> None:
    page = window.open("/monitoring")
    for data in ({"x": [], "series": [bars([])]}, {"x": [1, 2], "series": []}):
        expect(insert(page, **data)).to_have_text("Nothing in this time.")


def test_names_in_a_chart_are_text(window: Window) -> None:
    page = window.open("/monitoring")
    evil = "<img src=x onerror='window.evil=1'>"
    figure = insert(page, x=[1, 2], series=[bars([1, 2], evil)])
    expect(figure.get_by_role("button")).to_contain_text(evil)
    assert page.evaluate("window.evil") is None


def test_a_chart_is_as_wide_as_its_place(window: Window) -> None:
    page = window.open("/monitoring")
    figure = insert(page, x=[1, 2], series=[bars([1, 2])])
    for width in (1_600, 380):
        page.set_viewport_size({"width": width, "height": 800})
        room = figure.evaluate("figure => figure.clientWidth")
        expect(figure.locator(".uplot")).to_have_css("width", f"{room}px")


def test_a_chart_that_was_folded_away_is_drawn_when_it_shows(window: Window) -> None:
    page = window.open("/monitoring")
    page.evaluate("document.querySelector('main').hidden = true")
    figure = insert(page, x=[1, 2], series=[bars([1, 2])])
    expect(figure.locator("canvas")).to_have_count(0)
    page.evaluate("document.querySelector('main').hidden = false")
    expect(figure.locator("canvas")).to_have_count(1)


def test_times_of_one_s_own_are_asked_for_where_they_are_chosen(window: Window) -> None:
    """And stand in the address only then."""
    run_batch(window.server)
    page = window.open("/monitoring")
    since = page.get_by_label("From")
    expect(since).to_be_hidden()
    page.get_by_label("Time", exact=True).select_option("Last 7 days")
    expect(page).to_have_url(re.compile(r"/monitoring\?range=week$"))
    page.get_by_label("Time", exact=True).select_option("custom")
    expect(since).to_be_visible()
    since.fill("2020-01-01T00:00")
    since.press("Tab")
    expect(page.get_by_text("monitoring looks at no more than 30 days")).to_be_visible()
    window.forgive("400")
    page.get_by_label("Time", exact=True).select_option("Last day")
    expect(page.get_by_role("link", name=MODEL)).to_be_visible()
    expect(page).to_have_url(re.compile(r"/monitoring\?range=day$"))
    page.get_by_role("link", name=MODEL).click()
    expect(page.get_by_role("heading", name=MODEL)).to_be_visible()


def test_spending_is_shown_as_a_chart_as_a_list_and_as_a_file(window: Window) -> None:
    run_batch(window.server)
    page = window.open("/spending")
    figure = chart(page, "spent-USD")
    expect(figure.get_by_role("button", name=MODEL)).to_contain_text("USD")
    page.get_by_label("Group by").select_option("Batch")
    expect(figure.get_by_role("button", name="batch_").first).to_be_visible()
    page.get_by_role("link", name="List").click()
    expect(page.get_by_role("table", name="Line items")).to_contain_text("output_token_batch")
    with page.expect_download() as started:
        page.get_by_role("link", name="Download CSV").click()
    head = started.value.path().read_text().splitlines()[0]
    assert head.startswith("Billing Month,Job ID,Model,Usage,Amount")


def test_a_limit_is_set_and_removed_by_hand(keyed_server: Server, new_window: OpensWindows) -> None:
    window = new_window(keyed_server)
    page = window.sign_in("admin", "/spending")
    page.get_by_role("link", name="Limits and alerts").click()
    page.get_by_label("On", exact=True).select_option("The whole account")
    page.get_by_label("Amount a month").fill("20 dollars")
    page.get_by_role("button", name="Set limit").click()
    expect(page.get_by_role("alert")).to_contain_text("expected an amount such as '20.00'")
    window.forgive("400")
    page.get_by_label("Amount a month").fill("20.50")
    page.get_by_label("Amount a month").press("Enter")
    expect(page.get_by_role("status").filter(has_text="20.5 USD")).to_be_visible()
    table = page.get_by_role("table", name="Limits")
    expect(table).to_contain_text("at 80 %")
    table.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Keep").click()
    expect(table).to_be_visible()
    table.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Remove limit").click()
    expect(page.get_by_text("There are no limits.")).to_be_visible()
