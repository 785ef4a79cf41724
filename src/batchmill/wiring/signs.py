"""Signs of life: what the engine's processes leave for those of the API to read.

On one machine these are two files in the data folder, replaced whole once a
second; where several machines share a database they are rows. They hold figures
only; nothing that is decided rests on them.
"""

import asyncio
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from batchmill.config import Settings
from batchmill.ports import Progress, Sign, SignStore
from batchmill.telemetry import EngineMetrics, render, write_snapshot
from batchmill.wiring.parts import Parts, Paths

PROGRESS: Final = "engine.progress"
METRICS: Final = "engine.metrics"
WORKERS: Final = "worker."

# The engine renews its signs every second; a few may be late on a busy machine.
STALE_SECONDS: Final = 10.0

# Rows of processes that are gone for good; those of the living are never so old.
_FORGOTTEN_SECONDS: Final = 600.0
_SWEEP_SECONDS: Final = 60.0

Content = TypeVar("Content")

_decode = msgspec.json.Decoder(dict[str, Progress]).decode


class Teller(Protocol):
    """Leaves the signs of the engine that decides."""

    async def tell(
        self, progress: Mapping[str, Progress], metrics: EngineMetrics, now: float
    ) -> None:
        """Replace what was told before."""
        ...


def teller_of(settings: Settings, parts: Parts) -> Teller:
    """Who tells, for the settings in force."""
    if settings.data.is_shared:
        return RowTeller(parts.store.signs)
    return FileTeller(Paths(settings.data.dir))


class FileTeller:
    """Leaves two files."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    async def tell(
        self, progress: Mapping[str, Progress], metrics: EngineMetrics, now: float
    ) -> None:
        """Replace both files."""
        await asyncio.to_thread(write_progress, progress, self._paths.progress)
        await asyncio.to_thread(write_snapshot, metrics, self._paths.snapshot, now=now)


class RowTeller:
    """Leaves two rows, and removes those of processes that are gone."""

    def __init__(self, signs: SignStore) -> None:
        self._signs = signs
        self._sweep_at = 0.0

    async def tell(
        self, progress: Mapping[str, Progress], metrics: EngineMetrics, now: float
    ) -> None:
        """Replace both rows; raises what the store raises."""
        await self._signs.put(Sign(PROGRESS, pack(msgspec.json.encode(progress)), now))
        await tell_metrics(self._signs, METRICS, metrics, now)
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_SECONDS
            await self._signs.forget(now - _FORGOTTEN_SECONDS)


async def tell_metrics(signs: SignStore, name: str, metrics: EngineMetrics, now: float) -> None:
    """Replace the row ``name`` by the figures of this process."""
    metrics.snapshot_time.set(now)
    await signs.put(Sign(name, pack(render(metrics.registry)), now))


async def tell_worker(signs: SignStore, worker: str, metrics: EngineMetrics, now: float) -> None:
    """Replace the figures of the worker of that name."""
    await tell_metrics(signs, f"{WORKERS}{worker}.metrics", metrics, now)


def pack(body: bytes) -> bytes:
    """The body of a row: every process writes one each second, and every API reads them all."""
    return zlib.compress(body, 1)


def unpack(body: bytes) -> bytes:
    """What ``pack`` was given."""
    return zlib.decompress(body)


def read_progress(body: bytes) -> Mapping[str, Progress]:
    """How the engine's batches are getting on, out of a file or an unpacked row."""
    return _decode(body)


def write_progress(progress: Mapping[str, Progress], path: Path) -> None:
    """Replace the file at ``path``; a reader sees the old or the new."""
    draft = path.with_name(f"{path.name}.draft")
    draft.write_bytes(msgspec.json.encode(progress))
    draft.replace(path)


def is_alive(path: Path, now: float) -> bool:
    """Whether the engine has renewed the file at ``path`` lately."""
    try:
        return now - path.stat().st_mtime < STALE_SECONDS
    except FileNotFoundError:
        return False


class Changing(Generic[Content]):
    """What ``read`` makes of a file, made again when the file has changed."""

    def __init__(self, path: Path, read: Callable[[Path], Content]) -> None:
        self._path = path
        self._read = read
        self._read_at = 0
        self._content: Content | None = None

    def get(self) -> Content | None:
        """What the file holds; None where there is none."""
        try:
            changed_at = self._path.stat().st_mtime_ns
            if changed_at != self._read_at:
                self._content = self._read(self._path)
                self._read_at = changed_at
        except FileNotFoundError:
            return None
        return self._content


class ProgressFile:
    """The engine's last word on its batches."""

    def __init__(self, path: Path) -> None:
        self._told = Changing(path, lambda path: read_progress(path.read_bytes()))

    def of(self, batch_id: str) -> Progress | None:
        """How a batch is getting on; None where the engine has not said."""
        told = self._told.get()
        return None if told is None else told.get(batch_id)
