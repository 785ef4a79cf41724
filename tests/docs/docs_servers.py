"""A server and a scripted upstream, started as a reader of the pages would start them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

_PATIENCE = 60


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The root of a server with the built-in models."""
    folder = tmp_path_factory.mktemp("served")
    with _started(folder, "serve", "--data-dir", str(folder / "data")) as greeting:
        root = greeting.split()[-1].removesuffix("/v1")
        # The socket is open from the start: this returns as soon as the API answers.
        httpx2.get(f"{root}/healthz", timeout=_PATIENCE, trust_env=False).raise_for_status()
        yield root


@pytest.fixture(scope="session")
def upstream_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The root of a scripted upstream that serves the model ``demo``."""
    folder = tmp_path_factory.mktemp("upstream")
    with _started(folder, "mock-upstream", "--model", "demo") as greeting:
        yield greeting.split()[-1].removesuffix("/v1")


@contextmanager
def _started(folder: Path, *verb: str) -> Iterator[str]:
    """The first line that a verb prints once it listens; stopped as Ctrl-C would at the end."""
    with (folder / "stderr.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "batchmill", *verb, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(),
        )
    assert process.stdout is not None
    try:
        greeting = process.stdout.readline().decode()
        assert "http://" in greeting, (folder / "stderr.log").read_text()
        yield greeting
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_PATIENCE)
        process.stdout.close()


def _environment() -> dict[str, str]:
    plain = {name: text for name, text in os.environ.items() if not name.startswith("BATCHMILL_")}
    return {**plain, "PYTHONUNBUFFERED": "1"}
