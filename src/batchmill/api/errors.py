"""Errors as clients see them: one envelope, whatever went wrong and wherever.

Domain errors, the framework's own refusals and surprises all end here; nothing
of the framework's words reaches a client. Messages hold no content.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from batchmill.api.wire import ErrorBody, Fault, answer
from batchmill.domain.errors import (
    BatchmillError,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    RateLimited,
    Refused,
    StorageAway,
    StorageFull,
    TooLarge,
    Unidentified,
)
from batchmill.door.bodies import Stalled
from batchmill.door.statuses import STATUSES
from batchmill.service.refusals import missing_parameter, shorten

INVALID: Final = "invalid_request_error"
SERVER: Final = "server_error"
# Official clients repeat 409, 429 and 5xx by themselves; where that cannot help they are told.
NO_RETRY: Final = {"x-should-retry": "false"}

_METHODS = ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS")


class NotReady(BatchmillError):
    """A part of this server does not answer."""


class Misdirected(Refused):
    """The request names a host that this server does not go by."""


class ForeignPage(Refused):
    """A web page of another site sends the request."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a class of errors is answered."""

    status: int
    type: str
    headers: Mapping[str, str]


KINDS: Final[Mapping[type[BatchmillError], Kind]] = {
    Unidentified: Kind(STATUSES[Unidentified], INVALID, {"www-authenticate": "Bearer"}),
    Forbidden: Kind(STATUSES[Forbidden], INVALID, {}),
    InvalidRequest: Kind(STATUSES[InvalidRequest], INVALID, {}),
    TooLarge: Kind(STATUSES[TooLarge], INVALID, {}),
    NotFound: Kind(STATUSES[NotFound], INVALID, {}),
    Conflict: Kind(STATUSES[Conflict], INVALID, NO_RETRY),
    QuotaExceeded: Kind(STATUSES[QuotaExceeded], "insufficient_quota", NO_RETRY),
    # what to wait for stands in headers that the gate adds, to admitted requests as well
    RateLimited: Kind(STATUSES[RateLimited], "requests", {}),
    StorageFull: Kind(STATUSES[StorageFull], SERVER, NO_RETRY),
    # a database that is restarted is back by then
    StorageAway: Kind(STATUSES[StorageAway], SERVER, {"retry-after": "5"}),
    # the rest of the body is never going to come: the connection is of no more use
    Stalled: Kind(STATUSES[Stalled], INVALID, {"connection": "close"}),
    Misdirected: Kind(421, INVALID, NO_RETRY),
    ForeignPage: Kind(403, INVALID, NO_RETRY),
    NotReady: Kind(503, SERVER, {}),
}
_SURPRISE = Kind(500, SERVER, {})


def envelope(
    status: int,
    message: str,
    *,
    type_: str = INVALID,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error response."""
    fault = Fault(message=message, type=type_, param=param, code=code)
    response = answer(ErrorBody(error=fault), status)
    response.headers.update(headers or {})
    return response


def from_domain(error: BatchmillError) -> Response:
    """The response for an error that was raised on purpose."""
    kind = KINDS.get(type(error), _SURPRISE)
    param, code = (error.param, error.code) if isinstance(error, Refused) else (None, None)
    message = error.message
    return envelope(
        kind.status, message, type_=kind.type, param=param, code=code, headers=kind.headers
    )


def surprise(request_id: str) -> Response:
    """The response for an error that nobody foresaw."""
    message = (
        f"The server met an error of its own in request {request_id}: try again, "
        "and look for this id in the server's log if it stays."
    )
    return envelope(500, message, type_=SERVER)


async def on_domain_error(_request: Request, error: Exception) -> Response:
    """Answer a BatchmillError."""
    assert isinstance(error, BatchmillError)  # noqa: S101 - registered for this class alone
    return from_domain(error)


async def on_bad_query(_request: Request, error: Exception) -> Response:
    """Answer a query or path parameter that cannot be read."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
    return from_domain(explain_finding(error.errors()[0], skip=1))


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer what the router refuses: an unknown path, a wrong method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    method, path = request.method, shorten(request.url.path)
    if error.status_code == 405:
        allowed = ", ".join(allowed_methods(request))
        message = f"Not allowed to {method} on {path}: use {allowed}."
        return envelope(405, message, code="method_not_supported", headers={"allow": allowed})
    if error.status_code == 404:
        return envelope(404, f"Invalid URL ({method} {path})", code="unknown_url")
    return envelope(error.status_code, "The request cannot be served as it stands.")


def allowed_methods(request: Request) -> list[str]:
    """The methods that the request's path would take."""
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


_EXPECTED: Final = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "int_parsing_size": "an integer",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "list_type": "an array",
}
_LIMITS: Final = {
    "greater_than_equal": ("below minimum", ">=", "ge", "integer_below_min_value"),
    "less_than_equal": ("above maximum", "<=", "le", "integer_above_max_value"),
}


def explain_finding(finding: Mapping[str, Any], skip: int = 0) -> InvalidRequest:
    """What a validator found, in the words that clients of this interface know.

    ``skip`` leading places of its location are not part of the field's name.
    """
    kind, value = finding["type"], finding.get("input")
    param = ".".join(str(place) for place in finding["loc"][skip:] if place != "[key]") or None
    context = finding.get("ctx", {})
    if kind == "missing":
        return missing_parameter(param or "")
    if kind == "json_invalid":
        return InvalidRequest(f"The body of the request is not valid JSON: {context['error']}.")
    if kind in _EXPECTED:
        return _invalid_type(param, _EXPECTED[kind], value)
    if kind in _LIMITS:
        return _out_of_range(param, kind, context, value)
    if kind in {"literal_error", "enum"}:
        message = f"Invalid value: '{shorten(value)}'. Supported values are: {context['expected']}."
        return InvalidRequest(message, param=param, code="invalid_value")
    return InvalidRequest(f"Invalid '{param}'.", param=param, code="invalid_value")


def _invalid_type(param: str | None, expected: str, value: object) -> InvalidRequest:
    name = f" for '{shorten(param)}'" if param else ""
    message = f"Invalid type{name}: expected {expected}, but got {_name_type(value)} instead."
    return InvalidRequest(message, param=param, code="invalid_type")


def _out_of_range(
    param: str | None, kind: str, context: Mapping[str, Any], value: object
) -> InvalidRequest:
    bound, sign, key, code = _LIMITS[kind]
    message = (
        f"Invalid '{param}': integer {bound} value. "
        f"Expected a value {sign} {context[key]}, but got {shorten(value)} instead."
    )
    return InvalidRequest(message, param=param, code=code)


def _name_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
