"""The beats beside the dispatcher: they go on after failures, and tell a lasting one once."""

import asyncio
import json
from collections.abc import Iterator
from io import StringIO
from typing import cast

from batchmill.engine.dispatcher import Dispatcher
from batchmill.engine.engine import Beat, Engine


class Clock:
    """Lets every sleeper go on at once."""

    def now(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Idle:
    """A dispatcher with nothing to do."""

    def __init__(self) -> None:
        self._ended = asyncio.Event()

    async def run(self) -> None:
        await self._ended.wait()

    async def stop(self, grace: float) -> None:
        self._ended.set()


def run_beat(outcomes: Iterator[Exception | None]) -> None:
    """An engine whose one beat ends as ``outcomes`` say; it is stopped when they are used up."""

    async def main() -> None:
        stop = asyncio.Event()

        async def work() -> None:
            outcome = next(outcomes, None)
            if outcome is not None:
                raise outcome
            stop.set()

        engine = Engine(cast("Dispatcher", Idle()), [Beat(1.0, work)], Clock())
        await asyncio.wait_for(engine.run(stop, lambda: 0.0), 60)

    asyncio.run(main())


def failures(log_text: StringIO) -> int:
    events = [json.loads(line)["event"] for line in log_text.getvalue().splitlines()]
    return events.count("beat_failed")


def test_a_beat_goes_on_after_a_failure(log_text: StringIO) -> None:
    run_beat(iter([OSError("no"), None]))
    assert failures(log_text) == 1


def test_a_trouble_that_lasts_is_told_once(log_text: StringIO) -> None:
    run_beat(iter([OSError("no")] * 20))
    assert failures(log_text) == 1


def test_another_trouble_is_told_too(log_text: StringIO) -> None:
    run_beat(iter([OSError("no"), ValueError("no"), OSError("no")]))
    assert failures(log_text) == 3
