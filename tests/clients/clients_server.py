"""A started server for clients: ``batchmill serve`` in processes of its own.

Its scripted upstream runs on a thread of the tests' process, so that a test can
hold answers back. Nothing here knows any client.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import httpx2

from batchmill.upstream.mock import MockUpstream, Script

T = TypeVar("T")

MODEL = "qwen-plus"
FAMILIAR_MODEL = "gpt-4o-mini"
SERVED = (MODEL, FAMILIAR_MODEL)
DEADLINE = 120.0
PAUSE = 0.01


def wait_until(holds: Callable[[], T], what: str) -> T:
    """What ``holds()`` answers as soon as it is true; fails with ``what`` if that never comes."""
    deadline = time.monotonic() + DEADLINE
    while not (value := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"it did not come about that {what}")
        time.sleep(PAUSE)
    return value


class Upstream:
    """A scripted upstream on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever)
        self._mock = MockUpstream(Script(models=SERVED))
        self.url = ""

    def start(self) -> None:
        """Listen on a free port of the loopback."""
        self._thread.start()
        self.url = self._do(self._mock.start())

    def stop(self) -> None:
        """Leave nothing behind."""
        self._do(self._mock.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        self._loop.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Requests come in and are not answered until the end of the block."""
        self._do(self._call(self._mock.hold))
        try:
            yield
        finally:
            self._do(self._call(self._mock.release))

    def wait_for_held(self, count: int) -> None:
        """Return when the answers to so many requests are held back."""
        self._do(self._mock.wait_until(lambda stats: stats.held >= count))

    async def _call(self, verb: Callable[[], None]) -> None:
        verb()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE)


class Server:
    """A started server: its base URL for clients, and the upstream behind its models."""

    def __init__(self, url: str, upstream: Upstream) -> None:
        self.url = url
        self.upstream = upstream


@contextmanager
def serve(folder: Path, profile: str) -> Iterator[Server]:
    """A server of this profile with its data in ``folder``, ready when the block begins."""
    upstream = Upstream()
    upstream.start()
    try:
        with _process(folder, _configuration(profile, upstream.url)) as url:
            yield Server(url, upstream)
    finally:
        upstream.stop()


@contextmanager
def _process(folder: Path, configuration: str) -> Iterator[str]:
    config, log = folder / "batchmill.toml", folder / "stderr.log"
    config.write_text(configuration)
    command = [sys.executable, "-m", "batchmill", "serve", "--port", "0"]
    command += ["--data-dir", str(folder / "data"), "--config", str(config)]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=_plain()) as process,
    ):
        try:
            yield _when_ready(process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE)
    assert process.returncode == 0, log.read_text()[-2000:]


def _plain() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("BATCHMILL_")}


def _when_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    greeting = process.stdout.readline().decode().split()
    assert greeting, log.read_text()[-2000:]
    url = greeting[-1]
    probe = url.removesuffix("/v1") + "/readyz"
    with httpx2.Client(trust_env=False, timeout=DEADLINE) as client:
        wait_until(lambda: client.get(probe).status_code == 200, "the server is ready")
    return url


def _configuration(profile: str, upstream: str) -> str:
    head = f'profile = "{profile}"\n[engine]\ncancel_grace = 0.05\npoll_interval = 0.2\n'
    head += "[webhooks]\nallow_private = true\n"
    return head + "".join(_model(name, upstream) for name in SERVED)


def _model(name: str, upstream: str) -> str:
    endpoints = ["chat/completions", "completions", "embeddings", "responses", "score"]
    return f"""\
[[models]]
name = "{name}"
endpoints = {[f"/v1/{one}" for one in endpoints]}
[[models.upstreams]]
url = "{upstream}"
"""
