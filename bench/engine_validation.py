"""One validation in an engine as a server has it; prints what it cost the engine's process.

Takes the file, the model that it asks for, and a folder for the engine's data. Told as JSON:
``memory``, bytes by which the process grew over its idle self at most; ``delay``, seconds that
the loop was kept waiting at most; ``seconds`` that the validation took.
"""

import asyncio
import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from batchmill.config import Settings, load_settings
from batchmill.domain.account import OPERATOR
from batchmill.domain.batch import Batch, Status
from batchmill.domain.file import File, Purpose
from batchmill.ports import Quota
from batchmill.telemetry import configure_logging
from batchmill.wiring.engine import open_engine
from batchmill.wiring.parts import Parts, Paths, open_parts

TICK = 0.002
IDLE_TICKS = 500
BLOB = "files/00/large"
CONFIG = """
[data]
dir = "{folder}/data"
[[models]]
name = "{model}"
[[models.upstreams]]
url = "http://127.0.0.1:9/v1"
max_in_flight = 1
"""
DAY = 86_400.0


@dataclass
class Watch:
    """The longest time that the loop let a timer wait, since it was last set to 0."""

    delay: float = 0.0

    async def keep(self) -> None:
        """Look all along."""
        while True:
            await self.tick()

    async def tick(self) -> None:
        """Sleep for an instant, and see how much longer it took."""
        before = time.perf_counter()
        await asyncio.sleep(TICK)
        self.delay = max(self.delay, time.perf_counter() - before - TICK)


def settings_of(folder: Path, model: str) -> Settings:
    """Settings as a server's, but for the upstream: there is none."""
    config = folder / "engine.toml"
    config.write_text(CONFIG.format(folder=folder, model=model))
    return load_settings(file=config, env={}, flags={}).settings


async def measure(path: Path, model: str, folder: Path) -> dict[str, float]:
    """Run an engine, and have it validate the file."""
    settings = settings_of(folder, model)
    async with open_parts(settings) as parts, open_engine(settings, parts) as engine:
        stop, watch = asyncio.Event(), Watch()
        running = asyncio.create_task(engine.run(stop, lambda: 0.0))
        for _ in range(IDLE_TICKS):
            await watch.tick()
        idle = forget_peak()
        batch = await make_batch(parts, path, Paths(settings.data.dir).blobs)
        began, watch.delay = time.perf_counter(), 0.0
        watching = asyncio.create_task(watch.keep())
        engine.wake()
        status = Status.VALIDATING
        while status is Status.VALIDATING:
            await asyncio.sleep(10 * TICK)
            found = await parts.store.batches.get(batch.account, batch.id)
            status = found.status if found else Status.FAILED
        told = {
            "memory": peak() - idle,
            "delay": watch.delay,
            "seconds": time.perf_counter() - began,
        }
        watching.cancel()
        stop.set()
        await running
    assert status is Status.IN_PROGRESS, status
    return told


async def make_batch(parts: Parts, path: Path, blobs: Path) -> Batch:
    """A batch to validate; its file's bytes are those at ``path``, where they lie."""
    now = parts.clock.now()
    blob = blobs / BLOB
    blob.parent.mkdir(parents=True)
    blob.symlink_to(path.absolute())
    file = File(
        id="file-batch-large",
        account=OPERATOR,
        purpose=Purpose.BATCH,
        filename=path.name,
        bytes=path.stat().st_size,
        digest="0" * 64,
        blob=BLOB,
        created_at=now,
    )
    await parts.store.files.add(file, Quota(files=10, bytes=10 * file.bytes))
    batch = Batch(
        id="batch_large",
        account=OPERATOR,
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        status=Status.VALIDATING,
        created_at=now,
        expires_at=now + DAY,
    )
    await parts.store.batches.create(batch, None, ())
    return batch


def forget_peak() -> int:
    """Begin anew to keep the most memory that the process held; what it holds now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The most bytes of memory that the process held."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    configure_logging("error", style="json")
    source, asked, place = sys.argv[1:]
    print(json.dumps(uvloop.run(measure(Path(source), asked, Path(place)))))
