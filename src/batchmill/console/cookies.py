"""What a browser keeps for the console: its session, its looks, and a word on what was done.

The session's cookie is out of reach of scripts. Theme and time zone are set by
the page's own script, and believed only where they are among the known ones.
"""

from datetime import tzinfo
from typing import Final
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from starlette.requests import Request
from starlette.responses import Response

SESSION: Final = "batchmill_session"
TOLD: Final = "batchmill_told"
THEME: Final = "batchmill_theme"
ZONE: Final = "batchmill_zone"

_THEMES: Final = ("light", "dark")
_TOLD_SECONDS: Final = 60
_MAX_TOLD: Final = 500


def ticket_of(request: Request) -> str | None:
    """The session's ticket."""
    return request.cookies.get(SESSION)


def keep_ticket(response: Response, request: Request, ticket: str, *, path: str, ttl: int) -> None:
    """Have the browser keep a session's ticket, for as long as it is good."""
    response.set_cookie(
        SESSION,
        ticket,
        max_age=ttl,
        path=path,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def drop_ticket(response: Response, *, path: str) -> None:
    """Have the browser forget the session."""
    response.delete_cookie(SESSION, path=path, httponly=True, samesite="lax")


def tell(response: Response, text: str, *, path: str) -> None:
    """Have the next page say what was done."""
    value = quote(text[:_MAX_TOLD])
    response.set_cookie(TOLD, value, max_age=_TOLD_SECONDS, path=path, samesite="lax")


def told(request: Request) -> str | None:
    """What the page before wanted said."""
    value = request.cookies.get(TOLD)
    return None if value is None else unquote(value)[:_MAX_TOLD]


def theme_of(request: Request) -> str | None:
    """The theme that was chosen; None follows the system's."""
    chosen = request.cookies.get(THEME)
    return chosen if chosen in _THEMES else None


def zone_of(request: Request, default: tzinfo) -> tzinfo:
    """The time zone of the browser, as far as it is a known one."""
    name = unquote(request.cookies.get(ZONE, ""))
    try:
        return ZoneInfo(name) if name else default
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return default
