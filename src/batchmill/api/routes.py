"""What the routers share: their base paths, adding a GET with its HEAD, reading texts."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from batchmill.domain.errors import InvalidRequest

Endpoint = Callable[..., Awaitable[Response]]

BASES: Final = ("/v1", "/compatible-mode/v1")


def below_base(path: str) -> str:
    """The path of a route without its base path: what is below one is below the other."""
    base = next((one for one in BASES if path.startswith(f"{one}/")), "")
    return path.removeprefix(base)


def add_get(router: APIRouter, path: str, endpoint: Endpoint, **described: Any) -> None:
    """Serve GET, and HEAD without describing it."""
    router.add_api_route(path, endpoint, methods=["GET"], **described)
    dependencies = described.get("dependencies")
    router.add_api_route(
        path, endpoint, methods=["HEAD"], include_in_schema=False, dependencies=dependencies
    )


def given(text: str | None, param: str) -> str | None:
    """A query's text, None where it is empty; raises InvalidRequest for what no store holds."""
    if text is not None and "\0" in text:
        message = f"Invalid '{param}': the string holds a NUL character."
        raise InvalidRequest(message, param=param, code="invalid_string")
    return text or None
