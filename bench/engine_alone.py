"""The engine in this process, without a server: a batch from its creation to its files.

Takes the input, the upstream's URL, a folder for the data, the number in flight, and which journal:
``local`` is the one on disk, ``memory`` promises nothing. The last line that is printed holds the
seconds and CPU seconds.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import uvloop

from batchmill.config import DataSettings, ModelSettings, Settings, UpstreamSettings
from batchmill.domain.batch import Batch
from batchmill.service.batches import Batches, BatchSpec, Rules
from batchmill.service.caller import Caller
from batchmill.service.files import Files, FileSpec
from batchmill.wiring.engine import open_engine
from batchmill.wiring.parts import Parts, open_parts
from bench.memory_journal import MemoryJournal

CALLER = Caller()
ENDPOINT = "/v1/chat/completions"
LOOK_SECONDS = 0.05


@asynccontextmanager
async def opened(settings: Settings, journal: str) -> AsyncIterator[Parts]:
    """The parts, with the journal that is asked for."""
    async with open_parts(settings) as parts:
        if journal == "local":
            yield parts
        else:
            yield replace(parts, journal=MemoryJournal(settings.engine.sync_interval))


async def make(settings: Settings, parts: Parts, source: Path) -> Batch:
    """Keep the input, and make a batch of it."""
    limits = settings.to_limits()
    files = Files(store=parts.store.files, blobs=parts.blobs, clock=parts.clock, limits=limits)
    async with files.draft(CALLER) as draft:
        await draft.write(source.read_bytes())
        file = await files.keep(CALLER, draft, FileSpec(source.name, "batch"))
    rules = Rules(
        catalog=settings.catalog(), limits=limits, profile=settings.profile, prices=parts.prices
    )
    batches = Batches(store=parts.store, clock=parts.clock, rules=rules, wake=lambda: None)
    return (await batches.create(CALLER, BatchSpec(file.id, ENDPOINT, "24h"))).batch


async def end_of(parts: Parts, batch: Batch) -> Batch:
    """The batch when it is at its end."""
    while True:
        found = await parts.store.batches.get(batch.account, batch.id)
        assert found is not None
        if found.status.is_terminal:
            return found
        await asyncio.sleep(LOOK_SECONDS)


async def main(settings: Settings, source: Path, journal: str) -> None:
    """Run ``source`` to its end, and tell what it took."""
    stop = asyncio.Event()
    async with opened(settings, journal) as parts:
        batch = await make(settings, parts, source)
        began, began_cpu = time.perf_counter(), time.process_time()
        async with open_engine(settings, parts) as engine:
            working = asyncio.create_task(engine.run(stop, lambda: 0.0))
            ended = await end_of(parts, batch)
            seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
            stop.set()
            await working
    if ended.counts.failed or not ended.counts.completed:
        raise RuntimeError(f"The batch went wrong: {ended.status}, {ended.counts}")
    print(seconds, cpu)


if __name__ == "__main__":
    place, url, data, slots, kind = sys.argv[1:]
    one = UpstreamSettings.model_validate({"url": url, "max_in_flight": int(slots)})
    model = ModelSettings(name="bench", upstreams=(one,))
    served = Settings(models=(model,), data=DataSettings(dir=Path(data)))
    uvloop.run(main(served, Path(place), kind))
