"""The log: one line a fact, as JSON or as text, libraries' own logs included.

``configure_logging`` is called once a process, by the command line. Everyone
else takes ``get_logger()`` and writes ``log.info(Fact.…, field=value)``.
"""

import json
import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from batchmill.telemetry.facts import Fact
from batchmill.telemetry.guard import RECORD, describe_exception, describe_record, keep_harmless

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

bound = structlog.contextvars.bound_contextvars
"""A context manager that adds its fields to every line written inside it."""


def configure_logging(level: str, *, style: str = "auto", stream: TextIO | None = None) -> None:
    """Send this process's facts, and what libraries warn of, to ``stream`` (standard error).

    ``style`` is ``json``, ``text``, or ``auto``: text on a terminal. Calling it
    again replaces what was set before. Start uvicorn with ``log_config=None``
    and ``access_log=False``.
    """
    out = stream or sys.stderr
    structlog.configure(
        processors=_processors(out, as_text=style == "text" or (style == "auto" and out.isatty())),
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _Outlet(out))),
        cache_logger_on_first_use=False,
    )
    # below a warning libraries tell what batchmill says itself, or nobody asks for
    floor = max(_LEVELS[level], logging.WARNING)
    logging.basicConfig(handlers=[_Libraries()], level=floor, force=True)


def get_logger() -> FilteringBoundLogger:
    """A logger that follows ``configure_logging``, also where it is made before that call."""
    return cast("FilteringBoundLogger", structlog.get_logger())


def _processors(out: TextIO, *, as_text: bool) -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        keep_harmless,
        describe_exception,
        describe_record,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.dev.ConsoleRenderer(colors=out.isatty())
        if as_text
        else structlog.processors.JSONRenderer(serializer=json.dumps),
    ]


class _Outlet:
    """A stream whose reader may be gone: whoever logs to a broken pipe goes on working."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(BrokenPipeError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(BrokenPipeError):
            self._stream.flush()


class _Libraries(logging.Handler):
    """Turns a library's log record into the fact ``library_said``."""

    def emit(self, record: logging.LogRecord) -> None:
        # structlog knows the five standard levels alone
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        fields = {RECORD: record, "exc_info": record.exc_info}
        get_logger().log(level, Fact.LIBRARY_SAID, **fields)
