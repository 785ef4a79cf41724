"""What lives in the processes of a Ray cluster. Ray makes them, keeps them alive, carries calls.

An actor gets its settings without secrets, and opens its parts by itself, with
what its own machine's environment holds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from batchmill.cluster.hosting import WorkerHost
from batchmill.cluster.link import Caller, Letter, Word
from batchmill.cluster.ray_session import Session
from batchmill.domain.sharing import Outlet
from batchmill.ports import LeasedWorker, RunKey, ShardEnd, ShardRun
from batchmill.telemetry import Fact, get_logger

log = get_logger()

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0


def next_pause(pause: float, *, stood: bool) -> float:
    """Seconds to wait after a failure; ``pause`` were waited after the last one, 0 if none.

    ``stood`` is whether it had come to work in between: then it is a first failure again.
    """
    return _FIRST_PAUSE if stood or not pause else min(_LONGEST_PAUSE, 2 * pause)


@dataclass(frozen=True, slots=True)
class Papers:
    """What an actor opens its parts from: settings without secrets, and the price table."""

    settings: bytes
    prices: str = ""


WorkerOpener = Callable[[Papers, str], AbstractAsyncContextManager[tuple[LeasedWorker, str]]]
"""Opens the worker of a name: itself, and the name of its process. Picklable by reference."""


@dataclass(frozen=True, slots=True)
class Place:
    """A worker as its dispatcher sees it."""

    name: str
    is_ready: bool
    shards: int
    lines: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How a dispatcher is. ``epoch`` is 0 while it does not lead; ``slots`` are held and all."""

    release: str
    epoch: int = 0
    is_draining: bool = False
    workers: tuple[Place, ...] = ()
    batches: int = 0
    slots: tuple[tuple[Outlet, int, int], ...] = ()


class Watch:
    """What passes between a dispatcher and the actor that it lives in."""

    def __init__(self) -> None:
        self.drained = asyncio.Event()
        self.grace = 0.0
        self.standing: Callable[[], Standing] | None = None


DispatcherOpener = Callable[[Papers, Session, Watch], Awaitable[None]]
"""Leads until the watch says drained, or another one leads. Picklable by reference."""


class WorkerActor:
    """A worker on its node. It opens its parts until that succeeds, and then runs shards."""

    async def __init__(  # type: ignore[misc]
        self, opener: WorkerOpener, papers: Papers, name: str
    ) -> None:
        self._host: WorkerHost | None = None
        self._living = asyncio.create_task(self._live(opener, papers, name))

    async def _live(self, opener: WorkerOpener, papers: Papers, name: str) -> None:
        pause = 0.0
        while True:
            try:
                async with opener(papers, name) as (worker, process):
                    self._host = WorkerHost(worker, process)
                    await asyncio.Event().wait()
            except Exception:
                pause = next_pause(pause, stood=self._host is not None)
                log.exception(Fact.WORKER_BROKE, wait=pause)
                self._host = None
                await asyncio.sleep(pause)

    async def beat(self, letter: Letter) -> Word | None:
        """As ``WorkerHost.beat``; None until the parts are open."""
        return self._host.beat(letter) if self._host is not None else None

    async def run(self, caller: Caller, run: ShardRun) -> ShardEnd:
        """As ``WorkerHost.run``."""
        return await self._host.run(caller, run) if self._host is not None else ShardEnd.LOST

    async def join(self, caller: Caller, key: RunKey) -> ShardEnd:
        """As ``WorkerHost.join``."""
        return await self._host.join(caller, key) if self._host is not None else ShardEnd.LOST

    async def cancel(self, caller: Caller, batch_id: str, grace: float) -> None:
        """As ``WorkerHost.cancel``."""
        if self._host is not None:
            await self._host.cancel(caller, batch_id, grace)

    async def stop(self, caller: Caller, grace: float) -> None:
        """As ``WorkerHost.stop``."""
        if self._host is not None:
            await self._host.stop(caller, grace)


class DispatcherActor:
    """The dispatcher, or one that waits until it may lead."""

    async def __init__(  # type: ignore[misc]
        self, opener: DispatcherOpener, papers: Papers, session: Session
    ) -> None:
        self._session = session
        self._watch = Watch()
        self._leading = asyncio.create_task(self._lead(opener, papers))

    async def _lead(self, opener: DispatcherOpener, papers: Papers) -> None:
        pause = 0.0
        while not self._watch.drained.is_set():
            try:
                await opener(papers, self._session, self._watch)
                pause = _FIRST_PAUSE
            except Exception:
                pause = next_pause(pause, stood=self._watch.standing is not None)
                log.exception(Fact.DISPATCHER_BROKE, wait=pause)
            self._watch.standing = None
            if not self._watch.drained.is_set():
                await asyncio.sleep(pause)

    async def standing(self) -> Standing:
        """How it is."""
        found = self._watch.standing
        return found() if found is not None else Standing(self._session.release)

    async def drain(self, grace: float) -> None:
        """Hand out nothing more, let what is in flight end, stop the workers; then return."""
        self._watch.grace = grace
        self._watch.drained.set()
        await asyncio.wait({self._leading})
