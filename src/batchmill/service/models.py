"""Models: what the catalog offers, as a list to read."""

from collections.abc import Sequence
from dataclasses import dataclass

from batchmill.domain.catalog import ENDPOINTS, Catalog
from batchmill.domain.errors import NotFound
from batchmill.service.caller import Caller
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

    def list(self, caller: Caller) -> Sequence[Model]:
        """Every model that the caller may call, by name."""
        return tuple(model for model in self._models.values() if may_call(caller, model.id))

    def retrieve(self, caller: Caller, model_id: str) -> Model:
        """The model; raises NotFound, also for one that the caller may not call."""
        model = self._models.get(model_id) if may_call(caller, model_id) else None
        if model is None:
            message = f"The model '{shorten(model_id)}' does not exist."
            raise NotFound(message, param="model", code="model_not_found")
        return model


def may_call(caller: Caller, model_id: str) -> bool:
    """Whether lines of the caller may name the model, as far as its key goes."""
    return caller.models is None or model_id in caller.models


def supported_endpoints(catalog: Catalog) -> Sequence[str]:
    """The endpoints that at least one model answers on, in the catalog's order."""
    if catalog.accepts_any:
        return ENDPOINTS
    offered = frozenset[str]().union(*catalog.offers.values())
    return tuple(endpoint for endpoint in ENDPOINTS if endpoint in offered)
