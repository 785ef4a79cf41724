"""The entry: who comes, whether they may, whether it is truly they who act; and what went wrong.

Every page and every action passes here first. An action must carry the token
of its session and come from a page of this very host.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from batchmill.console import cookies
from batchmill.console.visit import HEADERS, Desk, Visit
from batchmill.domain.errors import BatchmillError, Forbidden, RateLimited, Unidentified
from batchmill.domain.rates import RateRule
from batchmill.door.access import Access, require_access
from batchmill.door.statuses import STATUSES
from batchmill.service.sessions import Visitor

TOKEN_HEADER: Final = "x-form-token"  # noqa: S105 - the name of a header
SIGN_IN: Final = "/sign-in"

Handler = Callable[[Visit], Awaitable[Response]]


def page(path: str, handler: Handler, access: Access = Access.READ) -> Route:
    """A page that is looked at."""
    return Route(path, _entered(handler, access, is_action=False), methods=["GET"])


def action(
    path: str, handler: Handler, access: Access = Access.WRITE, *, rate: RateRule | None = None
) -> Route:
    """Something that is done; ``rate`` counts it with the requests of clients that do the same."""
    return Route(path, _entered(handler, access, is_action=True, rate=rate), methods=["POST"])


def _entered(
    handler: Handler, access: Access, *, is_action: bool, rate: RateRule | None = None
) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        desk: Desk = request.app.state.desk
        try:
            visitor = await desk.sessions.resume(cookies.ticket_of(request))
        except Unidentified:
            return to_sign_in(request, desk)
        visit = Visit(request, visitor, desk)
        try:
            if is_action:
                require_own_page(request)
                _require_token(request, desk, visitor)
            require_access(visitor.caller, access)
            if rate is not None:
                await desk.throttle.admit(visitor.caller, rate)
            return await handler(visit)
        except BatchmillError as error:
            return show_error(visit, error)

    return serve


def to_sign_in(request: Request, desk: Desk) -> Response:
    """To the page where a session begins; from there back to where the visitor was."""
    parts = urlsplit(request.headers.get("hx-current-url") or str(request.url))
    wanted = parts.path + (f"?{parts.query}" if parts.query else "")
    address = f"{desk.base}{SIGN_IN}?next={quote(wanted, safe='')}"
    if request.headers.get("hx-request") == "true":
        return Response(status_code=401, headers={**HEADERS, "hx-redirect": address})
    if request.method != "GET":
        return Response("The session is over: sign in again.", 401, headers=dict(HEADERS))
    return RedirectResponse(address, 303, headers=dict(HEADERS))


def show_error(visit: Visit, error: BatchmillError) -> Response:
    """What went wrong, as a page, or as a message on the page that asked."""
    status = STATUSES.get(type(error), 500)
    is_part = visit.request.headers.get("hx-request") == "true"
    template = "message.html" if is_part else "error.html"
    response = visit.show(template, answered=status, message=error.message, status=status)
    if is_part:
        response.headers["hx-retarget"] = "#messages"
        response.headers["hx-reswap"] = "innerHTML show:#messages:top"
    if isinstance(error, RateLimited) and error.ruling.retry_after is not None:
        response.headers["retry-after"] = str(math.ceil(error.ruling.retry_after))
    return response


def require_own_page(request: Request) -> None:
    """Raise Forbidden for a request that another site's page sends."""
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc != host
    if foreign or request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
        raise Forbidden("This was sent by a page of another site, so it was not done.")


def _require_token(request: Request, desk: Desk, visitor: Visitor) -> None:
    """Raise Forbidden unless the request carries its session's own token."""
    token = request.headers.get(TOKEN_HEADER, "")
    if not desk.sessions.is_form_token(visitor.session, token):
        raise Forbidden("This page is of an earlier session: reload it, and try again.")
