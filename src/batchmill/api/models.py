"""Models over HTTP."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from batchmill.api import faults, samples, wire
from batchmill.api.docs import Success, operation
from batchmill.api.doorkeeper import caller_of
from batchmill.api.routes import add_get
from batchmill.door.access import Access
from batchmill.service.models import Models


class ModelRoutes:
    """The operations of models."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def router(self, base: str) -> APIRouter:
        """The routes below ``base``; the names of models may hold slashes."""
        router = APIRouter(prefix=base, tags=["Models"])
        add_get(router, "/models", self.list, **_LIST)
        add_get(router, "/models/{model_id:path}", self.retrieve, **_RETRIEVE)
        return router

    async def list(self, request: Request) -> Response:
        """Every model that the caller may call."""
        return wire.answer(wire.model_list(self._models.list(caller_of(request))))

    async def retrieve(self, request: Request, model_id: str) -> Response:
        """One model."""
        model = self._models.retrieve(caller_of(request), model_id)
        return wire.answer(wire.model_object(model))


_LIST: dict[str, Any] = operation(
    "listModels",
    "List models",
    "Every model that lines may name in `body.model`, as far as the key may call it.",
    access=Access.READ,
    success=[Success("The models.", wire.ModelList, {"models": samples.MODELS})],
)
_RETRIEVE: dict[str, Any] = operation(
    "retrieveModel",
    "Retrieve a model",
    "One model by its name.",
    access=Access.READ,
    success=[Success("The model.", wire.ModelObject, {"model": samples.MODEL})],
    errors=[faults.MODEL_UNKNOWN],
)
