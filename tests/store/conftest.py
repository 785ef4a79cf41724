"""No database outlives the test that asked for it."""

from collections.abc import Iterator

import pytest
from postgres_server import DATABASES


@pytest.fixture(autouse=True)
def databases_dropped() -> Iterator[None]:
    yield
    DATABASES.drop()
