"""The dispatcher and two workers as they are wired, with everything real but the processes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from cluster_fleet import FakeFleet, LoopClock, Place
from stored_batch import new_batch, store_input

from batchmill.cluster.hosting import WorkerHost
from batchmill.config import ClusterSettings, EngineSettings, Settings
from batchmill.domain.batch import Batch, Status
from batchmill.domain.ids import line_id
from batchmill.upstream.mock import MockUpstream, Script
from batchmill.wiring.cluster import REGISTER, Office, make_office, serve_station
from batchmill.wiring.parts import Parts, open_parts

SLOTS = 6
LINES = 300
CHAT = "/v1/chat/completions"


class Machine(Place):
    """A place whose process is a worker as it is wired."""

    def start(self) -> None:
        """Nothing runs before ``boot``."""
        self.host: WorkerHost | None = None
        self._stack = AsyncExitStack()

    async def boot(self, settings: Settings) -> None:
        parts = await self._stack.enter_async_context(open_parts(settings))
        worker, process = await self._stack.enter_async_context(
            serve_station(settings, parts, self.name)
        )
        self.host = WorkerHost(worker, process)

    async def crash(self) -> None:
        """Nobody hears of it any more, and it does nothing more."""
        host = self.host
        assert host is not None
        self.die()
        for _, task in host._runs.values():
            task.cancel()
        await asyncio.gather(*(task for _, task in host._runs.values()), return_exceptions=True)
        await self._stack.aclose()

    async def kill(self, *, for_good: bool) -> None:
        if self.host is not None:
            await self.crash()


class Deployment:
    """Two machines over one folder, and dispatchers one after the other."""

    def __init__(self, settings: Settings, upstream: MockUpstream) -> None:
        self.settings = settings
        self.upstream = upstream
        self.fleet = FakeFleet(LoopClock())
        self.machines = [Machine(name, self.fleet.clock) for name in ("a", "b")]
        self.fleet.places = {machine.name: machine for machine in self.machines}
        self._stop = asyncio.Event()
        self._leading: asyncio.Task[None] | None = None

    async def lead(self) -> None:
        """Start a dispatcher, and return when it leads."""
        started: asyncio.Future[Office] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self._leading = asyncio.create_task(self._lead(started))
        self.office = await started

    async def _lead(self, started: "asyncio.Future[Office]") -> None:
        async with open_parts(self.settings) as parts:
            epoch = await parts.store.leadership.take()
            office = make_office(self.settings, parts, self.fleet, epoch)
            started.set_result(office)
            await office.engine.run(self._stop, lambda: 5.0)

    async def leave(self, *, retire: bool = False) -> None:
        if retire:
            self.office.cluster.retire()
        self._stop.set()
        assert self._leading is not None
        await self._leading

    async def check(self, parts: Parts, batch: Batch) -> int:
        """Every line is there, and once; how often lines were sent again."""
        assert batch.status is Status.COMPLETED
        assert batch.counts.completed == LINES
        file = await parts.store.files.get(batch.account, batch.output_file_id or "")
        assert file is not None
        data = b"".join([chunk async for chunk in parts.blobs.read(file.blob)])
        found = [json.loads(line)["custom_id"] for line in data.splitlines()]
        assert found == [f"c-{number}" for number in range(1, LINES + 1)]
        assert self.upstream.stats.max_in_flight <= SLOTS
        hits = self.upstream.hits
        return sum(hits[line_id(batch.id, number)] - 1 for number in range(1, LINES + 1))


@asynccontextmanager
async def deployed(folder: Path) -> AsyncIterator[tuple[Deployment, Parts]]:
    upstream = MockUpstream(Script(latency=0.01))
    await upstream.start()
    model = {"name": "m", "upstreams": [{"url": upstream.url, "max_in_flight": SLOTS}]}
    settings = Settings(
        data={"dir": str(folder)},  # type: ignore[arg-type]
        models=[model],  # type: ignore[arg-type]
        engine=EngineSettings(shard_lines=10, sync_interval=0.001, poll_interval=0.2),
        cluster=ClusterSettings(fence_after=5.0),
    )
    deployment = Deployment(settings, upstream)
    try:
        async with open_parts(settings) as parts:
            for machine in deployment.machines:
                await machine.boot(settings)
            await deployment.lead()
            yield deployment, parts
            await deployment.leave(retire=True)
    finally:
        await upstream.stop()


async def register(parts: Parts) -> list[str]:
    sign = await parts.store.signs.get(REGISTER)
    assert sign is not None
    names: list[str] = json.loads(sign.body)
    return names


def run_on(folder: Path, main: Callable[[Deployment, Parts], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with deployed(folder) as (deployment, parts):
            await asyncio.wait_for(main(deployment, parts), 60)

    asyncio.run(run())


async def submit(parts: Parts) -> Batch:
    data = b"".join(_line(number) for number in range(1, LINES + 1))
    now = parts.clock.now()
    file = await store_input(parts.store, parts.blobs, data, now)
    return await parts.store.batches.create(new_batch(file.id, now), None, ())


def _line(number: int) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": f"c {number}"}]}
    line = {"custom_id": f"c-{number}", "method": "POST", "url": CHAT, "body": body}
    return json.dumps(line).encode() + b"\n"


async def ended(parts: Parts, batch: Batch) -> Batch:
    while True:
        found = await parts.store.batches.get(batch.account, batch.id)
        assert found is not None
        if found.status.is_terminal:
            return found
        await asyncio.sleep(0.01)  # it is another part of the process that changes it


def test_a_batch_runs_on_both_workers_within_the_cap(tmp_path: Path) -> None:
    async def main(deployment: Deployment, parts: Parts) -> None:
        batch = await submit(parts)
        assert await deployment.check(parts, await ended(parts, batch)) == 0
        assert deployment.upstream.stats.max_in_flight == SLOTS
        assert len(await register(parts)) == 2
        await deployment.leave(retire=True)
        assert await register(parts) == [], "nobody holds a lease any more"

    run_on(tmp_path, main)


def test_the_next_dispatcher_sends_nothing_again(tmp_path: Path) -> None:
    async def main(deployment: Deployment, parts: Parts) -> None:
        batch = await submit(parts)
        await deployment.upstream.wait_until(lambda stats: stats.requests > LINES // 3)
        await deployment.leave()
        await deployment.lead()
        assert await deployment.check(parts, await ended(parts, batch)) == 0

    run_on(tmp_path, main)


def test_a_worker_that_dies_costs_what_it_had_in_flight_or_not_yet_durable(tmp_path: Path) -> None:
    async def main(deployment: Deployment, parts: Parts) -> None:
        batch = await submit(parts)
        await deployment.upstream.wait_until(lambda stats: stats.requests > LINES // 3)
        await deployment.machines[0].crash()
        # The slots may have been filled anew while the disk was busy with the last answers.
        assert await deployment.check(parts, await ended(parts, batch)) <= 3 * SLOTS

    run_on(tmp_path, main)
