"""The lanes of the served models, made from settings; and what of them a cluster shares."""

import math
import random
from collections import Counter
from collections.abc import Callable, Container, Mapping

from batchmill.config import ClusterKind, ModelSettings, Settings, UpstreamSettings
from batchmill.domain.catalog import ANY_MODEL, TEST_MODEL
from batchmill.domain.limits import Profile
from batchmill.domain.lines import STREAM_KEYS
from batchmill.domain.pacing import BEGIN, TOP
from batchmill.domain.retry import RetryPolicy
from batchmill.domain.shards import lines_for
from batchmill.domain.sharing import Outlet, outlets
from batchmill.engine.lane import Lane
from batchmill.engine.upstream import Upstream
from batchmill.ports import Clock, Transport
from batchmill.telemetry import EngineMetrics
from batchmill.upstream.awaited import AwaitedTransport
from batchmill.upstream.builtin import TestModel
from batchmill.upstream.smollm2 import SLOTS, SmolLm2, find_weights
from batchmill.upstream.transports import open_transport
from batchmill.wiring.upstreams import check_upstreams, make_target

_TEST_SLOTS = 64
# When a batch is planned it is not known how many workers of a cluster will share the slots.
_WORKERS = {ClusterKind.LOCAL: 1, ClusterKind.RAY: 4}


class Lanes:
    """The lanes of the served models, each made when the first line asks for it.

    Raises ConfigError for an upstream's certificate or transport that cannot be used.
    """

    def __init__(self, settings: Settings, clock: Clock, metrics: EngineMetrics) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        check_upstreams(settings.models)
        self._models = {model.name: model for model in settings.models}
        self._lanes: dict[str, Lane] = {}

    def of(self, model: str) -> Lane:
        """The lane of ``model``."""
        name = lane_name(self._models, model)
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
        drop = STREAM_KEYS if self._settings.profile is Profile.QWEN else frozenset()
        here = self._settings.data.region or ""
        if name == TEST_MODEL:
            return [_within("test", AwaitedTransport(TestModel()), _TEST_SLOTS, here)]
        model = self._models.get(name)
        if model is None:
            return []
        if model.builtin is None:
            return [_upstream(one, drop) for one in model.allowed_upstreams()]
        if not model.may_compute(here):
            return []
        return [_within(model.name, _builtin(model), SLOTS, here, drop)]


def _builtin(model: ModelSettings) -> Transport:
    weights = find_weights()
    if weights is None:
        raise RuntimeError(f"the files of the built-in model {model.name} are gone")
    return AwaitedTransport(SmolLm2(weights))


def _upstream(settings: UpstreamSettings, drop: frozenset[str]) -> Upstream:
    return Upstream(
        settings.url,
        open_transport(make_target(settings)),
        max_in_flight=settings.max_in_flight,
        weight=settings.weight,
        model=settings.model,
        drop=drop,
        region=settings.region or "",
        patience=min(settings.request_timeout, settings.first_byte_timeout or math.inf),
    )


def _within(
    name: str, transport: Transport, slots: int, region: str, drop: frozenset[str] = frozenset()
) -> Upstream:
    """A model that computes in the worker's own process: each of them has its slots."""
    return Upstream(name, transport, max_in_flight=slots, drop=drop, region=region, is_shared=False)


def lane_name(listed: Container[str], model: str) -> str:
    """The lane that lines of ``model`` go to; models that are not listed share one."""
    return model if model in listed or model == TEST_MODEL else ANY_MODEL


def shared_caps(settings: Settings, unset: int = TOP) -> Mapping[Outlet, int]:
    """The slots of each upstream that all workers share, as their lanes name them.

    ``unset`` is how many those have whose answers tell how many they can use.
    """
    return {outlet: one.max_in_flight or unset for outlet, one in _shared(settings).items()}


def tuned_outlets(settings: Settings) -> frozenset[Outlet]:
    """Those whose answers tell how many they can use."""
    shared = _shared(settings)
    return frozenset(outlet for outlet, one in shared.items() if one.max_in_flight is None)


def _shared(settings: Settings) -> Mapping[Outlet, UpstreamSettings]:
    found: dict[Outlet, UpstreamSettings] = {}
    for model in settings.models:
        upstreams = model.allowed_upstreams() if model.builtin is None else ()
        found |= zip(outlets(model.name, [one.url for one in upstreams]), upstreams, strict=True)
    return found


def own_slots(settings: Settings) -> Mapping[str, int]:
    """The slots that each worker has by itself, by lane."""
    return {TEST_MODEL: _TEST_SLOTS} | {
        model.name: SLOTS
        for model in settings.models
        if model.builtin is not None and model.may_compute(settings.data.region)
    }


def shard_lines(settings: Settings) -> Callable[[str], int]:
    """How many lines a shard may have at most, by its model: the more, the more slots it has."""
    listed, most = frozenset(model.name for model in settings.models), settings.engine.shard_lines
    slots = Counter(own_slots(settings))
    for outlet, cap in shared_caps(settings, unset=BEGIN).items():
        slots[outlet.model] += cap
    workers = _WORKERS[settings.cluster.kind]
    sizes = {lane: lines_for(count // workers, most) for lane, count in slots.items()}
    return lambda model: sizes.get(lane_name(listed, model), lines_for(0, most))
