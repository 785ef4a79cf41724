"""The console as an application: its pages, its assets, and what stands where nothing is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from batchmill.console.assets import Assets
from batchmill.console.cookies import theme_of
from batchmill.console.entry import page
from batchmill.console.pages.batch import BatchPages
from batchmill.console.pages.batches import BatchesPages
from batchmill.console.pages.create import CreatePages
from batchmill.console.pages.files import FilesPages
from batchmill.console.pages.lines import LinesPages
from batchmill.console.pages.models import ModelsPages
from batchmill.console.pages.monitoring import MonitoringPages
from batchmill.console.pages.settings_accounts import SettingsAccountsPages
from batchmill.console.pages.settings_audit import SettingsAuditPages
from batchmill.console.pages.settings_keys import SettingsKeysPages
from batchmill.console.pages.settings_webhooks import SettingsWebhooksPages
from batchmill.console.pages.settings_workspaces import SettingsWorkspacesPages
from batchmill.console.pages.sign_in import SignInPages
from batchmill.console.pages.spending import SpendingPages
from batchmill.console.pages.spending_limits import SpendingLimitPages
from batchmill.console.pages.tools import ToolsPages
from batchmill.console.templating import Templates
from batchmill.console.transfer.upload import UploadActions
from batchmill.console.visit import HEADERS, Desk, Visit
from batchmill.domain.errors import NotFound
from batchmill.domain.limits import Limits
from batchmill.door.bodies import Patience
from batchmill.ports import Clock
from batchmill.service.services import Services
from batchmill.service.sessions import Sessions
from batchmill.service.throttle import Throttle

BASE: Final = "/console"


class Pages(Protocol):
    """The pages of one subject."""

    def routes(self) -> Sequence[BaseRoute]:
        """The pages and actions, below the console's base."""
        ...


@dataclass(frozen=True, slots=True)
class Fittings:
    """How the console behaves. ``zone`` is what times are shown in until a browser says its own.

    ``scratch`` is the folder for what lies on the disk only until it is fetched; None is the
    system's, which may be memory.
    """

    sessions: Sessions
    throttle: Throttle
    clock: Clock
    limits: Limits = field(default_factory=Limits)
    zone: tzinfo = UTC
    patience: Patience = field(default_factory=Patience)
    scratch: Path | None = None


def create_console(services: Services, fittings: Fittings) -> Starlette:
    """The application, to be mounted at ``BASE``."""
    assets, templates = _furnishings()
    desk = Desk(
        templates=templates,
        sessions=fittings.sessions,
        throttle=fittings.throttle,
        clock=fittings.clock,
        zone=fittings.zone,
        base=BASE,
        patience=fittings.patience,
    )
    routes: list[BaseRoute] = [
        Route("/", _to_batches, methods=["GET"]),
        Route("/static/{name:path}", assets.serve, methods=["GET"]),
    ]
    for pages in _pages(services, fittings):
        routes += pages.routes()
    app = Starlette(routes=[*routes, page("/{rest:path}", _nothing_here)])
    app.router.redirect_slashes = False
    app.state.desk = desk
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_surprise)
    return app


@cache
def _furnishings() -> tuple[Assets, Templates]:
    """What every console of this process shows alike: read and compiled once."""
    assets = Assets(BASE)
    return assets, Templates(assets, BASE)


def _pages(services: Services, fittings: Fittings) -> Sequence[Pages]:
    return [
        SignInPages(),
        BatchesPages(services, limits=fittings.limits),
        FilesPages(services, limits=fittings.limits),
        MonitoringPages(services),
        SpendingPages(services),
        SpendingLimitPages(services),
        UploadActions(services, limits=fittings.limits),
        CreatePages(services, limits=fittings.limits),  # before any page of /batches/{id}
        BatchPages(services),
        LinesPages(services),
        ModelsPages(services),
        ToolsPages(services, limits=fittings.limits, scratch=fittings.scratch),
        SettingsKeysPages(services),
        SettingsWorkspacesPages(services),
        SettingsAccountsPages(services),
        SettingsWebhooksPages(services),
        SettingsAuditPages(services),
    ]


async def _to_batches(_request: Request) -> Response:
    return RedirectResponse(f"{BASE}/batches", 303)


async def _nothing_here(_visit: Visit) -> Response:
    raise NotFound("There is no page at this address.")


async def _on_surprise(request: Request, _error: Exception) -> Response:
    """A page for an error that nobody foresaw; it goes on to where such errors are logged."""
    desk: Desk = request.app.state.desk
    context = {"theme": theme_of(request), "request_id": request.state.request_id}
    html = desk.templates.page("surprise.html", context)
    return HTMLResponse(html, 500, headers=dict(HEADERS))


async def _on_http_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return Response(f"This address does not answer so ({status}).", status)
