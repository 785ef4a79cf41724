"""Models: what the catalog offers, as a list to read."""

from collections.abc import Sequence
from dataclasses import dataclass

from batchmill.domain.catalog import ENDPOINTS, Catalog
from batchmill.domain.errors import NotFound
from batchmill.service.refusals import shorten


@dataclass(frozen=True, slots=True)
class Model:
    """A model that requests may name; ``created`` is when this server began to offer it."""

    id: str
    created: float


class Models:
    """The use-cases of models; ``created`` is Unix seconds."""

    def __init__(self, catalog: Catalog, created: float) -> None:
        self._models = {name: Model(name, created) for name in sorted(catalog.offers)}

    def list(self) -> Sequence[Model]:
        """Every model, by name."""
        return tuple(self._models.values())

    def retrieve(self, model_id: str) -> Model:
        """The model; raises NotFound."""
        model = self._models.get(model_id)
        if model is None:
            message = f"The model '{shorten(model_id)}' does not exist."
            raise NotFound(message, param="model", code="model_not_found")
        return model


def supported_endpoints(catalog: Catalog) -> Sequence[str]:
    """The endpoints that at least one model answers on, in the catalog's order."""
    if catalog.accepts_any:
        return ENDPOINTS
    offered = frozenset[str]().union(*catalog.offers.values())
    return tuple(endpoint for endpoint in ENDPOINTS if endpoint in offered)
