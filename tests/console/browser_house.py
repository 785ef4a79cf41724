"""A real browser over a started server: windows that fail a test for what a user never sees.

A window fails its test at the end on a word in the browser's console, an error
of a script, a breach of the content policy, a request that failed, or one to
another host, unless the test forgave it. Playwright keeps a loop in its thread:
a test module that uses it never calls ``asyncio.run``.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from browser_server import Server
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Request,
    expect,
    sync_playwright,
)

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 60_000
BASE = "/console"

expect.set_options(timeout=PATIENCE_MS)


class Window:
    """A page of the browser, and what went wrong in it. ``page`` is Playwright's own."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.server = server
        self._host = urlsplit(server.url).netloc
        self._troubles: list[str] = []
        self._forgiven: list[re.Pattern[str]] = []
        self.requests: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._troubles.append(f"error of a script: {error}"))
        page.on("request", self._on_request)
        page.on("requestfailed", self._on_failed)
        page.on("dialog", self._on_dialog)

    def open(self, path: str = "/batches") -> Page:
        """Go to a page below the console's base, and return when it is loaded."""
        self.page.goto(f"{self.server.url}{BASE}{path}")
        return self.page

    def sign_in(self, role: str = "admin", path: str = "/batches") -> Page:
        """Go to a page by way of the sign-in, with the server's key of this role."""
        self.open(path)
        self.page.get_by_label("API key").fill(self.server.keys[role])
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("button", name="Sign out")).to_be_visible()
        return self.page

    def forgive(self, pattern: str) -> None:
        """Let troubles pass that the pattern finds, earlier ones too: the test wants them."""
        self._forgiven.append(re.compile(pattern))

    def asked(self, path: str) -> int:
        """How many requests went to this path below the console's base, whatever their query."""
        return sum(urlsplit(url).path == BASE + path for url in self.requests)

    def troubles(self) -> list[str]:
        """What went wrong so far and is not forgiven."""
        return [text for text in self._troubles if not any(f.search(text) for f in self._forgiven)]

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning", "assert"}:
            where = message.location.get("url", "") if message.location else ""
            self._troubles.append(f"console {message.type}: {message.text} ({where})")

    def _on_request(self, request: Request) -> None:
        self.requests.append(request.url)
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob", "about"} and parts.netloc != self._host:
            self._troubles.append(f"request to another host: {request.url}")

    def _on_failed(self, request: Request) -> None:
        # What a user leaves or stops is aborted: that is no failure.
        if request.failure != "net::ERR_ABORTED":
            self._troubles.append(f"request failed: {request.url} ({request.failure})")

    def _on_dialog(self, dialog: Dialog) -> None:
        self._troubles.append(f"a script opened a dialog: {dialog.message}")
        dialog.dismiss()


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Debian's Chromium, or that of the variable CHROMIUM; never one that Playwright fetches."""
    assert CHROMIUM.exists(), (
        f"The browser tests need Chromium, and there is none at {CHROMIUM}: run "
        "./scripts/install-tools as root, install the package chromium, or name the program "
        "in the variable CHROMIUM."
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def open_context(browser: Browser, *, theme: str = "light", width: int = 1280) -> BrowserContext:
    """A browser of its own: no cookie and no cache of another."""
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if theme == "dark" else "light",
        locale="en-US",
        timezone_id="UTC",
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE_MS)
    return context


@contextmanager
def open_window(
    browser: Browser, server: Server, *, theme: str = "light", width: int = 1280
) -> Iterator[Window]:
    """A window in a browser of its own; at its end nothing may have gone wrong in it."""
    context = open_context(browser, theme=theme, width=width)
    try:
        yield from _checked(context.new_page(), server)
    finally:
        # Its page goes with it: to close one by itself waits for what it is doing.
        context.close()


@contextmanager
def open_window_in(context: BrowserContext, server: Server) -> Iterator[Window]:
    """A window that shares cookies and cache; at its end nothing may have gone wrong in it."""
    page = context.new_page()
    try:
        yield from _checked(page, server)
    finally:
        page.close()


def _checked(page: Page, server: Server) -> Iterator[Window]:
    window = Window(page, server)
    yield window
    assert not window.troubles(), "\n".join(window.troubles())


class OpensWindows(Protocol):
    """Opens windows that are checked and closed when the test ends."""

    def __call__(self, server: Server, *, theme: str = "light", width: int = 1280) -> Window:
        """A window in a browser of its own."""
        ...
