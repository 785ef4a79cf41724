"""What a process of the API sees of the engine, wherever that runs.

Its readers do not wait: files are read when they have changed, rows are kept in
memory and renewed beside (see ``Sight.follow``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from batchmill.config import Settings
from batchmill.domain.errors import BatchmillError
from batchmill.ports import Clock, Progress, Sign, SignStore
from batchmill.service.model_board import UpstreamFigures
from batchmill.telemetry import (
    Fact,
    get_logger,
    label_exposition,
    merge_expositions,
    read_snapshot,
)
from batchmill.wiring.parts import Parts, Paths
from batchmill.wiring.signs import (
    METRICS,
    PROGRESS,
    STALE_SECONDS,
    WORKERS,
    ProgressFile,
    is_alive,
    read_progress,
    unpack,
)
from batchmill.wiring.upstream_signs import Named, UpstreamFile, figures_in

log = get_logger()

_RENEW_SECONDS: Final = 1.0


class Sight(Protocol):
    """The engine's last words, as far as they are known here."""

    def progress(self, batch_id: str) -> Progress | None:
        """How a batch is getting on; None where the engine has not said."""
        ...

    def engine_lives(self) -> bool:
        """Whether the engine has said anything lately."""
        ...

    def figures(self) -> Mapping[Named, UpstreamFigures] | None:
        """Every upstream that the engine has used; None where it is down."""
        ...

    def metrics(self) -> bytes:
        """The figures of the engine and of its workers, as one exposition."""
        ...

    async def follow(self) -> None:
        """Keep all this up to date; goes on until it is cancelled."""
        ...


def sight_of(settings: Settings, parts: Parts) -> Sight:
    """What is seen, for the settings in force."""
    if settings.data.is_shared:
        return RowSight(parts.store.signs, parts.clock)
    return FileSight(Paths(settings.data.dir), parts.clock)


class FileSight:
    """The engine of this machine, by the files that it leaves."""

    def __init__(self, paths: Paths, clock: Clock) -> None:
        self._paths = paths
        self._clock = clock
        self.progress = ProgressFile(paths.progress).of
        self.figures = UpstreamFile(paths.snapshot, clock.now)

    def engine_lives(self) -> bool:
        """Whether it has renewed its file lately."""
        return is_alive(self._paths.progress, self._clock.now())

    def metrics(self) -> bytes:
        """The snapshot that it left."""
        return read_snapshot(self._paths.snapshot)

    async def follow(self) -> None:
        """Nothing to do: a file is read when it is asked for."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A sign, and when this process saw it first: the clocks of machines differ."""

    sign: Sign
    at: float


class RowSight:
    """The engine and its workers on whatever machine, by the rows that they leave."""

    def __init__(self, signs: SignStore, clock: Clock) -> None:
        self._signs = signs
        self._clock = clock
        self._seen: Mapping[str, _Seen] = {}
        self._progress: Mapping[str, Progress] = {}
        self._figures: Mapping[Named, UpstreamFigures] | None = None

    def progress(self, batch_id: str) -> Progress | None:
        """How a batch is getting on; None where the engine has not said."""
        return self._progress.get(batch_id)

    def engine_lives(self) -> bool:
        """Whether the engine that leads has said anything lately."""
        return self._is_fresh(PROGRESS)

    def figures(self) -> Mapping[Named, UpstreamFigures] | None:
        """Every upstream that any worker has used, summed over them."""
        if not self._is_fresh(METRICS):
            return None
        if self._figures is None:
            self._figures = figures_in(self.metrics())
        return self._figures

    def metrics(self) -> bytes:
        """The engine's figures, and with a label each those of the workers that live."""
        seen = self._seen
        own = [unpack(seen[METRICS].sign.body)] if METRICS in seen else []
        workers = [name for name in seen if name.startswith(WORKERS) and self._is_fresh(name)]
        labelled = [
            label_exposition(unpack(seen[name].sign.body), "worker", _worker(name))
            for name in sorted(workers)
        ]
        return merge_expositions(own, labelled)

    async def follow(self) -> None:
        """Read the rows every second; a database that is away is told of once."""
        is_away = False
        while True:
            try:
                await self.renew()
                is_away = False
            except BatchmillError as error:
                if not is_away:
                    log.warning(Fact.BEAT_FAILED, reason=type(error).__name__)
                is_away = True
            await self._clock.sleep(_RENEW_SECONDS)

    async def renew(self) -> None:
        """Read the rows; raises what the store raises."""
        now = self._clock.now()
        before = self._seen
        self._seen = {
            sign.name: _seen(before.get(sign.name), sign, now)
            for sign in await self._signs.list("")
        }
        self._figures = None
        told = self._seen.get(PROGRESS)
        if told is None:
            self._progress = {}
        elif told is not before.get(PROGRESS):
            self._progress = read_progress(unpack(told.sign.body))

    def _is_fresh(self, name: str) -> bool:
        seen = self._seen.get(name)
        return seen is not None and self._clock.now() - seen.at < STALE_SECONDS


def _seen(before: _Seen | None, sign: Sign, now: float) -> _Seen:
    if before is None:
        return _Seen(sign, sign.at)
    return before if before.sign == sign else _Seen(sign, now)


def _worker(name: str) -> str:
    return name.removeprefix(WORKERS).removesuffix(".metrics")
