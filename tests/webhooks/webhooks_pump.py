"""A pump over a real store, with a clock and receivers in the hand of the test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from batchmill.domain.account import Deed
from batchmill.domain.webhook import Delivery, WebhookEndpoint, make_webhook_secret
from batchmill.engine.notices import Notices
from batchmill.ports import PostFault, Postman
from batchmill.store import SqlStore, open_store

T0 = 1_760_000_000.0
POLL = 1.0
HOURS_72 = 72 * 3600.0
SECRET = make_webhook_secret(bytes(range(32)))


class HandClock:
    """Stands still until it is moved. Polls may end early: that is only one more look."""

    def __init__(self) -> None:
        self.time = T0
        self.naps: list[tuple[float, asyncio.Future[None]]] = []
        self.slept = asyncio.Event()

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        nap = (self.time + seconds, asyncio.get_running_loop().create_future())
        self.naps.append(nap)
        self.slept.set()
        try:
            await nap[1]
        finally:
            self.naps.remove(nap)

    def poke(self) -> None:
        """Wake whose time has come, and who polls."""
        for end, nap in list(self.naps):
            if end <= self.time + POLL and not nap.done():
                nap.set_result(None)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let everybody go on, in this instant, until it holds."""
        while not holds():
            self.slept.clear()
            self.poke()
            await self.slept.wait()

    async def looks(self, count: int = 3) -> None:
        """Return when the pump has looked so often for what is due."""
        for _ in range(count):
            self.slept.clear()
            self.poke()
            await self.slept.wait()


@dataclass
class Call:
    """One POST."""

    url: str
    body: bytes
    headers: Mapping[str, str]


class Post:
    """Receivers by URL: a status, a fault, or an event that they wait for; others take all."""

    def __init__(self) -> None:
        self.by_url: dict[str, int | PostFault | asyncio.Event] = {}
        self.calls: list[Call] = []

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        self.calls.append(Call(url, body, headers))
        answer = self.by_url.get(url, 200)
        if isinstance(answer, PostFault):
            raise PostFault(answer.kind)
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            return 200
        return answer

    def count(self, url: str) -> int:
        return sum(call.url == url for call in self.calls)


@dataclass
class Pump:
    """Everything that a test turns or looks at."""

    store: SqlStore
    clock: HandClock
    post: Post
    outcomes: list[str] = field(default_factory=list)
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def start(self, postman: Postman | None = None) -> "asyncio.Task[None]":
        notices = Notices(
            outbox=self.store.webhooks,
            postman=postman or self.post,
            clock=self.clock,
            jitter=lambda: 0.5,
            give_up_after=HOURS_72,
            poll_interval=POLL,
            tally=self.outcomes.append,
        )
        task = asyncio.create_task(notices.run())
        self.tasks.append(task)
        task.add_done_callback(lambda _: self.clock.slept.set())
        return task

    async def kill(self) -> None:
        """End the pump as the end of its process does: whatever is under way is gone."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()

    async def until_told(self, count: int) -> None:
        """Return when so many tries have been settled."""
        await self.clock.until(lambda: len(self.outcomes) >= count)

    async def add(self, name: str, **changes: Any) -> WebhookEndpoint:
        endpoint = replace(
            WebhookEndpoint(
                id=f"we_{name}",
                account="acme",
                name=name,
                url=f"https://{name}.example/",
                event_types=("batch.completed",),
                secret=SECRET,
                created_at=T0,
                updated_at=T0,
            ),
            **changes,
        )
        deed = Deed(f"deed_{name}", "acme", "k", "webhook.created", endpoint.id, T0)
        await self.store.webhooks.add(endpoint, deed, most=1000)
        return endpoint

    async def put(self, name: str, **changes: Any) -> Delivery:
        delivery = replace(
            Delivery(
                id=f"whd_{name}",
                account="acme",
                event_id=f"evt_{name}",
                event_type="batch.completed",
                subject="batch_1",
                url=f"https://{name}.example/",
                payload='{"type":"batch.completed"}',
                created_at=self.clock.time,
                next_at=self.clock.time,
            ),
            **changes,
        )
        await self.store.webhooks.enqueue(delivery)
        return delivery

    async def get(self, name: str, account: str = "acme") -> Delivery:
        found = await self.store.webhooks.delivery(account, f"whd_{name}")
        assert found is not None
        return found


@asynccontextmanager
async def open_pump(folder: Path) -> AsyncIterator[Pump]:
    """A pump that was not started; whatever was started is ended."""
    store = await open_store(folder / "pump.db")
    pump = Pump(store, HandClock(), Post())
    try:
        yield pump
    finally:
        await pump.kill()
        await store.close()
