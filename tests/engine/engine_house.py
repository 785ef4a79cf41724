"""A whole engine over a real store, real blobs and a real journal, for tests end to end.

Time is the clock's alone: ``House.hurry`` lets it run as fast as the engine can
follow, for tests in which something rests or is put off. What the parts are
asked for goes through a ``Script``, which can make calls fail and tells of them.
"""

import asyncio
import inspect
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from engine_fakes import DAY, FakeClock
from stored_batch import new_batch, store_input

from batchmill.config import EngineSettings, ModelSettings, Settings, UpstreamSettings
from batchmill.domain.batch import Batch, Event, Status, advance
from batchmill.domain.errors import StorageFull
from batchmill.domain.file import File
from batchmill.domain.lines import LineRules
from batchmill.domain.pricing import NO_PRICES
from batchmill.engine.engine import Engine
from batchmill.engine.planning import Planner, ShardSize
from batchmill.engine.prices import PriceBook
from batchmill.ports import Blobs, Store
from batchmill.upstream.mock import MockUpstream
from batchmill.upstream.mock import Script as Answers
from batchmill.wiring.engine import open_engine
from batchmill.wiring.parts import Parts, open_parts

CHAT = "/v1/chat/completions"
FULL = StorageFull("The disk is full; make room.")


class Script:
    """What happens to the calls of the parts: counted, awaited, and made to fail on order.

    ``failed_at`` has the time of each failure; whoever waits for one may hear of it later.
    """

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.calls: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.failed_at = defaultdict[str, list[float]](list)
        self.finished = 0
        self._gates: dict[str, asyncio.Event] = {}
        self._orders: dict[str, list[Exception]] = {}
        self._more = asyncio.Event()

    def fail(self, name: str, error: Exception, times: int = 1) -> None:
        """The next ``times`` calls of ``name`` (``batches.plan``, ``writer.commit``) raise."""
        self._orders.setdefault(name, []).extend([error] * times)

    def hold(self, name: str) -> asyncio.Event:
        """Calls of ``name`` begin and wait until the event that is returned is set."""
        self._gates[name] = asyncio.Event()
        return self._gates[name]

    async def meet(self, name: str) -> None:
        """A call begins."""
        self.calls[name] += 1
        if name in self._gates:
            self._more.set()
            await self._gates[name].wait()
        if self._orders.get(name):
            self.failed[name] += 1
            self.failed_at[name].append(self._clock.now())
            self.tell()
            raise self._orders[name].pop(0)

    def tell(self) -> None:
        """A call has ended: those who wait look again."""
        self.finished += 1
        self._more.set()

    async def until_finished(self, calls: int) -> None:
        """Return when so many calls have ended in all."""
        await self.until(lambda: self.finished >= calls)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when ``holds`` after a call, or at once."""
        while not holds():
            self._more.clear()
            await self._more.wait()


class Proxy:
    """Passes every call on to ``inner``, past the script. Parts of parts are wrapped too."""

    def __init__(self, inner: Any, name: str, script: Script) -> None:
        self._inner, self._name, self._script = inner, name, script

    def __getattr__(self, attribute: str) -> Any:
        target = getattr(self._inner, attribute)
        name = f"{self._name}.{attribute}" if self._name else attribute
        if attribute in ("files", "uploads", "batches", "shards", "caps", "ledger"):
            return Proxy(target, attribute, self._script)
        if inspect.isasyncgenfunction(target):
            return self._wrap_stream(target, name)
        return self._wrap(target, name) if inspect.iscoroutinefunction(target) else target

    def _wrap(self, target: Callable[..., Coroutine[Any, Any, Any]], name: str) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            await self._script.meet(name)
            result = await target(*args, **options)
            self._script.tell()
            return Proxy(result, "writer", self._script) if name == "blobs.create" else result

        return call

    def _wrap_stream(self, target: Callable[..., AsyncIterator[bytes]], name: str) -> Any:
        async def stream(*args: Any, **options: Any) -> AsyncIterator[bytes]:
            await self._script.meet(name)
            async for chunk in target(*args, **options):
                yield chunk

        return stream


def a_line(number: int, model: str = "m", **body: Any) -> dict[str, Any]:
    """A request of the input, as a client would write it."""
    content = {"model": model, "messages": [{"role": "user", "content": f"hi {number}"}], **body}
    return {"custom_id": f"c{number}", "method": "POST", "url": CHAT, "body": content}


def some_lines(count: int, model: str = "m") -> list[dict[str, Any]]:
    return [a_line(number, model) for number in range(1, count + 1)]


@dataclass
class House:
    """The parts, an engine over them, and what tests ask of both.

    The engine and ``parts`` go past the script, ``rows`` and ``blobs`` beside it.
    """

    settings: Settings
    parts: Parts
    rows: Store
    blobs: Blobs
    clock: FakeClock
    script: Script
    engine: Engine
    grace: float = 0.0
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _running: asyncio.Task[None] | None = None

    @property
    def store(self) -> Store:
        return self.parts.store

    def start(self) -> None:
        self._running = asyncio.create_task(self.engine.run(self._stop, lambda: self.grace))
        test = asyncio.current_task()
        assert test is not None
        # A test that waits for an engine that broke would wait for good; ``stop`` tells why.
        self._running.add_done_callback(lambda done: self._has_broken(done) and test.cancel())

    def _has_broken(self, engine: asyncio.Task[None]) -> bool:
        is_stopping = engine.cancelled() or self._stop.is_set()
        return not is_stopping and engine.exception() is not None

    async def stop(self) -> None:
        """Stop the engine as SIGTERM does; raises what broke it."""
        self._stop.set()
        if self._running is not None:
            await self._running

    # --- what clients do ---

    async def upload(self, lines: Iterable[dict[str, Any] | bytes], **changes: Any) -> File:
        data = b"".join(
            (one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in lines
        )
        return await store_input(self.rows, self.blobs, data, self.clock.now(), **changes)

    async def submit(
        self, lines: Iterable[dict[str, Any] | bytes], window: float = DAY, **changes: Any
    ) -> Batch:
        """Upload and create, and wake the engine."""
        file = await self.upload(lines)
        return await self.create(file.id, window, **changes)

    async def create(self, file_id: str, window: float = DAY, **changes: Any) -> Batch:
        told = {"price_version": self.parts.prices.version, **changes}
        batch = new_batch(file_id, self.clock.now(), window, **told)
        made = await self.rows.batches.create(batch, None, ())
        self.engine.wake()
        return made

    async def cancel(self, batch: Batch) -> Batch:
        before = await self.get(batch)
        after = advance(before, Event.CANCEL_REQUESTED, self.clock.now())
        assert await self.rows.batches.move(before, after)
        self.engine.wake()
        return after

    async def get(self, batch: Batch) -> Batch:
        found = await self.rows.batches.get(batch.account, batch.id)
        assert found is not None
        return found

    async def until(self, batch: Batch, *statuses: Status) -> Batch:
        """The batch, as soon as it has one of these statuses (or any terminal one)."""
        while True:
            seen = self.script.finished
            found = await self.get(batch)
            if found.status in statuses or (not statuses and found.status.is_terminal):
                return found
            assert not (self._running and self._running.done()), "the engine has ended"
            await self.script.until_finished(seen + 1)

    # --- what came of it ---

    async def read(self, batch: Batch, file_id: str | None) -> bytes:
        if file_id is None:
            return b""
        file = await self.rows.files.get(batch.account, file_id)
        assert file is not None
        data = b"".join([chunk async for chunk in self.blobs.read(file.blob)])
        assert len(data) == file.bytes
        assert data.endswith(b"\n")
        return data

    async def results(self, batch: Batch) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The lines of the output and of the error file, after checking what always holds."""
        output = _parse(await self.read(batch, batch.output_file_id))
        error = _parse(await self.read(batch, batch.error_file_id))
        counts = batch.counts
        assert (len(output), len(error)) == (counts.completed, counts.failed)
        assert counts.completed + counts.failed == counts.total
        found = [line["custom_id"] for line in output + error]
        assert len(set(found)) == len(found) == counts.total
        assert all(set(line) == {"id", "custom_id", "response", "error"} for line in output + error)
        used = [line["response"]["body"]["usage"] for line in output]
        assert batch.usage.input == sum(one["prompt_tokens"] for one in used)
        assert batch.usage.output == sum(one["completion_tokens"] for one in used)
        for lines in (output, error):
            numbers = [int(line["custom_id"][1:]) for line in lines]
            assert numbers == sorted(numbers), "the lines are in the order of the input"
        return output, error

    @asynccontextmanager
    async def hurry(self) -> AsyncIterator[None]:
        """Let time run: whoever sleeps is woken in turn, while real work goes on in between."""
        racing = asyncio.create_task(self._race())
        try:
            yield
        finally:
            racing.cancel()
            await asyncio.gather(racing, return_exceptions=True)

    async def _race(self) -> None:
        while True:
            await self.clock.skip()
            # A breath of real time for threads and sockets; no test's outcome depends on it.
            await asyncio.sleep(0.0005)


def _parse(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def settings_for(folder: Path, urls: Sequence[str], **options: Any) -> Settings:
    """Settings of one model ``m`` with an upstream at each url, or with ``models`` as given."""
    per_upstream = {"max_in_flight": options.pop("max_in_flight", 8)}
    models = options.pop("models", None) or [
        ModelSettings(
            name="m", upstreams=tuple(UpstreamSettings(url=url, **per_upstream) for url in urls)
        )
    ]
    region, data = options.pop("region", None), options.pop("data", {})
    names = ("profile", "mixed_models", "models_any")
    top = {name: options.pop(name) for name in names if name in options}
    limits = {name: options.pop(name) for name in ("max_line_bytes",) if name in options}
    engine = {"sync_interval": 0.001, "shard_lines": 10, "poll_interval": 1.0, **options}
    return Settings(
        data={"dir": str(folder), "region": region, **data},  # type: ignore[arg-type]
        models=tuple(models),
        limits=limits,  # type: ignore[arg-type]
        engine=EngineSettings(**engine),
        **top,
    )


@asynccontextmanager
async def open_house(
    folder: Path, *urls: str, clock: FakeClock | None = None, start: bool = True, **options: Any
) -> AsyncIterator[House]:
    """A house in ``folder``; may be opened again there, as after a restart."""
    prices = options.pop("prices", NO_PRICES)
    clock = clock or FakeClock()
    settings, script = settings_for(folder, urls, **options), Script(clock)
    async with open_parts(settings, prices) as real:
        parts = replace(
            real,
            clock=clock,
            store=cast("Store", Proxy(real.store, "", script)),
            blobs=cast("Blobs", Proxy(real.blobs, "blobs", script)),
        )
        async with open_engine(settings, parts) as engine:
            house = House(settings, parts, real.store, real.blobs, clock, script, engine)
            if start:
                house.start()
            try:
                yield house
            finally:
                await house.stop()


def a_planner(house: House) -> Planner:
    """A planner over the parts of a house, with shards of ten lines."""
    settings = house.settings
    return Planner(
        store=house.store,
        blobs=house.parts.blobs,
        clock=house.clock,
        rules=LineRules("", settings.catalog(), settings.profile, settings.to_limits()),
        shard_size=ShardSize(lines=lambda _: 10, bytes=1 << 20),
        prices=PriceBook(house.store.prices),
    )


@asynccontextmanager
async def open_mock(script: Answers | None = None) -> AsyncIterator[tuple[MockUpstream, str]]:
    """A scripted upstream, and where it listens."""
    upstream = MockUpstream(script)
    url = await upstream.start()
    try:
        yield upstream, url
    finally:
        await upstream.stop()
