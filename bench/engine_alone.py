"""The engine in this process, without a server: batches from their creation to their files.

Takes the upstream's URL, a folder for the data, the number in flight, and which journal: ``local``
is the one on disk, ``memory`` promises nothing. Each line that it is told is the path of an input;
it runs it to its end, and answers with the CPU seconds that this took.
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
from batchmill.engine.engine import Engine
from batchmill.service.batches import Batches, BatchSpec, Rules
from batchmill.service.caller import Caller
from batchmill.service.files import Files, FileSpec
from batchmill.telemetry import configure_logging
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


async def run(engine: Engine, settings: Settings, parts: Parts, source: Path) -> float:
    """Run ``source`` to its end; CPU seconds, those of keeping the input left out."""
    batch = await make(settings, parts, source)
    began = time.process_time()
    engine.wake()
    ended = await end_of(parts, batch)
    took = time.process_time() - began
    if ended.counts.failed or not ended.counts.completed:
        raise RuntimeError(f"The batch went wrong: {ended.status}, {ended.counts}")
    return took


async def main(settings: Settings, journal: str) -> None:
    """Run what is asked for, until nothing more is."""
    stop = asyncio.Event()
    async with opened(settings, journal) as parts, open_engine(settings, parts) as engine:
        working = asyncio.create_task(engine.run(stop, lambda: 0.0))
        while source := (await asyncio.to_thread(sys.stdin.readline)).strip():
            print(await run(engine, settings, parts, Path(source)), flush=True)
        stop.set()
        await working


if __name__ == "__main__":
    url, data, slots, kind = sys.argv[1:]
    configure_logging("error", style="json")
    one = UpstreamSettings.model_validate({"url": url, "max_in_flight": int(slots)})
    model = ModelSettings(name="bench", upstreams=(one,))
    served = Settings(models=(model,), data=DataSettings(dir=Path(data)))
    uvloop.run(main(served, kind))
