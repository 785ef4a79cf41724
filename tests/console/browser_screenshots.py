"""The pictures of the console that the README shows, taken from a server with example data.

Run by ``scripts/screenshots`` with the folder that they go to. Batches of earlier
days were run like any other, and then put back in time.
"""

import json
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from browser_house import Window, open_browser, open_window
from browser_server import Server, chat_line, chat_lines, serving
from playwright.sync_api import Browser, FilePayload, Page, expect

from batchmill.upstream.mock import Script

MODELS = ("qwen-plus", "qwen-flash", "llama-3.3-70b")
HOUR = 3_600.0
TIMES = ("created_at", "expires_at", "in_progress_at", "finalizing_at", "completed_at",
         "failed_at", "cancelling_at", "cancelled_at")  # fmt: skip
NAMES = ("Product descriptions", "Support tickets by topic", "Reviews: tone", "Titles in German")
RUNNING_LINES, RUNNING_SECONDS = 1_200, 0.4


class Past(NamedTuple):
    """A batch of an earlier day: how long ago, of which model, of how many lines."""

    hours: float
    model: str
    lines: int


PAST = tuple(
    Past(hours=7.0 + 28.5 * at, model=MODELS[at % 3], lines=80 + 40 * (at * 7 % 9))
    for at in range(24)
)


def fill(server: Server) -> str:
    """Example data; the id of the batch that still runs."""
    past = {_submit(server, at, one): one.hours for at, one in enumerate(PAST)}
    for batch in past:
        server.wait(batch)
    server.ask(
        "POST", "/admin/caps", json={"scope": "account", "limit": "100.00", "alert_percent": 80}
    )
    server.stop()
    _put_back(server.data / "batchmill.sqlite3", past)
    server.start()
    _add_todays(server)
    server.upstream.play(Script(latency=RUNNING_SECONDS, tail_share=0.1, tail_latency=1.0))
    lines = chat_lines(RUNNING_LINES, "Summarize the support ticket", MODELS[0])
    return server.submit(lines, name="Support tickets of November", description="Topic and tone")


def _submit(server: Server, at: int, past: Past) -> str:
    # Not 503, which asks for fewer requests at once: it would take minutes with so few lines.
    server.upstream.play(Script(rate_5xx=0.05 * (at % 4), status_5xx=503, latency=0.01 * (at % 5)))
    lines = chat_lines(past.lines, "Describe the product", past.model)
    batch = server.submit(lines, name=f"{NAMES[at % len(NAMES)]}, part {at // len(NAMES) + 1}")
    server.wait(batch)
    return batch


def _add_todays(server: Server) -> None:
    server.upstream.play(Script())
    faulty = [chat_line(1), chat_line(1)]
    server.wait(server.submit(faulty, name="Catalogue, first draft"))
    server.upstream.hold()
    unwanted = server.submit(chat_lines(300, model=MODELS[1]), name="Wrong prompt")
    server.upstream.hold_after(40)
    server.ask("POST", f"/batches/{unwanted}/cancel")
    server.wait(unwanted)
    server.upstream.release()


def _put_back(database: Path, hours: dict[str, float]) -> None:
    """Have these batches been run so many hours earlier."""
    moves = ", ".join(f"{name} = {name} - :by" for name in TIMES)
    with closing(sqlite3.connect(database)) as store, store:
        for batch, ago in hours.items():
            how = {"by": ago * HOUR, "id": batch}
            store.execute(f"UPDATE batches SET {moves} WHERE id = :id", how)
            store.execute("UPDATE ledger SET at = at - :by WHERE batch_id = :id", how)
        store.execute("UPDATE ledger SET hour = CAST(at / 3600 AS INTEGER)")


def show_batches(window: Window, batch: str) -> Page:
    """The list, while a batch runs."""
    page = window.open("/batches")
    many = re.compile(r"(?<!\d)(4[89]|[5-9]\d)\d / 1,200|1,\d\d\d / 1,200")
    expect(page.locator(f"#row-{batch}")).to_contain_text(many)
    return page


def show_batch(window: Window, batch: str) -> Page:
    """A batch that runs."""
    page = window.open(f"/batches/{batch}")
    expect(page.locator("#rate-chart canvas, #rate-chart svg").first).to_be_visible()
    return page


def show_check(window: Window, _batch: str) -> Page:
    """A new batch, checked and priced."""
    page = window.open("/batches")
    page.get_by_role("link", name="Create batch").click()
    dialog = page.locator("#dialog")
    dialog.get_by_label("Name", exact=True).fill("Reviews of November")
    body = "".join(json.dumps(line) + "\n" for line in chat_lines(250, "Review", MODELS[1]))
    file = FilePayload(name="reviews.jsonl", mimeType="application/jsonl", buffer=body.encode())
    dialog.get_by_label("JSONL or CSV file").set_input_files(file)
    dialog.get_by_role("button", name="Upload and check").click()
    expect(dialog.get_by_text("The file is good")).to_be_visible()
    return page


def show_monitoring(window: Window, _batch: str) -> Page:
    """What was called in the last days."""
    page = window.open("/monitoring?range=month")
    expect(page.locator("figure.chart canvas, figure.chart svg").first).to_be_visible()
    return page


def show_spending(window: Window, _batch: str) -> Page:
    """What was charged in the last days."""
    page = window.open("/spending?range=30-days")
    expect(page.locator("figure.chart canvas, figure.chart svg").first).to_be_visible()
    return page


Shows = Callable[[Window, str], Page]
PICTURES: Sequence[tuple[str, str, Shows]] = (
    ("batches", "light", show_batches),
    ("batches-dark", "dark", show_batches),
    ("batch", "light", show_batch),
    ("create", "light", show_check),
    ("monitoring", "light", show_monitoring),
    ("spending", "light", show_spending),
)


def take(browser: Browser, server: Server, folder: Path) -> None:
    """Take every picture."""
    batch = fill(server)
    for name, theme, show in PICTURES:
        with open_window(browser, server, theme=theme) as window:
            page = show(window, batch)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=folder / f"{name}.png", animations="disabled", caret="hide")


def main(folder: Path) -> None:
    """Take every picture into the folder, with a server and a browser of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="batchmill-screenshots-") as scratch,
        serving(Path(scratch), models=MODELS) as server,
        open_browser() as browser,
    ):
        take(browser, server, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
