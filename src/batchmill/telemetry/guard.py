"""The last look at a log line: only known facts, known fields, short scalars.

Prompts, answers and secrets must not reach a log even where a caller is
careless. So nothing is searched for what looks bad: what is not known to be
harmless is left out, and only its name is told.
"""

import logging
import math
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path, PurePath
from types import TracebackType

from structlog.typing import EventDict, WrappedLogger

from batchmill.domain.errors import BatchmillError
from batchmill.telemetry.facts import FIELDS, Fact

LONGEST = 200
RECORD = "record"
_DEEPEST = 12
_FACTS = frozenset(Fact)
_CARRIED = frozenset({"event", "exc_info", RECORD})  # the two later steps look after these
_LOOKED_AFTER = FIELDS | _CARRIED
_CUT = re.compile(r"[\n(<{\[\"'`]")

Scalar = str | int | float | bool | None


def keep_harmless(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Leave of a line what may be logged. The step before every other one."""
    event = fields.get("event")
    known = isinstance(event, str) and event in _FACTS
    kept: EventDict = {"event": str(event if known else Fact.UNNAMED)}
    kept.update((name, to_scalar(value)) for name, value in fields.items() if name in FIELDS)
    kept.update((name, fields[name]) for name in ("exc_info", RECORD) if name in fields)
    dropped = sorted(name for name in fields if name not in _LOOKED_AFTER)
    if dropped:
        kept["dropped"] = shorten(",".join(dropped))
    return kept


def describe_exception(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Put an exception's type and places where ``exc_info`` was."""
    exc_info = fields.pop("exc_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if isinstance(error, BaseException):
        fields.update(explain(error))
    return fields


def describe_record(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Put a library's name and words where its log record was."""
    record = fields.pop(RECORD, None)
    if isinstance(record, logging.LogRecord):
        fields.update(logger=record.name, said=words_of(record))
    return fields


def explain(error: BaseException) -> Mapping[str, str]:
    """The type of an exception, where it came from, and its reason if that is harmless.

    The message is told only where it is batchmill's own or the system's: any
    other may quote the content that it stumbled over.
    """
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    told = {"error": kind.removeprefix("builtins."), "trace": _places(error.__traceback__)}
    if isinstance(error, BatchmillError):
        told["because"] = shorten(error.message)
    elif isinstance(error, OSError) and error.strerror:
        told["because"] = shorten(error.strerror)
    return told


def words_of(record: logging.LogRecord) -> str:
    """What a library said, without what it said it about.

    Of the arguments only numbers stay, and the text ends at the first bracket
    or quote, where asyncio for one begins to print values.
    """
    text = str(record.msg)
    if isinstance(record.args, tuple) and record.args:
        numbers = tuple(arg if isinstance(arg, int | float) else "…" for arg in record.args)
        try:
            text %= numbers
        except (TypeError, ValueError):
            text = str(record.msg)
    return shorten(_CUT.split(text, maxsplit=1)[0].strip())


def to_scalar(value: object) -> Scalar:
    """A value that may stand in a log line."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str | PurePath):
        return shorten(str(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return f"<{type(value).__name__}>"


def shorten(text: str) -> str:
    """At most ``LONGEST`` characters, all of them printable: a line stays a line."""
    shown = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    if shown.isprintable():
        return shown
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in shown)


def _places(trace: TracebackType | None) -> str:
    """The last frames, innermost last: no source text, no values."""
    frames = traceback.StackSummary.extract(
        list(traceback.walk_tb(trace))[-_DEEPEST:], lookup_lines=False
    )
    return " > ".join(
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames
    )
