"""What ends an engine of a server: a signal, a fault, or another one that leads."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from batchmill.cli.child import Ends, _leads, work
from batchmill.domain.errors import Superseded
from batchmill.ports import Store
from batchmill.wiring.ringing import Ringer


class Fault(Exception):
    """What a test lets go wrong."""


class Lead:
    """A leadership that comes and goes at a word."""

    def __init__(self) -> None:
        self.given = asyncio.Event()
        self.over = asyncio.Event()
        self.gave_up = False

    async def take(self) -> int:
        try:
            await self.given.wait()
        except asyncio.CancelledError:
            self.gave_up = True
            raise
        return 1

    async def superseded(self) -> None:
        await self.over.wait()


class Bell:
    """A bell that is rung by hand; each ring lasts until it is let go."""

    def __init__(self) -> None:
        self.rings: asyncio.Queue[asyncio.Event] = asyncio.Queue()
        self.broken = asyncio.Event()
        self.heard: Callable[[], None] = lambda: None

    async def ring(self) -> None:
        ringing = asyncio.Event()
        self.rings.put_nowait(ringing)
        await ringing.wait()

    async def listen(self, on_ring: Callable[[], None]) -> None:
        self.heard = on_ring
        on_ring()
        await self.broken.wait()
        raise Fault


@dataclass
class Rows:
    leadership: Lead = field(default_factory=Lead)
    bell: Bell = field(default_factory=Bell)


class Engine:
    """Runs until it is stopped, or breaks."""

    def __init__(self) -> None:
        self.wakes = 0
        self.grace: float | None = None
        self.started = asyncio.Event()
        self.broken = asyncio.Event()

    def wake(self) -> None:
        self.wakes += 1

    async def run(self, stop: asyncio.Event, grace: Callable[[], float]) -> None:
        self.started.set()
        tasks = [asyncio.create_task(event.wait()) for event in (stop, self.broken)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        self.grace = grace()
        if self.broken.is_set():
            raise Fault


@dataclass
class Scene:
    """An engine at work."""

    engine: Engine
    rows: Rows
    stop: asyncio.Event
    task: "asyncio.Task[None]"


def at_work(test: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        engine, rows, stop = Engine(), Rows(), asyncio.Event()

        async def stopped() -> None:
            await stop.wait()

        ends = Ends(asyncio.create_task(stopped()), cast("Store", rows), lambda: 30.0)
        scene = Scene(engine, rows, stop, asyncio.create_task(work(engine, ends)))
        await engine.started.wait()
        await test(scene)
        assert scene.task.done()
        ends.stopping.cancel()

    asyncio.run(main())


def test_a_signal_ends_it_with_its_grace() -> None:
    async def test(scene: Scene) -> None:
        scene.stop.set()
        await scene.task
        assert scene.engine.grace == 30.0

    at_work(test)


def test_another_leader_ends_it_at_once() -> None:
    async def test(scene: Scene) -> None:
        scene.rows.leadership.over.set()
        with pytest.raises(Superseded):
            await scene.task
        assert scene.engine.grace == 0.0

    at_work(test)


@pytest.mark.parametrize("what", ["engine", "bell"])
def test_what_breaks_ends_it_with_what_broke(what: str) -> None:
    async def test(scene: Scene) -> None:
        (scene.engine if what == "engine" else scene.rows.bell).broken.set()
        with pytest.raises(Fault):
            await scene.task
        assert scene.engine.grace == 30.0

    at_work(test)


def test_every_ring_wakes_it() -> None:
    async def test(scene: Scene) -> None:
        scene.rows.bell.heard()
        assert scene.engine.wakes == 2
        scene.stop.set()
        await scene.task

    at_work(test)


@pytest.mark.parametrize("comes_first", ["leadership", "a signal"])
def test_a_stand_by_waits_for_the_lead_or_for_a_signal(comes_first: str) -> None:
    async def main() -> None:
        lead, stop = Lead(), asyncio.Event()

        async def stopped() -> None:
            await stop.wait()

        stopping = asyncio.create_task(stopped())
        waiting = asyncio.create_task(_leads(lead, stopping))
        await asyncio.sleep(0)
        assert not waiting.done()
        (lead.given if comes_first == "leadership" else stop).set()
        leads = comes_first == "leadership"
        assert await waiting is leads
        assert lead.gave_up is not leads
        stopping.cancel()

    asyncio.run(main())


def test_who_wakes_never_waits_and_many_wakes_make_one_ring() -> None:
    async def main() -> None:
        bell, wakes = Bell(), []
        call = Ringer(lambda: wakes.append(1), bell)
        call()
        first = await bell.rings.get()
        for _ in range(5):
            call()
        assert bell.rings.empty()
        first.set()
        (await bell.rings.get()).set()
        assert call._ringing is not None
        await call._ringing
        assert bell.rings.empty()
        assert len(wakes) == 6
        call()
        await bell.rings.get()
        await call.close()
        assert call._ringing.cancelled()

    asyncio.run(main())
