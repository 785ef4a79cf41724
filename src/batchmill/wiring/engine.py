"""The engine, made from settings. Nothing of the API is imported: it would cost memory."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from shutil import disk_usage

from batchmill.cluster.local import LocalCluster
from batchmill.config import Settings
from batchmill.domain.lines import LineRules
from batchmill.engine.delivery import Deliverer
from batchmill.engine.dispatcher import Dispatcher
from batchmill.engine.engine import Beat, Engine
from batchmill.engine.granted import GrantedSlots
from batchmill.engine.lease import Lease
from batchmill.engine.notices import Notices
from batchmill.engine.planning import Planner, ShardSize
from batchmill.engine.prices import PriceBook
from batchmill.engine.purse import Purses, Treasury
from batchmill.engine.sweep import Sweeper
from batchmill.engine.worker import LocalWorker
from batchmill.ports import Cluster
from batchmill.telemetry import EngineMetrics, Fact, engine_metrics, get_logger
from batchmill.webhooks import Sender
from batchmill.wiring.lanes import Lanes, shard_lines
from batchmill.wiring.parts import Parts
from batchmill.wiring.signs import teller_of

log = get_logger()

_REPORT_SECONDS = 0.5
_SNAPSHOT_SECONDS = 1.0
_SWEEP_SECONDS = 60.0
_NOTICES_SECONDS = 1.0
_BACKLOG_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Station:
    """A worker with what it needs: its lanes, its figures, its beats."""

    worker: LocalWorker
    lanes: Lanes
    metrics: EngineMetrics
    slots: GrantedSlots | None = None

    @property
    def beats(self) -> Sequence[Beat]:
        """What is repeated beside its runs."""
        return (Beat(_REPORT_SECONDS, self.worker.report),)

    def observe(self) -> None:
        """Bring the figures of worker and lanes up to date."""
        self.lanes.observe()
        self.worker.observe()


@asynccontextmanager
async def open_engine(settings: Settings, parts: Parts) -> AsyncIterator[Engine]:
    """An engine over ``parts``, ready to run; its lanes are closed at the end."""
    metrics = engine_metrics()
    treasury = make_treasury(parts)
    async with open_station(settings, parts, treasury, metrics) as station:
        cluster = LocalCluster(station.worker)
        yield make_engine(settings, parts, cluster, treasury, metrics, station)


@asynccontextmanager
async def open_station(
    settings: Settings,
    parts: Parts,
    purses: Purses,
    metrics: EngineMetrics,
    *,
    process: str | None = None,
    linger: float = 0.0,
) -> AsyncIterator[Station]:
    """A worker over ``parts``; its lanes are closed at the end.

    Named as the ``process`` of a cluster it uses those slots alone that it is granted, on a lease
    that lapses ``linger`` seconds after it is out.
    """
    lanes = Lanes(settings, parts.clock, metrics)
    slots = GrantedSlots(process, lanes.of, Lease(linger)) if process is not None else None
    worker = LocalWorker(
        blobs=parts.blobs,
        journal=parts.journal,
        shards=parts.store.shards,
        treasury=purses,
        lane_of=lanes.of if slots is None else slots.lane_of,
        max_bytes_in_flight=settings.engine.max_bytes_in_flight,
        clock=parts.clock,
        max_line_bytes=settings.limits.max_line_bytes,
        metrics=metrics,
    )
    try:
        yield Station(worker, lanes, metrics, slots)
    finally:
        await lanes.close()


def make_treasury(parts: Parts) -> Treasury:
    """The purses of every batch."""
    return Treasury(caps=parts.store.caps, ledger=parts.store.ledger, clock=parts.clock)


def make_engine(
    settings: Settings,
    parts: Parts,
    cluster: Cluster,
    treasury: Treasury,
    metrics: EngineMetrics,
    station: Station | None = None,
    beats: Sequence[Beat] = (),
) -> Engine:
    """The dispatcher over ``cluster`` and what goes on beside it, ``beats`` included.

    ``station`` is the worker that lives in the same process, if one does.
    """
    for model in sorted(settings.barred_models()):
        log.warning(Fact.MODEL_BARRED, model=model)
    notices = _notices(settings, parts, metrics)
    sweeper = Sweeper(
        store=parts.store, blobs=parts.blobs, journal=parts.journal, clock=parts.clock
    )
    teller = teller_of(settings, parts)
    dispatcher = _dispatcher(settings, parts, cluster, treasury)

    async def tell() -> None:
        if station is not None:
            station.observe()
            await observe_storage(settings, parts, metrics)
        dispatcher.observe(metrics)
        treasury.observe(metrics.money)
        await teller.tell(dispatcher.progress(), metrics, parts.clock.now())

    async def sweep() -> None:
        await parts.blobs.sweep_partials()
        await sweeper.sweep()

    all_beats = (
        *beats,
        *(station.beats if station is not None else ()),
        Beat(_SNAPSHOT_SECONDS, tell),
        Beat(_SWEEP_SECONDS, sweep),
        # Runs until it is cancelled; the beat starts it again after what the store raised.
        Beat(_NOTICES_SECONDS, notices.run),
        Beat(_BACKLOG_SECONDS, partial(notices.observe, metrics.webhooks)),
    )
    return Engine(dispatcher, all_beats, parts.clock)


async def observe_storage(settings: Settings, parts: Parts, metrics: EngineMetrics) -> None:
    """Show what waits to be durable, and how much room is left."""
    parts.journal.observe(metrics.journal)
    free = (await asyncio.to_thread(disk_usage, settings.data.dir)).free
    metrics.journal.storage_free_bytes.set(free)


def _notices(settings: Settings, parts: Parts, metrics: EngineMetrics) -> Notices:
    rules, tries = settings.webhooks, metrics.webhooks.tries
    return Notices(
        outbox=parts.store.webhooks,
        postman=Sender(timeout=rules.timeout, allow_private=rules.allow_private),
        clock=parts.clock,
        jitter=random.random,
        give_up_after=rules.give_up_after,
        poll_interval=_NOTICES_SECONDS,
        tally=lambda outcome: tries.labels(outcome=outcome).inc(),
    )


def _dispatcher(
    settings: Settings, parts: Parts, cluster: Cluster, treasury: Treasury
) -> Dispatcher:
    prices = PriceBook(parts.store.prices)
    limits = settings.to_limits()
    rules = LineRules(
        endpoint="",
        catalog=settings.catalog(),
        profile=settings.profile,
        limits=limits,
        mixed_models=settings.mixed_models,
    )
    planner = Planner(
        store=parts.store,
        blobs=parts.blobs,
        clock=parts.clock,
        rules=rules,
        shard_size=ShardSize(shard_lines(settings), settings.engine.shard_bytes),
        prices=prices,
    )
    deliverer = Deliverer(
        store=parts.store,
        blobs=parts.blobs,
        journal=parts.journal,
        clock=parts.clock,
        prices=prices,
        treasury=treasury,
        max_line_bytes=limits.max_line_bytes,
    )
    return Dispatcher(
        store=parts.store,
        cluster=cluster,
        planner=planner,
        deliverer=deliverer,
        prices=prices,
        treasury=treasury,
        clock=parts.clock,
        poll_interval=settings.engine.poll_interval,
        cancel_grace=settings.engine.cancel_grace,
        allowances=settings.allowances(),
    )
