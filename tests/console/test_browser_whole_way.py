"""The whole way in one browser: from the sign-in to what it cost."""

import json
import re
from decimal import Decimal

from browser_house import BASE, OpensWindows
from browser_server import Server, chat_lines
from playwright.sync_api import FilePayload, Page, expect

pytest_plugins = ["browser_fixtures"]

LINES = 40


def create_by_hand(page: Page) -> str:
    """Create a batch in the dialog; its id."""
    page.get_by_role("link", name="Create batch").click()
    dialog = page.locator("#dialog")
    dialog.get_by_label("Name", exact=True).fill("Reviews")
    dialog.get_by_label("Description").fill("All of November")
    body = "".join(json.dumps(line) + "\n" for line in chat_lines(LINES)).encode()
    chosen = FilePayload(name="reviews.jsonl", mimeType="application/jsonl", buffer=body)
    dialog.get_by_label("JSONL or CSV file").set_input_files(chosen)
    dialog.get_by_role("button", name="Upload and check").click()
    expect(dialog.get_by_text(f"The file is good: {LINES} lines")).to_be_visible()
    expect(dialog.get_by_role("cell", name=re.compile(r"\$")).first).to_be_visible()
    dialog.get_by_role("button", name="Create batch").click()
    expect(page).to_have_url(re.compile(r"/batches/batch_[0-9a-f-]+$"))
    return page.url.rpartition("/")[2]


def test_from_the_sign_in_to_the_bill(keyed_server: Server, new_window: OpensWindows) -> None:
    server = keyed_server
    server.upstream.hold()
    page = new_window(server).sign_in("admin")

    batch = create_by_hand(page)
    expect(page.locator("h1")).to_have_text("Reviews")
    page.locator("h1").evaluate("title => { title.mark = 'the same'; }")
    expect(page.locator("#live")).to_contain_text(f"0 of {LINES} lines")
    server.upstream.hold_after(10)
    expect(page.locator("#live")).to_contain_text(re.compile(rf"[1-9]\d* of {LINES} lines"))
    expect(page.locator("#live")).to_contain_text("in progress")

    unwanted = server.submit(chat_lines(5, "Unwanted"), name="Unwanted")
    page.get_by_role("link", name="Batches").click()
    page.get_by_role("link", name="Unwanted").click()
    page.get_by_role("button", name="Cancel batch").click()
    page.locator("#confirm").get_by_role("button", name="Cancel batch").click()
    expect(page.get_by_text("Unwanted is being cancelled.")).to_be_visible()
    expect(page.locator("#live")).to_contain_text("cancelled")
    assert server.wait(unwanted)["status"] == "cancelled"

    page.goto(f"{server.url}{BASE}/batches/{batch}")
    server.upstream.release()
    expect(page.locator("#live")).to_contain_text("completed")
    expect(page.locator("#live")).to_contain_text(f"{LINES} of {LINES} lines (100.0 %)")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Output as JSONL").click()
    results = downloading.value.path().read_text().splitlines()
    assert [json.loads(line)["custom_id"] for line in results] == [
        f"line-{number}" for number in range(LINES)
    ]

    page.get_by_role("link", name="Lines", exact=True).click()
    page.get_by_label("custom_id").fill("line-17")
    expect(page.locator("#rows tbody tr")).to_have_count(1)
    page.get_by_role("link", name="line-17").click()
    panel = page.locator("#line-panel")
    expect(panel.get_by_text("Question 17", exact=True).first).to_be_visible()
    expect(panel.get_by_text("You said: Question 17").first).to_be_visible()

    page.get_by_role("link", name="Spending").click()
    price = server.ask("GET", f"/batches/{batch}")["batchmill"]["cost"]["price"]
    assert Decimal(price) > 0
    page.get_by_role("link", name="List", exact=True).click()
    charged = page.locator("tbody tr").filter(has=page.locator(f"a[href$='{batch}']"))
    expect(charged.first).to_be_visible()
    amounts = charged.locator("td[data-label=Amount] strong").all_inner_texts()
    assert sum(Decimal(text.split()[0]) for text in amounts) == Decimal(price)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
