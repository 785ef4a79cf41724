"""The engine, made from settings. Nothing of the API is imported: it would cost memory."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from shutil import disk_usage

from batchmill.cluster.local import LocalCluster
from batchmill.config import ModelSettings, Settings, UpstreamSettings
from batchmill.domain.catalog import TEST_MODEL
from batchmill.domain.limits import Profile
from batchmill.domain.lines import LineRules
from batchmill.domain.retry import RetryPolicy
from batchmill.engine.delivery import Deliverer
from batchmill.engine.dispatcher import Dispatcher
from batchmill.engine.engine import Beat, Engine
from batchmill.engine.lane import Lane, Upstream
from batchmill.engine.notices import Notices
from batchmill.engine.planning import Planner, ShardSize
from batchmill.engine.prices import PriceBook
from batchmill.engine.purse import Treasury
from batchmill.engine.sweep import Sweeper
from batchmill.engine.worker import LocalWorker
from batchmill.ports import Clock, Transport
from batchmill.telemetry import EngineMetrics, engine_metrics, write_snapshot
from batchmill.upstream.builtin import TestModel
from batchmill.upstream.http import HttpTransport
from batchmill.upstream.smollm2 import SLOTS, SmolLm2, find_weights
from batchmill.webhooks import Sender
from batchmill.wiring.parts import Parts, Paths
from batchmill.wiring.signs import write_progress
from batchmill.wiring.upstreams import ANY_MODEL, make_target

_TEST_SLOTS = 64
_REPORT_SECONDS = 0.5
_SNAPSHOT_SECONDS = 1.0
_SWEEP_SECONDS = 60.0
_NOTICES_SECONDS = 1.0
_BACKLOG_SECONDS = 5.0
_STREAM_KEYS = frozenset({"stream", "stream_options"})


class Lanes:
    """The lanes of the served models, each made when the first line asks for it."""

    def __init__(self, settings: Settings, clock: Clock, metrics: EngineMetrics) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._models = {model.name: model for model in settings.models}
        self._lanes: dict[str, Lane] = {}

    def of(self, model: str) -> Lane:
        """The lane of ``model``; models that are not listed share one."""
        name = model if model in self._models or model == TEST_MODEL else ANY_MODEL
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = self._make(name)
        return lane

    def observe(self) -> None:
        """Bring the gauges up to date."""
        for lane in self._lanes.values():
            lane.observe()

    async def close(self) -> None:
        """Close every lane and its connections."""
        for lane in self._lanes.values():
            await lane.close()

    def _make(self, name: str) -> Lane:
        engine = self._settings.engine
        return Lane(
            name,
            self._upstreams(name),
            policy=RetryPolicy(
                max_attempts=engine.max_attempts,
                max_rejections=engine.max_rejections,
                backoff_base=engine.backoff_base,
                backoff_cap=engine.backoff_cap,
            ),
            clock=self._clock,
            jitter=random.random,
            metrics=self._metrics,
        )

    def _upstreams(self, name: str) -> list[Upstream]:
        drop = _STREAM_KEYS if self._settings.profile is Profile.QWEN else frozenset()
        if name == TEST_MODEL:
            return [Upstream("test", TestModel(), max_in_flight=_TEST_SLOTS)]
        model = self._models.get(name)
        if model is None:
            return []
        if model.builtin is not None:
            return [Upstream(model.name, _builtin(model), max_in_flight=SLOTS, drop=drop)]
        return [_upstream(one, drop) for one in model.upstreams]


def _builtin(model: ModelSettings) -> Transport:
    weights = find_weights()
    if weights is None:
        raise RuntimeError(f"the files of the built-in model {model.name} are gone")
    return SmolLm2(weights)


def _upstream(settings: UpstreamSettings, drop: frozenset[str]) -> Upstream:
    return Upstream(
        settings.url,
        HttpTransport(make_target(settings)),
        max_in_flight=settings.max_in_flight,
        weight=settings.weight,
        model=settings.model,
        drop=drop,
    )


@asynccontextmanager
async def open_engine(settings: Settings, parts: Parts) -> AsyncIterator[Engine]:
    """An engine over ``parts``, ready to run; its lanes are closed at the end."""
    metrics = engine_metrics()
    lanes = Lanes(settings, parts.clock, metrics)
    treasury = Treasury(caps=parts.store.caps, ledger=parts.store.ledger, clock=parts.clock)
    worker = _worker(settings, parts, lanes.of, treasury, metrics)
    notices = _notices(settings, parts, metrics)
    sweeper = Sweeper(
        store=parts.store, blobs=parts.blobs, journal=parts.journal, clock=parts.clock
    )
    paths = Paths(settings.data.dir)
    dispatcher = _dispatcher(settings, parts, worker, treasury)

    async def tell() -> None:
        lanes.observe()
        worker.observe()
        dispatcher.observe(metrics)
        treasury.observe(metrics.money)
        parts.journal.observe(metrics.journal)
        await asyncio.to_thread(write_progress, dispatcher.progress(), paths.progress)
        await asyncio.to_thread(_leave_snapshot, metrics, paths, parts.clock.now())

    async def sweep() -> None:
        await parts.blobs.sweep_partials()
        await sweeper.sweep()

    beats = (
        Beat(_REPORT_SECONDS, worker.report),
        Beat(_SNAPSHOT_SECONDS, tell),
        Beat(_SWEEP_SECONDS, sweep),
        # Runs until it is cancelled; the beat starts it again after what the store raised.
        Beat(_NOTICES_SECONDS, notices.run),
        Beat(_BACKLOG_SECONDS, partial(notices.observe, metrics.webhooks)),
    )
    try:
        yield Engine(dispatcher, beats, parts.clock)
    finally:
        await lanes.close()


def _leave_snapshot(metrics: EngineMetrics, paths: Paths, now: float) -> None:
    metrics.journal.storage_free_bytes.set(disk_usage(paths.root).free)
    write_snapshot(metrics, paths.snapshot, now=now)


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


def _worker(
    settings: Settings,
    parts: Parts,
    lane_of: Callable[[str], Lane],
    treasury: Treasury,
    metrics: EngineMetrics,
) -> LocalWorker:
    return LocalWorker(
        blobs=parts.blobs,
        journal=parts.journal,
        shards=parts.store.shards,
        treasury=treasury,
        lane_of=lane_of,
        max_bytes_in_flight=settings.engine.max_bytes_in_flight,
        clock=parts.clock,
        max_line_bytes=settings.limits.max_line_bytes,
        metrics=metrics,
    )


def _dispatcher(
    settings: Settings, parts: Parts, worker: LocalWorker, treasury: Treasury
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
        shard_size=ShardSize(settings.engine.shard_lines, settings.engine.shard_bytes),
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
        cluster=LocalCluster(worker),
        planner=planner,
        deliverer=deliverer,
        prices=prices,
        treasury=treasury,
        clock=parts.clock,
        poll_interval=settings.engine.poll_interval,
        cancel_grace=settings.engine.cancel_grace,
        allowances=settings.allowances(),
    )
