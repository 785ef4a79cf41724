"""The API's own description, ``/openapi.json``, made once when it is first asked for."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from batchmill.api.docs import Success, operation
from batchmill.api.routes import add_get
from batchmill.door.access import Access


class DescriptionRoutes:
    """The operation that describes all the others."""

    def __init__(self, make: Callable[[], Mapping[str, Any]]) -> None:
        self._body = cache(lambda: json.dumps(make(), ensure_ascii=False).encode())

    def router(self) -> APIRouter:
        """The route, at the root."""
        router = APIRouter(tags=["Operations"])
        add_get(router, "/openapi.json", self.read, **_READ)
        return router

    async def read(self) -> Response:
        """The description."""
        return Response(self._body(), media_type="application/json")


_READ: dict[str, Any] = operation(
    "readDescription",
    "Read this description",
    "Every operation, error and example, as OpenAPI 3.1.",
    access=Access.OPEN,
    success=[Success("The description.", examples={"description": {"openapi": "3.1.0"}})],
)
