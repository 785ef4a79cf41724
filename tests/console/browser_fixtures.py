"""Fixtures of the browser tests: a browser, servers and windows.

A plugin that each module names in ``pytest_plugins``; ``browser_house`` holds
what modules import.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from browser_house import OpensWindows, Window, open_browser, open_window
from browser_server import Server, serving
from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser of this module."""
    with open_browser() as started:
        yield started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks for no key, shared by this module's tests."""
    with serving(tmp_path_factory.mktemp("open")) as started:
        yield started


@pytest.fixture(scope="module")
def keyed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks for keys, shared by this module's tests; ``keys`` has one a role."""
    with serving(tmp_path_factory.mktemp("keyed"), keyed=True) as started:
        yield started


@pytest.fixture
def new_window(browser: Browser) -> Iterator[OpensWindows]:
    """Opens windows on any server."""
    with ExitStack() as stack:

        def opens(server: Server, *, theme: str = "light", width: int = 1280) -> Window:
            return stack.enter_context(open_window(browser, server, theme=theme, width=width))

        yield opens


@pytest.fixture
def window(server: Server, new_window: OpensWindows) -> Window:
    """A window on the server that asks for no key."""
    return new_window(server)
