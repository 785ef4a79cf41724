"""What the routers share: adding a GET with its HEAD, reading texts, who the caller is."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from batchmill.domain.errors import InvalidRequest
from batchmill.service.caller import Caller

Endpoint = Callable[..., Awaitable[Response]]


def add_get(router: APIRouter, path: str, endpoint: Endpoint, **described: Any) -> None:
    """Serve GET, and HEAD without describing it."""
    router.add_api_route(path, endpoint, methods=["GET"], **described)
    router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)


def given(text: str | None, param: str) -> str | None:
    """A query's text, None where it is empty; raises InvalidRequest for what no store holds."""
    if text is not None and "\0" in text:
        message = f"Invalid '{param}': the string holds a NUL character."
        raise InvalidRequest(message, param=param, code="invalid_string")
    return text or None


def caller_of(_request: Request) -> Caller:
    """Who asks: without keys there is one account, and Authorization means nothing."""
    return Caller()
