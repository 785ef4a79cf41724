"""The engine: the dispatcher, and the beats beside it, started and stopped together."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from batchmill.engine.dispatcher import Dispatcher
from batchmill.ports import Clock, Progress
from batchmill.telemetry import Fact, get_logger

log = get_logger()


@dataclass(frozen=True, slots=True)
class Beat:
    """Work that is repeated every ``seconds``, whether the last time failed or not."""

    seconds: float
    work: Callable[[], Awaitable[None]]


class Engine:
    """Runs batches until it is told to stop."""

    def __init__(self, dispatcher: Dispatcher, beats: Sequence[Beat], clock: Clock) -> None:
        self._dispatcher = dispatcher
        self._beats = beats
        self._clock = clock

    def wake(self) -> None:
        """Something changed in the store: look."""
        self._dispatcher.wake()

    def progress(self) -> Mapping[str, Progress]:
        """How every unfinished batch is getting on, by id."""
        return self._dispatcher.progress()

    async def run(self, stop: asyncio.Event, grace: Callable[[], float]) -> None:
        """Work until ``stop`` is set, then wait for what is in flight up to ``grace()`` seconds.

        Raises what the store raises at the start.
        """
        log.info(Fact.ENGINE_STARTED)
        dispatching = asyncio.create_task(self._dispatcher.run())
        beating = asyncio.create_task(keep_beating(self._beats, self._clock))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({dispatching, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await self._dispatcher.stop(grace())
            await dispatching
        finally:
            for task in (beating, stopping):
                task.cancel()
            await asyncio.gather(beating, stopping, return_exceptions=True)
        log.info(Fact.ENGINE_STOPPED)


async def keep_beating(beats: Iterable[Beat], clock: Clock) -> None:
    """Repeat the work of each beat until cancelled."""
    tasks = [asyncio.create_task(_keep(beat, clock)) for beat in beats]
    try:
        # Not by gather, which would cancel them as well: a call of the store that is cancelled
        # twice leaves its connection half closed.
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep(beat: Beat, clock: Clock) -> None:
    """Repeat the work. A trouble that lasts over many beats is told once."""
    told: type[Exception] | None = None
    while True:
        try:
            await beat.work()
            told = None
        except Exception as error:
            if type(error) is not told:
                log.exception(Fact.BEAT_FAILED)
            told = type(error)
        await clock.sleep(beat.seconds)
