"""The files in a browser: picked, deleted, uploaded, found, downloaded."""

import re
from pathlib import Path

from browser_house import Window
from browser_server import Server, chat_lines
from playwright.sync_api import FilePayload, Page, expect

pytest_plugins = ["browser_fixtures"]


def confirm(page: Page, word: str = "Delete") -> None:
    page.get_by_role("dialog").get_by_role("button", name=word).click()


def uploads(server: Server) -> set[str]:
    """Not the results: a batch of the test before may be writing them just now."""
    found = server.ask("GET", "/files", params={"purpose": "batch"})["data"]
    return {file["filename"] for file in found}


def test_picked_files_are_deleted_and_the_one_in_use_is_named(window: Window) -> None:
    server = window.server
    server.upstream.hold()
    used = server.upload(chat_lines(2), "used.jsonl")
    server.create(used, name="Uses it")
    server.upload(chat_lines(1), "free.jsonl")
    page = window.open("/files?search=e.jsonl")
    server.upload(chat_lines(1), "kept.jsonl")
    page.get_by_label("Name or id").fill("jsonl")
    expect(page.get_by_role("checkbox", name="Select kept.jsonl")).to_be_visible()
    delete = page.locator("#delete-picked")
    expect(delete).to_be_disabled()
    page.get_by_label("Select all on this page").check()
    expect(delete).to_have_text("Delete 3 files")
    page.get_by_label("Select kept.jsonl").uncheck()
    expect(delete).to_have_text("Delete 2 files")
    page.get_by_label("Purpose").select_option("batch")
    expect(page).to_have_url(re.compile("purpose=batch"))
    expect(delete).to_have_text("Delete 2 files")
    assert page.locator("#pick-all").evaluate("box => box.indeterminate")
    delete.click()
    confirm(page)
    report = page.locator("#report")
    expect(report).to_contain_text("free.jsonl was deleted.")
    expect(report).to_contain_text("used.jsonl was not deleted.")
    expect(report).to_be_focused()
    expect(page.locator("#room")).to_contain_text("2 of 10,000 files")
    expect(page.locator("#delete-picked")).to_be_disabled()
    expect(page.get_by_label("Select used.jsonl")).not_to_be_checked()
    expect(page.locator(f"#row-{used}")).to_contain_text("Uses it")
    assert uploads(server) == {"used.jsonl", "kept.jsonl"}
    server.upstream.release()


def test_one_file_is_deleted_after_a_question(window: Window) -> None:
    server = window.server
    file_id = server.upload(chat_lines(1), "single.jsonl")
    page = window.open("/files")
    page.get_by_role("button", name="Delete single.jsonl").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep").click()
    expect(page.locator(f"#row-{file_id}")).to_be_visible()
    page.get_by_role("button", name="Delete single.jsonl").click()
    confirm(page)
    expect(page.locator("#report")).to_have_text("single.jsonl was deleted.")
    expect(page.locator(f"#row-{file_id}")).to_have_count(0)


def test_a_file_is_uploaded_found_and_downloaded(window: Window) -> None:
    page = window.open("/files")
    page.get_by_role("button", name="Upload file").click()
    dialog = page.get_by_role("dialog", name="Upload a file")
    body = b'{"custom_id":"1"}\n'
    sent: FilePayload = {
        "name": "ä <b>.jsonl",
        "mimeType": "application/jsonl",
        "buffer": body,
    }
    dialog.get_by_label("JSONL file").set_input_files(sent)
    dialog.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("row", name="ä <b>.jsonl")).to_be_visible()
    page.get_by_label("Name or id").fill("ä <b>")
    row = page.get_by_role("row", name="ä <b>.jsonl")
    expect(row).to_be_visible()
    expect(page.locator("#files tbody tr")).to_have_count(1)
    expect(page).to_have_url(f"{window.server.url}/console/files?search=%C3%A4%20%3Cb%3E")
    with page.expect_download() as waiting:
        row.get_by_role("link", name="Download").click()
    assert waiting.value.suggested_filename == "ä _b_.jsonl"
    assert Path(waiting.value.path()).read_bytes() == body


def test_what_is_no_input_file_is_told_in_the_dialog(window: Window) -> None:
    window.forgive("400 \\(Bad Request\\)")
    before = uploads(window.server)
    page = window.open("/files")
    page.get_by_role("button", name="Upload file").click()
    dialog = page.get_by_role("dialog", name="Upload a file")
    wrong: FilePayload = {"name": "no.jsonl", "mimeType": "text/plain", "buffer": b"no json\n"}
    dialog.get_by_label("JSONL file").set_input_files(wrong)
    dialog.get_by_role("button", name="Upload").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Its first line is not JSON.")
    expect(dialog.get_by_role("button", name="Upload")).to_be_enabled()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Upload file")).to_be_focused()
    assert uploads(window.server) == before
