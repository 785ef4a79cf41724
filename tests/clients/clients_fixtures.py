"""Servers that the client tests share: one of each profile, for as long as the tests run.

A plugin that each module names in ``pytest_plugins``, so that the type checker
meets no second module of the name ``conftest``.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from clients_server import Server, serve

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All on one process of the test runner: they share servers and hold their upstream."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("clients"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that speaks as OpenAI does."""
    with serve(tmp_path_factory.mktemp("openai"), "openai") as started:
        yield started


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the default profile."""
    with serve(tmp_path_factory.mktemp("qwen"), "qwen") as started:
        yield started
