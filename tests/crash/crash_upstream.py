"""The scripted upstream on a thread of its own: it outlives every server that is killed."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from crash_waiting import DEADLINE

from batchmill.upstream.mock import MockUpstream, Script, Stats

T = TypeVar("T")


class Upstream:
    """A MockUpstream to be asked from another thread; see there for what the verbs mean."""

    def __init__(self, mock: MockUpstream, loop: asyncio.AbstractEventLoop) -> None:
        self._mock = mock
        self._loop = loop

    @property
    def url(self) -> str:
        return self._mock.url

    def hits(self) -> dict[str, int]:
        """How often each line has come so far, by its Idempotency-Key."""
        return self._ask(lambda: dict(self._mock.hits))

    def hold(self) -> None:
        self._ask(self._mock.hold)

    def release(self) -> None:
        self._ask(self._mock.release)

    def play(self, script: Script) -> None:
        """Behave as ``script`` says from now on."""
        self._ask(lambda: setattr(self._mock, "script", script))

    def requests(self) -> int:
        """How many requests have come."""
        return self._ask(lambda: self._mock.stats.requests)

    def most_in_flight(self) -> int:
        """The most requests that were at work at once, since ``forget_most_in_flight``."""
        return self._ask(lambda: self._mock.stats.max_in_flight)

    def forget_most_in_flight(self) -> None:
        stats = self._mock.stats
        self._ask(lambda: setattr(stats, "max_in_flight", stats.in_flight))

    def wait_for_more(self, requests: int) -> None:
        """Return when so many more requests have come than had by now."""
        goal = self.requests() + requests
        self.wait_until(lambda stats: stats.requests >= goal)

    def hold_after(self, requests: int) -> None:
        """Answer so many more requests, and then none until ``release``; return at that point."""

        async def answer_and_hold() -> None:
            goal = self._mock.stats.requests + requests
            self._mock.release()
            await self._mock.wait_until(lambda stats: stats.requests >= goal)
            self._mock.hold()

        self._await(answer_and_hold())

    def wait_until(self, holds: Callable[[Stats], bool]) -> None:
        self._await(self._mock.wait_until(holds))

    def _ask(self, call: Callable[[], T]) -> T:
        async def asked() -> T:
            return call()

        return self._await(asked())

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE)


@contextmanager
def upstream_running(script: Script | None = None) -> Iterator[Upstream]:
    """A started upstream."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="scripted upstream")
    thread.start()
    mock = MockUpstream(script)
    try:
        asyncio.run_coroutine_threadsafe(mock.start(), loop).result(DEADLINE)
        yield Upstream(mock, loop)
    finally:
        asyncio.run_coroutine_threadsafe(mock.stop(), loop).result(DEADLINE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
