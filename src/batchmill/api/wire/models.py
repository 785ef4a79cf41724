"""Models as clients see them."""

from collections.abc import Sequence
from typing import Literal

from batchmill.api.wire.shape import Shape
from batchmill.service.models import Model


class ModelObject(Shape):
    """A model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["batchmill"] = "batchmill"


class ModelList(Shape):
    """The models."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


def model_object(model: Model) -> ModelObject:
    """A model as clients see it."""
    return ModelObject(id=model.id, created=int(model.created))


def model_list(models: Sequence[Model]) -> ModelList:
    """The models as clients see them."""
    return ModelList(data=[model_object(model) for model in models])
