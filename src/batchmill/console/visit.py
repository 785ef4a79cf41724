"""A visit: one request of one visitor, and the answers that a page can give."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs

from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from batchmill.console import cookies
from batchmill.console.templating import Templates
from batchmill.console.view import figures
from batchmill.domain.errors import TooLarge
from batchmill.door.access import Access, permits
from batchmill.door.bodies import Patience, stream_body
from batchmill.ports import Clock
from batchmill.service.caller import Caller
from batchmill.service.sessions import Sessions, Visitor
from batchmill.service.throttle import Throttle

MAX_FORM_BYTES: Final = 1024 * 1024

# Nothing of a page comes from elsewhere, and nothing of it runs that is not a file of ours.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Desk:
    """What every page works with. ``base`` is the path of the console, ``zone`` the server's."""

    templates: Templates
    sessions: Sessions
    throttle: Throttle
    clock: Clock
    zone: tzinfo
    base: str
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request, who sends it, and what the page works with."""

    request: Request
    visitor: Visitor
    desk: Desk

    @property
    def caller(self) -> Caller:
        """On whose behalf the page asks the services."""
        return self.visitor.caller

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.desk.clock.now()

    @property
    def zone(self) -> tzinfo:
        """The zone that times are shown in."""
        return cookies.zone_of(self.request, self.desk.zone)

    def may(self, access: str) -> bool:
        """Whether the visitor may do what asks for ``access``, by the name of an Access."""
        return permits(self.caller, Access(access))

    def value(self, name: str, default: str = "") -> str:
        """A parameter of the address, trimmed; the last where there are several."""
        return _plain(self.request.query_params.get(name, default))

    def values(self, name: str) -> tuple[str, ...]:
        """All that the address says under a name, without empty ones."""
        found = map(_plain, self.request.query_params.getlist(name))
        return tuple(dict.fromkeys(text for text in found if text))

    def part(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    async def form(self) -> "Form":
        """The fields of a posted form; raises TooLarge and Stalled."""
        return await read_form(self.request, self.desk.patience)

    def show(self, template: str, *, answered: int = 200, **context: Any) -> Response:
        """The page, or only the block of it that the browser wants renewed."""
        told = cookies.told(self.request)
        whole = {**self._surroundings(told), **context}
        html = None
        if self.request.headers.get("hx-request") == "true":
            block = self.request.headers.get("hx-target", "").replace("-", "_")
            html = self.desk.templates.block(template, block, whole) if block else None
        response = HTMLResponse(
            html or self.desk.templates.page(template, whole), answered, headers=dict(HEADERS)
        )
        response.headers["vary"] = "cookie, hx-request, hx-target"
        if html is None and told is not None:
            response.delete_cookie(cookies.TOLD, path=self.desk.base)
        return response

    def go(self, path: str, told: str | None = None) -> Response:
        """On to another page, below the console's base; that one says what was done."""
        address = self.desk.base + path
        if self.request.headers.get("hx-request") == "true":
            response = Response(status_code=204, headers={**HEADERS, "hx-redirect": address})
        else:
            response = RedirectResponse(address, 303, headers=dict(HEADERS))
        if told is not None:
            cookies.tell(response, told, path=self.desk.base)
        return response

    def _surroundings(self, told: str | None) -> dict[str, Any]:
        """What the frame around every page shows, and what any template may ask."""
        zone = self.zone
        return {
            "visit": self,
            "visitor": self.visitor,
            "here": self.request.url.path,
            "query": self.request.url.query,
            "token": self.desk.sessions.form_token(self.visitor.session),
            "needs_key": self.desk.sessions.needs_key,
            "theme": cookies.theme_of(self.request),
            "told": told,
            "now": self.now,
            "zone_name": datetime.now(zone).tzname() or str(zone),
            "instant": lambda at: figures.instant(at, zone),
            "when": partial(_when, zone=zone),
        }


def _plain(text: str) -> str:
    """What an address says, without the one character that no store looks for."""
    return text.replace("\0", "").strip()


def _when(at: float | None, *, zone: tzinfo) -> Markup:
    """A point in time as an element; what is not known has none."""
    if at is None:
        return escape(figures.UNKNOWN)
    element = Markup('<time datetime="{}">{}</time>')
    return element.format(figures.machine_time(at, zone), figures.instant(at, zone))


class Form:
    """The fields of a form, as text."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields

    def value(self, name: str, default: str = "") -> str:
        """A field, trimmed; ``default`` where it is not there."""
        return self._fields.get(name, [default])[-1].strip()

    def given(self, name: str) -> str | None:
        """A field, trimmed; None where it is empty or not there."""
        return self.value(name) or None

    def values(self, name: str) -> tuple[str, ...]:
        """All values of a field, without empty ones."""
        return tuple(text.strip() for text in self._fields.get(name, []) if text.strip())


async def read_form(request: Request, patience: Patience) -> Form:
    """The fields of a posted form; raises TooLarge and Stalled."""
    body = bytearray()
    async for chunk in stream_body(request, patience):
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise TooLarge(f"The form is larger than {MAX_FORM_BYTES} bytes.")
    text = bytes(body).decode("utf-8", "replace")
    return Form(parse_qs(text, keep_blank_values=True, max_num_fields=20_000))
