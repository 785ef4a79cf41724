"""The two processes of a server: the API's and the engine's, each started by the supervisor.

The first line of standard input is the supervisor's post; then the pipe stays
silent until the supervisor is gone. The engine leaves then; the API starts a
new supervisor before it leaves, so that the server heals.
"""

import asyncio
import fcntl
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import uvloop

import batchmill.cli.lean  # noqa: F401 - for its effect, before what it keeps out
from batchmill.cli.descriptors import open_many
from batchmill.cli.supervisor import CANNOT_START, Post, spawn
from batchmill.config import Settings, restore_settings
from batchmill.domain.errors import BatchmillError, StorageAway, StorageFull, Superseded
from batchmill.domain.price_table import restore_table
from batchmill.domain.pricing import PriceTable
from batchmill.ports import Leadership, Store
from batchmill.telemetry import Fact, configure_logging, get_logger
from batchmill.wiring.parts import Paths, open_parts

log = get_logger()

# Room may be made, the database may come back, and the engine that leads may leave.
_WORTH_ANOTHER_TRY = (StorageFull, StorageAway, Superseded)

# A server that is told to stop lets answers under way end for so long.
_API_GRACE = 10
_ORPHAN_GRACE = 0.5
_SUCCESSION_PAUSE = 0.2


def main() -> int:
    """Run the process that the command line names: ``engine`` or ``api``."""
    name, wake_fd = sys.argv[1], int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    open_many()
    post = Post(**json.loads(sys.stdin.buffer.readline()))
    settings = restore_settings(post.settings.encode())
    prices = restore_table(post.prices)
    configure_logging(settings.log.level, style="json" if post.log_json else "text")
    try:
        if name == "engine":
            uvloop.run(run_engine(settings, prices, wake_fd))
        else:
            uvloop.run(run_api(settings, prices, post, wake_fd))
    except BatchmillError as error:
        sys.stderr.write(f"batchmill: {error.message}\n")
        return 1 if isinstance(error, _WORTH_ANOTHER_TRY) else CANNOT_START
    return 0


def _settle_down() -> None:
    """What is loaded by now will stay: the collector need not walk through it ever again."""
    gc.collect()
    gc.freeze()


class Stoppable(Protocol):
    """A server that leaves when ``should_exit`` is set."""

    should_exit: bool


class Working(Protocol):
    """An engine, as far as it is run from here."""

    def wake(self) -> None:
        """Something changed in the store: look."""
        ...

    async def run(self, stop: asyncio.Event, grace: Callable[[], float]) -> None:
        """Work until ``stop`` is set, then wait for what is in flight up to ``grace()``."""
        ...


class Orphaned(asyncio.Event):
    """Set when the supervisor is gone: standard input has come to its end."""

    def __init__(self) -> None:
        super().__init__()
        asyncio.get_running_loop().add_reader(0, self._look)

    def _look(self) -> None:
        if not os.read(0, 4096):
            asyncio.get_running_loop().remove_reader(0)
            self.set()


async def _first(*events: asyncio.Event) -> None:
    tasks = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


# --- the engine ---


async def run_engine(settings: Settings, prices: PriceTable, wake_fd: int) -> None:
    """Run the engine until a signal, or until the supervisor is gone.

    Where several machines share the database, one engine works and the others
    stand by. Raises Superseded when another one has taken over.
    """
    # Imported here: the API's process has no use for it.
    from batchmill.wiring.engine import open_engine

    orphaned, terminated = Orphaned(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, terminated.set)
    stopping = asyncio.create_task(_first(orphaned, terminated))
    lock = await _lock(Paths(settings.data.dir).engine_lock)
    try:
        async with open_parts(settings, prices) as parts:
            _settle_down()
            if settings.data.is_shared and not await _leads(parts.store.leadership, stopping):
                return
            async with open_engine(settings, parts) as engine:
                loop.add_reader(wake_fd, _on_wake, wake_fd, engine.wake)
                ends = Ends(stopping, parts.store, lambda: _grace(settings, orphaned, terminated))
                await work(engine, ends)
    finally:
        os.close(lock)


async def _leads(leadership: Leadership, stopping: "asyncio.Task[None]") -> bool:
    """Wait until this engine leads; False where it is told to stop before."""
    taking = asyncio.create_task(leadership.take())
    await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if taking.done():
        await taking
        return True
    taking.cancel()
    with suppress(asyncio.CancelledError):
        await taking
    return False


@dataclass(frozen=True, slots=True)
class Ends:
    """What ends an engine: ``stopping``, or another one that leads over ``store``.

    ``grace`` says how many seconds are left to what is in flight.
    """

    stopping: "asyncio.Task[None]"
    store: Store
    grace: Callable[[], float]


async def work(engine: Working, ends: Ends) -> None:
    """Run the engine, woken by the bell too; raises Superseded when another one leads."""
    stop = asyncio.Event()
    losing = asyncio.create_task(ends.store.leadership.superseded())
    listening = asyncio.create_task(ends.store.bell.listen(engine.wake))

    def grace() -> float:
        return 0.0 if losing.done() else ends.grace()

    working = asyncio.create_task(engine.run(stop, grace))
    try:
        endings = {working, ends.stopping, losing, listening}
        await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        await working
        if losing.done():
            raise Superseded("Another engine leads now; this one stands by.")
        if listening.done():
            await listening
    finally:
        for task in (losing, listening):
            task.cancel()
        await asyncio.gather(losing, listening, return_exceptions=True)


def _grace(settings: Settings, orphaned: asyncio.Event, terminated: asyncio.Event) -> float:
    """An orphan makes room for its successor at once."""
    is_hurried = orphaned.is_set() and not terminated.is_set()
    return _ORPHAN_GRACE if is_hurried else settings.engine.stop_grace


def _on_wake(wake_fd: int, wake: Callable[[], None]) -> None:
    with suppress(BlockingIOError):
        os.read(wake_fd, 4096)
    wake()


async def _lock(path: Path) -> int:
    """The lock of the one engine on this folder; waits while a predecessor is leaving."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    await asyncio.to_thread(fcntl.flock, fd, fcntl.LOCK_EX)
    return fd


# --- the API ---


async def run_api(settings: Settings, prices: PriceTable, post: Post, wake_fd: int) -> None:
    """Serve the API on the supervisor's socket until a signal, or until the supervisor is gone."""
    # Imported here: the engine's process has no use for them.
    import uvicorn

    from batchmill.cli.sending import SendingProtocol
    from batchmill.wiring.api import open_app

    orphaned = Orphaned()
    async with (
        open_parts(settings, prices) as parts,
        open_app(settings, parts, lambda: _wake(wake_fd)) as app,
    ):
        config = uvicorn.Config(
            app,
            http=SendingProtocol,
            log_config=None,
            log_level=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=True,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_API_GRACE,
        )
        server = uvicorn.Server(config)
        # It raises the signal that stopped it once more: this handler is there to hear that,
        # so that what is open here is closed.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _leave, server)
        watching = asyncio.create_task(_succeed(orphaned, post, server))
        with socket.socket(fileno=os.dup(post.socket)) as listening:
            log.info(Fact.SERVER_STARTED, pid=os.getpid())
            _settle_down()
            await server.serve(sockets=[listening])
        watching.cancel()
    log.info(Fact.SERVER_STOPPED)


async def _succeed(orphaned: asyncio.Event, post: Post, server: Stoppable) -> None:
    """When the supervisor is gone: start the next one, then leave."""
    await orphaned.wait()
    await asyncio.to_thread(_install_successor, post)
    server.should_exit = True


def _install_successor(post: Post) -> None:
    while not spawn(post):
        time.sleep(_SUCCESSION_PAUSE)


def _leave(server: Stoppable) -> None:
    server.should_exit = True


def _wake(wake_fd: int) -> None:
    # A full pipe is a woken engine, a broken one an absent engine, which looks
    # at the store by itself when it comes.
    with suppress(BlockingIOError, BrokenPipeError):
        os.write(wake_fd, b"w")


if __name__ == "__main__":
    sys.exit(main())
