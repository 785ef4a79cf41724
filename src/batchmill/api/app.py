"""The application: every router under both base paths, behind the gate.

Nothing of the framework's own answers is left: its pages are off, its
redirects are off, its refusals are translated in ``errors``.
"""

from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

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
from batchmill.api.uploads import UploadRoutes
from batchmill.api.usage import UsageRoutes
from batchmill.api.webhooks import WebhookRoutes
from batchmill.domain.errors import BatchmillError
from batchmill.domain.limits import Limits
from batchmill.door.bodies import Patience
from batchmill.service.services import Services

BASES: Final = ("/v1", "/compatible-mode/v1")


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
    for router in _routers(services, door):
        app.include_router(router, prefix=BASES[0])
        app.include_router(router, prefix=BASES[1], include_in_schema=False)
    app.include_router(HealthRoutes(probes).router())
    app.include_router(DescriptionRoutes(lambda: describe(app)).router())
    app.add_exception_handler(BatchmillError, on_domain_error)
    app.add_exception_handler(RequestValidationError, on_bad_query)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_middleware(Gate, hosts=HostRule(door.allowed_hosts), observe=door.observe)
    return app


def _routers(services: Services, door: Door) -> list[APIRouter]:
    limits, zone, patience = door.limits, door.zone, door.patience
    return [
        FileRoutes(services.files, limits=limits, zone=zone, patience=patience).router(),
        UploadRoutes(services.uploads, limits=limits, patience=patience).router(),
        ResultRoutes(services.results).router(),
        BatchRoutes(services.batches, zone=zone, patience=patience).router(),
        EstimateRoutes(services.estimates, patience=patience).router(),
        ModelRoutes(services.models).router(),
        AdminRoutes(services.admin, patience=patience).router(),
        UsageRoutes(services.accounting).router(),
        CapRoutes(services.accounting.caps, patience=patience).router(),
        WebhookRoutes(services.webhooks, patience=patience).router(),
    ]
