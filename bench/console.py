"""The console's lists in a real browser, with ten thousand batches and files in the store."""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from browser_crowd import crowd
from browser_house import Window, open_browser, open_window
from browser_server import Server, chat_lines, serving
from playwright.sync_api import expect

VIEWS = (
    ("batches", "/batches"),
    ("batches, sought by name", "/batches?search=one+of"),
    ("batches, one found of all", "/batches?search=0026ab"),
    ("batches, by status and model", "/batches?status=completed&model=small-1"),
    ("files", "/files"),
    ("files, sought by name", "/files?search=input"),
    ("files, one found of all", "/files?search=0026ab"),
)


@dataclass(frozen=True)
class Sight:
    """Milliseconds from the navigation to the first row, and to the answer's last byte."""

    what: str
    first_row: float
    answer: float


def measure(folder: Path, *, rows: int, rounds: int) -> list[Sight]:
    """Each view, the browser's cache warm as it is for whoever works with the pages."""
    with serving(folder) as server:
        server.wait(server.submit(chat_lines(1), name="One of many"))
        server.stop()
        crowd(server.data, rows)
        server.start()
        return _look(server, rounds)


def _look(server: Server, rounds: int) -> list[Sight]:
    with open_browser() as browser, open_window(browser, server) as window:
        window.open("/models")
        return [_see(window, what, path, rounds) for what, path in VIEWS]


def _see(window: Window, what: str, path: str, rounds: int) -> Sight:
    rows, answers = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        window.page.goto(f"{window.server.url}/console{path}", wait_until="commit")
        expect(window.page.locator("main tbody tr").first).to_be_visible()
        rows.append((time.perf_counter() - begun) * 1000)
        timing = "performance.getEntriesByType('navigation')[0].responseEnd"
        answers.append(float(window.page.evaluate(timing)))
    return Sight(what, median(rows), median(answers))
