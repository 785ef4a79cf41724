"""The application: every router under both base paths, behind the gate.

Its routes stand side by side: to look through included routers for the one of a request would
take the framework a third of a millisecond more.

Nothing of the framework's own answers is left: its pages are off, its
redirects are off, its refusals are translated in ``errors``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Protocol

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from batchmill.api.admin import AdminRoutes
from batchmill.api.batches import BatchRoutes
from batchmill.api.caps import CapRoutes
from batchmill.api.description import DescriptionRoutes
from batchmill.api.docs import describe
from batchmill.api.doorkeeper import Admit
from batchmill.api.errors import on_bad_query, on_domain_error, on_http_error
from batchmill.api.estimates import EstimateRoutes
from batchmill.api.files import FileRoutes
from batchmill.api.gate import Gate, Observer
from batchmill.api.health import HealthRoutes, Probes
from batchmill.api.hosts import HostRule
from batchmill.api.identity import Doorkeeper, identify_anyone
from batchmill.api.models import ModelRoutes
from batchmill.api.results import ResultRoutes
from batchmill.api.routes import BASES
from batchmill.api.uploads import UploadRoutes
from batchmill.api.usage import UsageRoutes
from batchmill.api.webhooks import WebhookRoutes
from batchmill.domain.errors import BatchmillError
from batchmill.domain.limits import Limits
from batchmill.door.bodies import Patience
from batchmill.service.services import Services


@dataclass(frozen=True, slots=True)
class Door:
    """How the door behaves. ``allowed_hosts`` are names besides the loopback ones."""

    limits: Limits = field(default_factory=Limits)
    zone: tzinfo = UTC
    allowed_hosts: tuple[str, ...] = ()
    patience: Patience = field(default_factory=Patience)
    observe: Observer = lambda _served: None
    admit: Admit = field(default_factory=lambda: Doorkeeper(identify_anyone))


def create_app(services: Services, probes: Probes, door: Door) -> FastAPI:
    """The application, ready to be served."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.admit = door.admit
    parts = _parts(services, door)
    app.router.routes += _routes(parts, BASES[0], is_described=True)
    app.router.routes += _routes(parts, BASES[1], is_described=False)
    app.router.routes += HealthRoutes(probes).router().routes
    app.router.routes += DescriptionRoutes(lambda: describe(app)).router().routes
    app.add_exception_handler(BatchmillError, on_domain_error)
    app.add_exception_handler(RequestValidationError, on_bad_query)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_middleware(Gate, hosts=HostRule(door.allowed_hosts), observe=door.observe)
    return app


class _Part(Protocol):
    def router(self, base: str) -> APIRouter: ...


def _routes(parts: Sequence[_Part], base: str, *, is_described: bool) -> list[BaseRoute]:
    routes = [route for part in parts for route in part.router(base).routes]
    for route in routes:
        if isinstance(route, APIRoute) and not is_described:
            route.include_in_schema = False
    return routes


def _parts(services: Services, door: Door) -> list[_Part]:
    limits, zone, patience = door.limits, door.zone, door.patience
    return [
        FileRoutes(services.files, limits=limits, zone=zone, patience=patience),
        UploadRoutes(services.uploads, limits=limits, patience=patience),
        ResultRoutes(services.results),
        BatchRoutes(services.batches, zone=zone, patience=patience),
        EstimateRoutes(services.estimates, patience=patience),
        ModelRoutes(services.models),
        AdminRoutes(services.admin, patience=patience),
        UsageRoutes(services.accounting),
        CapRoutes(services.accounting.caps, patience=patience),
        WebhookRoutes(services.webhooks, patience=patience),
    ]
