"""The engine's log goes into memory: as in production, and not as tracebacks with locals."""

import json
from collections.abc import Iterator
from io import StringIO

import pytest
import structlog

from batchmill.telemetry.guard import describe_exception, keep_harmless


@pytest.fixture(autouse=True)
def log_text() -> Iterator[StringIO]:
    """What the engine has logged so far, a line of JSON each."""
    stream = StringIO()
    renderer = structlog.processors.JSONRenderer(serializer=json.dumps)
    structlog.configure(
        processors=[keep_harmless, describe_exception, renderer],
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    yield stream
    structlog.reset_defaults()
