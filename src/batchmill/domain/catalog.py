"""The catalog: which models are served, and on which endpoints.

What a client writes in ``body.model`` is looked up here and nowhere else.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

TEST_MODEL = "batch-test-model"
TEST_ENDPOINT = "/v1/chat/ds-test"
# Under this name are the upstreams of models that are not listed.
ANY_MODEL = "*"

ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/responses",
    "/v1/moderations",
    "/v1/rerank",
    "/v1/score",
    TEST_ENDPOINT,
)


@dataclass(frozen=True, slots=True)
class Catalog:
    """The served models with their endpoints; ``accepts_any`` lets every other model through.

    ``barred`` models are known, and may be computed nowhere: they are not served at all.
    """

    offers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    accepts_any: bool = False
    barred: frozenset[str] = frozenset()

    def restricted(self, models: Collection[str]) -> "Catalog":
        """What is left of it where only ``models`` may be used; the test model always may."""
        kept = {name: on for name, on in self.offers.items() if name in {*models, TEST_MODEL}}
        if self.accepts_any:
            others = [name for name in models if name not in self.barred]
            kept = {**dict.fromkeys(others, frozenset(ENDPOINTS)), **kept}
        return Catalog(kept)

    def serves(self, model: str) -> bool:
        """Whether requests may name ``model`` at all."""
        return model in self.offers or self._takes(model)

    def serves_on(self, model: str, endpoint: str) -> bool:
        """Whether ``model`` answers on ``endpoint``."""
        endpoints = self.offers.get(model)
        return self._takes(model) if endpoints is None else endpoint in endpoints

    def _takes(self, model: str) -> bool:
        return self.accepts_any and model not in self.barred
