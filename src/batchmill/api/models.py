"""Models over HTTP."""

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from batchmill.api import faults, samples, wire
from batchmill.api.docs import Success, operation
from batchmill.api.doorkeeper import Access
from batchmill.api.routes import add_get
from batchmill.service.models import Models


class ModelRoutes:
    """The operations of models."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def router(self) -> APIRouter:
        """The routes, below the base path; the names of models may hold slashes."""
        router = APIRouter(tags=["Models"])
        add_get(router, "/models", self.list, **_LIST)
        add_get(router, "/models/{model_id:path}", self.retrieve, **_RETRIEVE)
        return router

    async def list(self) -> Response:
        """Every model."""
        return wire.answer(wire.model_list(self._models.list()))

    async def retrieve(self, model_id: str) -> Response:
        """One model."""
        return wire.answer(wire.model_object(self._models.retrieve(model_id)))


_LIST: dict[str, Any] = operation(
    "listModels",
    "List models",
    "Every model that lines may name in `body.model`.",
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
