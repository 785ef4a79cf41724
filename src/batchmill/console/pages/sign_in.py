"""Signing in and out, and the workspace that a visitor acts in."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from batchmill.console import cookies
from batchmill.console.entry import SIGN_IN, action, require_own_page
from batchmill.console.visit import HEADERS, Desk, Visit, read_form
from batchmill.domain.errors import BatchmillError
from batchmill.door.access import Access
from batchmill.door.statuses import STATUSES

START = "/batches"


class SignInPages:
    """The pages before a session, and those that change one."""

    def routes(self) -> Sequence[BaseRoute]:
        """The pages and actions, below the console's base."""
        return [
            Route(SIGN_IN, self.ask, methods=["GET"]),
            Route(SIGN_IN, self.sign_in, methods=["POST"]),
            action("/sign-out", self.sign_out, Access.READ),
            action("/workspace", self.enter, Access.READ),
        ]

    async def ask(self, request: Request) -> Response:
        """The page that asks for a key; there is none to ask for on a server without keys."""
        desk: Desk = request.app.state.desk
        if not desk.sessions.needs_key:
            return RedirectResponse(desk.base + START, 303)
        return _ask(request, desk, back=request.query_params.get("next", ""))

    async def sign_in(self, request: Request) -> Response:
        """Begin a session."""
        desk: Desk = request.app.state.desk
        back = ""
        try:
            require_own_page(request)
            form = await read_form(request, desk.patience)
            back = form.value("next")
            address = request.client.host if request.client else ""
            ticket = await desk.sessions.sign_in(form.value("key"), address)
        except BatchmillError as error:
            status = STATUSES.get(type(error), 500)
            return _ask(request, desk, back=back, message=error.message, status=status)
        response = RedirectResponse(_inside(desk, back), 303, headers=dict(HEADERS))
        ttl = desk.sessions.ttl
        cookies.keep_ticket(response, request, ticket, path=desk.base, ttl=ttl)
        return response

    async def sign_out(self, visit: Visit) -> Response:
        """End the session in this browser."""
        response = visit.go(SIGN_IN)
        cookies.drop_ticket(response, path=visit.desk.base)
        return response

    async def enter(self, visit: Visit) -> Response:
        """Act in another workspace from here on."""
        workspace = (await visit.form()).value("workspace")
        desk = visit.desk
        ticket = await desk.sessions.enter(visit.visitor, workspace)
        response = visit.go(START)
        cookies.keep_ticket(response, visit.request, ticket, path=desk.base, ttl=desk.sessions.ttl)
        return response


def _ask(
    request: Request, desk: Desk, *, back: str, message: str | None = None, status: int = 200
) -> Response:
    context = {"back": back, "message": message, "theme": cookies.theme_of(request)}
    html = desk.templates.page("sign_in.html", context)
    return HTMLResponse(html, status, headers=dict(HEADERS))


def _inside(desk: Desk, back: str) -> str:
    """Where the visitor was, if that is a page of the console; else where it begins."""
    parts = urlsplit(back)
    is_ours = not parts.scheme and not parts.netloc and parts.path.startswith(f"{desk.base}/")
    return back if is_ours and "\\" not in back else desk.base + START
