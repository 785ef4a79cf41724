"""The sample file: two requests that run on this very server. Pure."""

from collections.abc import Sequence
from typing import Final

from batchmill.domain.catalog import TEST_ENDPOINT, TEST_MODEL
from batchmill.domain.convert import (
    CHAT,
    DEFAULT_SYSTEM,
    EMBEDDINGS,
    CsvRules,
    csv_to_requests,
)
from batchmill.service.model_board import ModelState

PROMPTED: Final = (CHAT, "/v1/responses", "/v1/completions", EMBEDDINGS, "/v1/moderations")
"""Endpoints whose requests can be made of a prompt, what is asked for most often first."""

_ROWS: Final = ("1,Hello!\n", "2,What is 2+2?\n")


def sample_requests(models: Sequence[ModelState]) -> bytes:
    """The bytes of the file, for the first of ``models`` that answers prompts."""
    model, endpoint = _choose(models)
    rules = CsvRules(model=model, endpoint=endpoint, system=DEFAULT_SYSTEM)
    return b"".join(csv_to_requests(_ROWS, rules))


def _choose(models: Sequence[ModelState]) -> tuple[str, str]:
    for endpoint in PROMPTED:
        for model in models:
            if endpoint in model.endpoints:
                return model.name, endpoint
    return TEST_MODEL, TEST_ENDPOINT
