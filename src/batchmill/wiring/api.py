"""The application, made from settings: services over the parts, and the doors in front of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from fastapi import FastAPI

from batchmill.api.app import Door, create_app
from batchmill.api.gate import Served
from batchmill.api.health import Probes
from batchmill.api.hosts import ANY
from batchmill.api.identity import Doorkeeper, identify_anyone
from batchmill.api.throttle import slowed_by
from batchmill.config import Settings
from batchmill.door.bodies import Patience
from batchmill.service.accounting import make_accounting
from batchmill.service.administration import make_administration
from batchmill.service.batches import Batches, Rules
from batchmill.service.course import Course
from batchmill.service.error_groups import ErrorGroups
from batchmill.service.estimates import Estimates
from batchmill.service.files import Files
from batchmill.service.identity import Identity
from batchmill.service.lines import Lines
from batchmill.service.model_board import ModelBoard, Offer
from batchmill.service.models import Models
from batchmill.service.reruns import Reruns
from batchmill.service.results import Results
from batchmill.service.services import Services
from batchmill.service.throttle import Throttle
from batchmill.service.uploads import Uploads
from batchmill.service.webhooks import Webhooks
from batchmill.telemetry import HttpMetrics, http_metrics, merge_expositions, render
from batchmill.upstream.tokenizer import Tokenizer
from batchmill.webhooks import Sender
from batchmill.wiring.console import add_console, shared_secret
from batchmill.wiring.parts import Parts
from batchmill.wiring.ringing import Ringer
from batchmill.wiring.sight import Sight, sight_of
from batchmill.wiring.upstream_signs import backings_of, concurrency_in
from batchmill.wiring.upstreams import UpstreamCounter


@asynccontextmanager
async def open_app(
    settings: Settings, parts: Parts, wake: Callable[[], None]
) -> AsyncIterator[FastAPI]:
    """The application of ``settings``, and what goes on beside it while it is served.

    ``wake`` tells the engine of this machine to look at the store; those of
    others hear of it by the store's bell.
    """
    is_shared = settings.data.is_shared
    sight = sight_of(settings, parts)
    secret = await shared_secret(parts.store.secrets) if is_shared else None
    ringer = Ringer(wake, parts.store.bell)
    following = asyncio.create_task(sight.follow())
    try:
        yield make_app(settings, parts, ringer if is_shared else wake, Shared(sight, secret))
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await ringer.close()


@dataclass(frozen=True, slots=True)
class Shared:
    """What the processes of a server share: sight of the engine, and the secret of sessions.

    Without a secret it is kept in the data folder.
    """

    sight: Sight
    secret: bytes | None = None


def make_app(
    settings: Settings,
    parts: Parts,
    wake: Callable[[], None],
    shared: Shared | None = None,
) -> FastAPI:
    """The application of ``settings``; ``wake`` tells the engine to look at the store."""
    metrics = http_metrics()
    shared = shared or Shared(sight_of(settings, parts))
    sight = shared.sight
    probes = Probes(
        ping_store=parts.store.ping,
        engine_lives=sight.engine_lives,
        metrics=lambda: merge_expositions((render(metrics.registry), sight.metrics())),
    )
    door = Door(
        limits=settings.to_limits(),
        zone=settings.timezone(),
        allowed_hosts=_allowed_hosts(settings),
        patience=Patience(settings.server.upload_idle_timeout),
        observe=partial(_observe, metrics),
        admit=_doorkeeper(settings, parts),
    )
    services = _services(settings, parts, wake, sight)
    app = create_app(services, probes, door)
    if settings.console.enabled:
        add_console(app, settings, parts, services, shared.secret)
    return app


def _allowed_hosts(settings: Settings) -> tuple[str, ...]:
    # A page of another site has no key: where one is needed, names and origins need no check.
    return (ANY,) if settings.needs_keys else settings.server.allowed_hosts


def _doorkeeper(settings: Settings, parts: Parts) -> Doorkeeper:
    throttle = Throttle(settings.to_rates(), parts.store.rates, parts.clock)
    identity = Identity(store=parts.store, clock=parts.clock)
    identify = identity.identify if settings.needs_keys else identify_anyone
    return Doorkeeper(identify, slowed_by(throttle))


def _services(settings: Settings, parts: Parts, wake: Callable[[], None], sight: Sight) -> Services:
    limits = settings.to_limits()
    progress = sight.progress
    rules = Rules(
        catalog=settings.catalog(),
        limits=limits,
        profile=settings.profile,
        prices=parts.prices,
        allow_private_callbacks=settings.webhooks.allow_private,
    )
    store, blobs, clock = parts.store, parts.blobs, parts.clock
    files = Files(store=store.files, blobs=blobs, clock=clock, limits=limits)
    journal = parts.journal
    return Services(
        files=files,
        uploads=Uploads(store=store, blobs=blobs, clock=clock, limits=limits),
        batches=Batches(
            store=store,
            clock=clock,
            rules=rules,
            wake=wake,
            progress=progress,
            concurrency=lambda model: concurrency_in(sight.figures(), model),
        ),
        results=Results(store=store, blobs=blobs, journal=journal, limits=limits),
        lines=Lines(store=store, blobs=blobs, journal=journal, clock=clock),
        error_groups=ErrorGroups(store=store, blobs=blobs, journal=journal, clock=clock),
        reruns=Reruns(store=store, blobs=blobs, clock=clock, files=files, limits=limits),
        course=Course(store=store),
        models=Models(settings.catalog(), created=int(clock.now())),
        board=_board(settings, parts, sight),
        admin=make_administration(store, clock),
        accounting=make_accounting(store, clock, parts.prices),
        estimates=Estimates(
            store=store,
            blobs=blobs,
            clock=clock,
            rules=rules,
            mixed_models=settings.mixed_models,
            count_tokens=UpstreamCounter(settings.models, Tokenizer(clock.now)),
            progress=progress,
        ),
        webhooks=_webhooks(settings, parts),
    )


def _board(settings: Settings, parts: Parts, sight: Sight) -> ModelBoard:
    return ModelBoard(
        offer=Offer(settings.catalog(), parts.prices, backings_of(settings)),
        batches=parts.store.batches,
        clock=parts.clock,
        figures=sight.figures,
        progress=sight.progress,
    )


def _webhooks(settings: Settings, parts: Parts) -> Webhooks:
    rules = settings.webhooks
    return Webhooks(
        store=parts.store.webhooks,
        postman=Sender(timeout=rules.timeout, allow_private=rules.allow_private),
        clock=parts.clock,
        allow_private=rules.allow_private,
    )


def _observe(metrics: HttpMetrics, served: Served) -> None:
    metrics.requests.labels(served.method, served.route, str(served.status)).inc()
    metrics.request_seconds.labels(served.route).observe(served.seconds)
    metrics.received_bytes.labels(served.route).inc(served.received)
    metrics.sent_bytes.labels(served.route).inc(served.sent)
    if served.refused_by is not None:
        metrics.rate_limited.labels(served.refused_by).inc()
