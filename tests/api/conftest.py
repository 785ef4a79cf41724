from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """What is logged during a test, instead of printing it."""
    with capture_logs() as entries:
        yield entries  # type: ignore[misc]
