"""How long it takes from asking for a batch to the first of its lines at the upstream.

The file is one of 50,000 lines. The upstream is the bench's own, on a thread of this process, and
looks at the clock when the first byte comes.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import cast

import uvloop

from bench import inputs
from bench.server import Batchmill, Model, batchmill
from bench.upstream import Answerer

LINES = 50_000
LINE_BYTES = 700
MODEL = "bench"
IN_FLIGHT = 256
WAIT_SECONDS = 60


class FirstByte:
    """When the first byte came to the upstream."""

    def __init__(self) -> None:
        self._came = Event()
        self._at = 0.0

    def forget(self) -> None:
        """Look for the first byte anew."""
        self._came.clear()

    def note(self) -> None:
        """A byte came."""
        if not self._came.is_set():
            self._at = time.perf_counter()
            self._came.set()

    def wait(self) -> float:
        """When the first byte came."""
        if not self._came.wait(WAIT_SECONDS):
            raise RuntimeError("No line was sent.")
        return self._at


class Listener(Answerer):
    """One connection, whose bytes are noted."""

    def __init__(self, first: FirstByte) -> None:
        super().__init__()
        self._first = first

    def data_received(self, data: bytes) -> None:
        """Note the bytes, and answer them."""
        self._first.note()
        super().data_received(data)


@contextmanager
def listening(first: FirstByte) -> Iterator[str]:
    """The upstream, on a thread; its base URL."""
    loop = uvloop.new_event_loop()
    making = loop.create_server(lambda: Listener(first), "127.0.0.1", 0)
    server = cast("asyncio.Server", loop.run_until_complete(making))
    thread = Thread(target=loop.run_forever, name="upstream")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        asyncio.run_coroutine_threadsafe(_close(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(server: asyncio.AbstractServer) -> None:
    server.close()


def measure(folder: Path, *, rounds: int) -> float:
    """Seconds from the request that creates a batch to the first line sent; the median."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "in.jsonl"
    inputs.write_requests(source, lines=LINES, line_bytes=LINE_BYTES, model=MODEL)
    first = FirstByte()
    with (
        listening(first) as url,
        batchmill(folder / "server", {MODEL: Model(url, IN_FLIGHT)}) as server,
    ):
        file_id = server.upload(source)
        return median(_once(server, first, file_id) for _ in range(rounds))


def _once(server: Batchmill, first: FirstByte, file_id: str) -> float:
    first.forget()
    began = time.perf_counter()
    batch_id = server.create(file_id)
    came = first.wait()
    server.cancel(batch_id)
    return came - began
