"""The tools in a browser: what is chosen or written comes back as a file, or as a fault."""

import json
from pathlib import Path

import pytest
from browser_house import OpensWindows, Window
from browser_server import CHAT, MODEL, Server
from playwright.sync_api import FilePayload, Page, expect

pytest_plugins = ["browser_fixtures"]
pytestmark = pytest.mark.slow

FAULTY = "400 \\(Bad Request\\)"


def payload(name: str, text: str) -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": text.encode()}


def saved(page: Page) -> tuple[str, str]:
    """The name and the text of what the page offers."""
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download").click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_text()


def test_a_table_becomes_requests_and_a_batch(window: Window) -> None:
    page = window.open("/tools")
    page.get_by_label("CSV file").set_input_files(payload("stars.csv", "id,q\n1,<b>Why?\n2,Who?\n"))
    page.get_by_label("The first row names the columns").check()
    page.get_by_label("Model").fill(MODEL)
    page.get_by_label("System message").fill("Be brief: ä.")
    page.get_by_label("More members of each body").fill('{"max_tokens": 7}')
    page.get_by_role("button", name="Convert").click()
    made = page.get_by_role("region", name="Result")
    expect(made).to_contain_text("2 requests in stars.jsonl")
    expect(page.locator("#tool-preview")).to_contain_text("<b>Why?")
    name, text = saved(page)
    lines = [json.loads(line) for line in text.splitlines()]
    assert name == "stars.jsonl"
    assert [line["custom_id"] for line in lines] == ["1", "2"]
    assert lines[0]["body"]["messages"][0] == {"role": "system", "content": "Be brief: ä."}
    assert lines[0]["body"]["max_tokens"] == 7
    made.get_by_role("button", name="Create a batch from it").click()
    expect(page.locator("main")).to_contain_text("2 lines")
    assert "Be%20brief" not in " ".join(window.requests)


def test_a_fault_is_told_with_its_row_and_another_try_is_free(window: Window) -> None:
    window.forgive(FAULTY)
    page = window.open("/tools/csv-to-jsonl")
    page.get_by_role("button", name="Convert").click()
    expect(page.get_by_role("alert")).to_have_text("Choose a file first.")
    page.get_by_label("CSV file").set_input_files(payload("t.csv", "1,a\n2\n"))
    expect(page.get_by_role("alert")).to_be_hidden()
    page.get_by_role("button", name="Convert").click()
    expect(page.get_by_role("alert")).to_contain_text("Row 2 has 1 columns")
    expect(page.get_by_role("region", name="Result")).to_be_hidden()
    page.get_by_label("CSV file").set_input_files(payload("t.csv", "1,a\n2,b\n"))
    page.get_by_role("button", name="Convert").click()
    expect(page.get_by_role("region", name="Result")).to_contain_text("2 requests")
    expect(page.get_by_role("alert")).to_be_hidden()


def test_several_result_files_become_one_table(window: Window) -> None:
    page = window.open("/tools/results-to-csv")
    answer = {"status_code": 200, "body": {"choices": [{"message": {"content": "é"}}]}}
    good = json.dumps({"custom_id": "1", "response": answer})
    bad = json.dumps({"custom_id": "2", "error": {"code": "batch_expired", "message": "Late."}})
    files = [payload("out.jsonl", good), payload("err.jsonl", bad)]
    page.get_by_label("Output and error files").set_input_files(files)
    page.get_by_role("button", name="Convert").click()
    made = page.get_by_role("region", name="Result")
    expect(made).to_contain_text("2 rows in out.csv")
    expect(made.get_by_role("button", name="Create a batch from it")).to_be_hidden()
    name, text = saved(page)
    assert name == "out.csv"
    assert text.startswith("\ufeffcustom_id,")
    assert [row.split(",")[0] for row in text.splitlines()[1:]] == ["1", "2"]


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 380)])
def test_each_kind_of_request_asks_for_what_it_needs(
    server: Server, new_window: OpensWindows, theme: str, width: int
) -> None:
    page = new_window(server, theme=theme, width=width).open("/tools/generate")
    page.get_by_label("Model").fill(MODEL)
    page.get_by_label("Prompts or texts").fill("One\n\nTwo")
    expect(page.get_by_label("Thinking budget")).to_be_hidden()
    page.get_by_label("Thinking", exact=True).select_option("on")
    page.get_by_label("Thinking budget").fill("9")
    page.get_by_role("button", name="Make requests").click()
    expect(page.locator("#tool-count")).to_contain_text("2 requests in requests.jsonl")
    first = json.loads(saved(page)[1].splitlines()[0])
    assert (first["url"], first["body"]["thinking_budget"]) == (CHAT, 9)

    page.get_by_label("Multimodal").check()
    expect(page.get_by_label("Prompts or texts")).to_be_hidden()
    page.get_by_label("Media, a line for each request").fill("https://a.example/1.png\n")
    page.get_by_label("Questions").fill("What is it?")
    page.get_by_role("button", name="Make requests").click()
    expect(page.locator("#tool-count")).to_contain_text("1 request in requests.jsonl")
    parts = json.loads(saved(page)[1])["body"]["messages"][1]["content"]
    assert [part["type"] for part in parts] == ["image_url", "text"]

    page.get_by_label("Embedding").check()
    expect(page.get_by_label("Questions")).to_be_hidden()
    expect(page.get_by_label("System message")).to_be_hidden()
    page.get_by_role("button", name="Make requests").click()
    expect(page.locator("#tool-preview")).to_contain_text("emb-2")
    assert json.loads(saved(page)[1].splitlines()[0])["url"] == "/v1/embeddings"


def test_what_is_under_way_can_be_given_up(window: Window) -> None:
    page = window.open("/tools/generate")
    # nothing answers until the test has given up
    page.route("**/tools/generate?*", lambda _route: None)
    page.get_by_label("Prompts or texts").fill("One")
    page.get_by_role("button", name="Make requests").click()
    expect(page.get_by_role("button", name="Make requests")).to_be_disabled()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Make requests")).to_be_enabled()
    expect(page.get_by_role("region", name="Result")).to_be_hidden()
    page.unroute_all()
    page.get_by_role("button", name="Make requests").click()
    expect(page.locator("#tool-count")).to_contain_text("1 request")


def test_a_file_is_dropped_and_converted_without_a_mouse_click_on_it(window: Window) -> None:
    page = window.open("/tools/csv-to-jsonl")
    transfer = page.evaluate_handle(
        """() => {
          const given = new DataTransfer();
          given.items.add(new File(["1,a\\n"], "dropped.csv"));
          return given;
        }"""
    )
    page.locator("[data-drop]").dispatch_event("drop", {"dataTransfer": transfer})
    page.get_by_role("button", name="Convert").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#tool-count")).to_contain_text("1 request in dropped.jsonl")


def test_who_may_only_read_is_offered_the_file_alone(
    keyed_server: Server, new_window: OpensWindows
) -> None:
    page = new_window(keyed_server).sign_in("read-only", "/tools/generate")
    page.get_by_label("Prompts or texts").fill("One")
    page.get_by_role("button", name="Make requests").click()
    expect(page.locator("#tool-count")).to_contain_text("1 request")
    expect(page.get_by_role("button", name="Create a batch from it")).to_be_hidden()
