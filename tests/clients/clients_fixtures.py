"""Servers that the client tests share: one of each profile, for as long as the tests run.

A plugin that each module names in ``pytest_plugins``, so that the type checker
meets no second module of the name ``conftest``.
"""

from collections.abc import Iterator

import pytest
from clients_server import Server, serve


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
