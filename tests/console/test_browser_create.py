"""Creating a batch in a browser: by mouse, by keyboard alone, and with everything going wrong."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from browser_house import Window
from browser_server import MODEL, Server, chat_lines
from playwright.sync_api import FilePayload, Locator, Page, expect

pytest_plugins = ["browser_fixtures"]
pytestmark = pytest.mark.slow


def payload(name: str, text: str) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": text.encode()}


def jsonl(count: int) -> str:
    return "".join(json.dumps(line) + "\n" for line in chat_lines(count))


def open_dialog(window: Window) -> Page:
    page = window.open("/batches")
    page.get_by_role("link", name="Create batch").click()
    expect(page.get_by_role("dialog", name="Create batch")).to_be_visible()
    until_settled(page)
    return page


def until_settled(page: Page) -> None:
    """A form that has come gets the focus a moment later: what is typed before goes astray."""
    expect(page.get_by_label("Name", exact=True)).to_be_focused()


def check(page: Page, file: FilePayload) -> Locator:
    """Choose a file and have it checked; what the check says."""
    page.get_by_label("JSONL or CSV file").set_input_files(file)
    page.get_by_role("button", name="Upload and check").click()
    found = page.get_by_role("region", name="Check")
    expect(page.locator("#check-title")).to_be_focused()
    return found


def batches(server: Server, name: str) -> Sequence[Any]:
    return list(server.ask("GET", "/batches", params={"ds_name": name})["data"])


def uploads(server: Server) -> int:
    """Not all files: a batch of the test before may be writing its results just now."""
    return len(server.ask("GET", "/files", params={"purpose": "batch"})["data"])


def on_batch(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()


def test_a_file_becomes_a_batch(window: Window) -> None:
    page = open_dialog(window)
    page.get_by_label("Name", exact=True).fill("By mouse")
    page.get_by_label("Description").fill("The whole way")
    page.get_by_label("Maximum waiting time").select_option(label="3 days")
    found = check(page, payload("mine.jsonl", jsonl(7)))
    expect(found).to_contain_text("The file is good: 7 lines")
    expect(found).to_contain_text("Price in USD")
    found.get_by_role("button", name="Create batch").click()
    on_batch(page, "By mouse")
    (batch,) = batches(window.server, "By mouse")
    assert page.url.endswith(batch["id"])
    assert batch["completion_window"] == "3d"
    assert batch["metadata"]["ds_description"] == "The whole way"


def test_a_double_click_makes_one_batch(window: Window) -> None:
    page = open_dialog(window)
    page.get_by_label("Name", exact=True).fill("Twice")
    found = check(page, payload("mine.jsonl", jsonl(2)))
    found.get_by_role("button", name="Create batch").dblclick()
    on_batch(page, "Twice")
    assert len(batches(window.server, "Twice")) == 1


def test_a_table_becomes_a_batch(window: Window) -> None:
    page = open_dialog(window)
    page.get_by_label("Name", exact=True).fill("From a table")
    chosen = page.get_by_label("JSONL or CSV file")
    model = page.get_by_role("dialog").get_by_label("Model")
    expect(model).to_be_hidden()
    chosen.set_input_files(payload("rows.csv", "who,question\n1,Why?\n2,How?\n"))
    expect(model).to_have_value(MODEL)
    page.get_by_label("Prompt column").fill("question")
    page.get_by_label("Id column").fill("")
    page.get_by_role("button", name="Upload and check").click()
    found = page.get_by_role("region", name="Check")
    expect(found).to_contain_text("The file is good: 2 lines")
    expect(found).to_contain_text('"content":"Why?"')
    found.get_by_role("button", name="Create batch").click()
    on_batch(page, "From a table")


def test_a_fault_of_a_table_is_told_in_place_and_can_be_mended(window: Window) -> None:
    window.forgive(r"status of 400 .*/uploads")
    before = uploads(window.server)
    page = open_dialog(window)
    chosen = page.get_by_label("JSONL or CSV file")
    chosen.set_input_files(payload("rows.csv", "1,Why?\n2\n"))
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_role("alert")).to_contain_text("Row 2 has 1 columns")
    assert uploads(window.server) == before
    expect(chosen).to_be_enabled()
    found = check(page, payload("rows.csv", "1,Why?\n2,How?\n"))
    expect(found).to_contain_text("The file is good: 2 lines")


def test_a_bad_file_cannot_be_confirmed_and_another_takes_its_place(window: Window) -> None:
    before = uploads(window.server)
    page = open_dialog(window)
    page.get_by_label("Name", exact=True).fill("Second try")
    found = check(page, payload("bad.jsonl", jsonl(1) + '{"custom_id":"x"}\n'))
    expect(found.get_by_role("region", name="Faults")).to_contain_text("Missing required")
    expect(found.get_by_role("button", name="Create batch")).to_have_count(0)
    found.get_by_role("button", name="Choose another file").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Second try")
    assert uploads(window.server) == before
    expect(check(page, payload("good.jsonl", jsonl(1)))).to_contain_text("The file is good: 1 line")


def test_settings_may_be_changed_after_the_check(window: Window) -> None:
    page = open_dialog(window)
    found = check(page, payload("mine.jsonl", jsonl(1)))
    found.get_by_role("button", name="Back").click()
    until_settled(page)
    page.get_by_label("Name", exact=True).fill("Renamed")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Budget").fill("5.00")
    page.get_by_role("button", name="Check", exact=True).click()
    expect(found).to_contain_text("5.00")
    found.get_by_role("button", name="Create batch").click()
    on_batch(page, "Renamed")


def test_what_is_typed_wrong_is_told_on_the_form(window: Window) -> None:
    window.forgive(r"(status of|Code) 400 .*/check")
    page = open_dialog(window)
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Budget").fill("much")
    page.get_by_label("JSONL or CSV file").set_input_files(payload("mine.jsonl", jsonl(1)))
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_role("alert")).to_contain_text("an amount above zero")
    until_settled(page)
    expect(page.get_by_label("Budget")).to_have_value("much")
    page.get_by_label("Budget").fill("1.00")
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.get_by_text("The file is good")).to_be_visible()


def test_an_upload_shows_how_far_it_is_and_can_be_cancelled(window: Window) -> None:
    before = uploads(window.server)
    page = open_dialog(window)
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
    session.send("Network.emulateNetworkConditions", slow)
    page.get_by_label("JSONL or CSV file").set_input_files(payload("big.jsonl", jsonl(20_000)))
    page.get_by_role("button", name="Upload and check").click()
    cancel = page.get_by_role("button", name="Cancel upload")
    expect(cancel).to_be_focused()
    expect(page.locator("#create-figures")).to_contain_text(" KB/s")
    expect(page.locator("#create-bar")).to_have_attribute("value", re.compile(r"^[1-9][0-9]?$"))
    cancel.click()
    expect(page.get_by_role("alert")).to_contain_text("cancelled")
    expect(page.get_by_role("button", name="Upload and check")).to_be_visible()
    session.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
    assert uploads(window.server) == before
    expect(check(page, payload("small.jsonl", jsonl(1)))).to_contain_text("The file is good")


@pytest.mark.parametrize("count", [1, 2])
def test_one_file_may_be_dropped(window: Window, count: int) -> None:
    page = open_dialog(window)
    data = page.evaluate_handle(
        """([text, count]) => {
          const data = new DataTransfer();
          for (let n = 0; n < count; n += 1) data.items.add(new File([text], `dropped-${n}.jsonl`));
          return data;
        }""",
        [jsonl(2), count],
    )
    zone = page.locator("#create-drop")
    zone.dispatch_event("dragover", {"dataTransfer": data})
    expect(zone).to_have_class("drop over")
    zone.dispatch_event("drop", {"dataTransfer": data})
    if count == 2:
        expect(page.get_by_role("alert")).to_contain_text("Drop one file")
        return
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_role("heading", name="Check of dropped-0.jsonl")).to_be_visible()


def _tab_to(page: Page, target: Locator) -> None:
    for _ in range(40):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail("Tab does not reach it")


def test_the_keyboard_alone_creates_a_batch(window: Window) -> None:
    page = window.open("/batches")
    # So the browser is told of it long before: a key may overtake what is asked for beside it.
    page.on("filechooser", lambda _: None)
    _tab_to(page, page.get_by_role("link", name="Create batch"))
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.keyboard.type("By keyboard")
    _tab_to(page, page.get_by_label("JSONL or CSV file"))
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(payload("keys.jsonl", jsonl(2)))
    _tab_to(page, page.get_by_role("button", name="Upload and check"))
    page.keyboard.press("Enter")
    expect(page.locator("#check-title")).to_be_focused()
    _tab_to(page, page.locator("#create-batch"))
    page.keyboard.press("Enter")
    on_batch(page, "By keyboard")


def test_trying_it_costs_nothing(window: Window) -> None:
    page = open_dialog(window)
    found = check(page, payload("tried.jsonl", jsonl(3)))
    found.get_by_role("button", name="Try it free").click()
    on_batch(page, "Trial of tried.jsonl")
    (batch,) = batches(window.server, "Trial of tried.jsonl")
    assert window.server.wait(batch["id"])["request_counts"]["completed"] == 3


def test_a_file_that_is_not_wanted_is_deleted_or_kept(window: Window) -> None:
    before = uploads(window.server)
    page = open_dialog(window)
    found = check(page, payload("mine.jsonl", jsonl(1)))
    found.get_by_role("button", name="Delete file").click()
    expect(page.get_by_text("The file was deleted")).to_be_visible()
    assert uploads(window.server) == before
    page = open_dialog(window)
    found = check(page, payload("mine.jsonl", jsonl(1)))
    found.get_by_role("button", name="Keep file, close").click()
    expect(page.get_by_role("dialog", name="Create batch")).to_be_hidden()
    assert uploads(window.server) == before + 1


def test_an_address_that_names_a_file_begins_with_its_check(window: Window) -> None:
    file_id = window.server.upload(chat_lines(4))
    page = window.open(f"/batches/new?file={file_id}&name=Again&window=2d")
    expect(page.get_by_text("The file is good: 4 lines")).to_be_visible()
    expect(page.get_by_role("button", name="Delete file")).to_have_count(0)
    page.get_by_role("button", name="Create batch").click()
    on_batch(page, "Again")


def test_what_the_entry_refuses_is_told_in_the_dialog(window: Window) -> None:
    window.forgive(r"(status of|Code) 403")
    page = open_dialog(window)
    found = check(page, payload("mine.jsonl", jsonl(1)))
    page.evaluate("document.body.setAttribute('hx-headers', '{\"x-form-token\": \"old\"}')")
    found.get_by_role("button", name="Create batch").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("an earlier session")


def test_the_sample_file_is_offered_and_runs(window: Window) -> None:
    page = open_dialog(window)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download sample file").click()
    text = download.value.path().read_text()
    assert download.value.suggested_filename == "sample.jsonl"
    expect(check(page, payload("sample.jsonl", text))).to_contain_text("The file is good: 2 lines")


def test_a_server_that_is_away_when_the_check_is_asked_for_is_told(window: Window) -> None:
    window.forgive(r"/batches/new/check|htmx:(sendError|afterRequest)")
    page = open_dialog(window)
    page.route("**/batches/new/check", lambda route: route.abort("connectionrefused"))
    page.get_by_label("JSONL or CSV file").set_input_files(payload("mine.jsonl", jsonl(1)))
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_role("dialog")).to_contain_text("try the check again")
    sent = uploads(window.server)
    page.unroute("**/batches/new/check")
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_text("The file is good")).to_be_visible()
    assert uploads(window.server) == sent


def test_a_batch_is_started_again_in_a_dialog(window: Window) -> None:
    batch = window.server.submit(chat_lines(2), name="Once more")
    window.server.wait(batch)
    page = window.open(f"/batches/{batch}")
    page.get_by_role("link", name="Start again").click()
    dialog = page.get_by_role("dialog", name="Create batch")
    expect(dialog.get_by_text("The file is good: 2 lines")).to_be_visible()
    dialog.get_by_role("button", name="Create batch").click()
    expect(page).not_to_have_url(re.compile(batch))
    on_batch(page, "Once more")
    assert len(batches(window.server, "Once more")) == 2
