"""The largest file that is accepted goes through the dialog: progress shows, memory stays flat."""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest
from browser_house import Window
from browser_server import Server, chat_line
from memory_meter import MB, look, metered
from playwright.sync_api import expect

pytest_plugins = ["browser_fixtures"]
pytestmark = pytest.mark.slow

LINES = 50_000
LINE_BYTES = 10_000
CHECK_MS = 300_000
# What the server may need above what it has when it does nothing.
MARGIN = 40 * MB

WATCH = """() => {
  window.shares = [];
  const note = () => {
    const found = /\\((\\d+) %\\)/.exec(document.getElementById("create-figures").textContent);
    if (found) window.shares.push(Number(found[1]));
  };
  const options = { childList: true, subtree: true, characterData: true };
  new MutationObserver(note).observe(document.getElementById("create-figures"), options);
}"""


def write_input(path: Path) -> None:
    """A file of so many lines of this length."""
    empty = len(str(chat_line(10_000, "")).replace("'", '"'))
    with path.open("w") as file:
        for number in range(LINES):
            text = str(chat_line(number + 10_000, "word " * ((LINE_BYTES - empty) // 5)))
            file.write(text.replace("'", '"') + "\n")


def pids_of(server: Server) -> Mapping[str, int]:
    """The processes of the server."""
    supervisor = psutil.Process(server.pid)
    return {str(one.pid): one.pid for one in [supervisor, *supervisor.children(recursive=True)]}


def test_500_mb_are_sent_with_progress_and_flat_memory(
    window: Window, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    source = tmp_path / "large.jsonl"
    write_input(source)
    assert source.stat().st_size > 490 * MB
    page = window.open("/batches/new")
    page.get_by_label("JSONL or CSV file").set_input_files(source)
    page.evaluate(WATCH)
    idle = look(pids_of(window.server))
    with metered(lambda: pids_of(window.server)) as meter:
        page.get_by_role("button", name="Upload and check").click()
        expect(page.locator("#create-state")).to_have_text(re.compile("Checking|Storing"))
        expect(page.locator("#create-state")).to_contain_text("Checking")
        meter.phase = "check"
        good = page.get_by_text(f"The file is good: {LINES:,} lines")
        expect(good).to_be_visible(timeout=CHECK_MS)
    shares = page.evaluate("window.shares")
    assert shares == sorted(shares)
    assert len({share for share in shares if 0 < share < 100}) >= 5, shares
    for phase, hold in {"idle": idle, **meter.peaks}.items():
        record_property(f"memory_{phase}", str(hold))
        sys.stdout.write(f"{phase}: {hold}\n")
    assert meter.largest().pss < idle.pss + MARGIN, f"{idle} idle, {meter.largest()} at most"
