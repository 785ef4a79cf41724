"""Times in the queries of usage: Unix seconds, or ISO dates and months in UTC."""

import re
from datetime import UTC, datetime
from typing import Final

from batchmill.domain.errors import InvalidRequest
from batchmill.domain.periods import LATEST
from batchmill.service.refusals import shorten

_SECONDS: Final = re.compile(r"[0-9]{1,7}|[0-9]{9,10}")
_COMPACT: Final = re.compile(r"[0-9]{14}")
_MONTH: Final = re.compile(r"[0-9]{4}-[0-9]{2}")
_MOST_CHARS: Final = 40


def read_instant(text: str | None, param: str) -> float | None:
    """The instant in Unix seconds, None without a text; raises InvalidRequest.

    Eight digits are a date as in the vendor's lists, as nobody means 1970.
    """
    if not text:
        return None
    try:
        at = _read(text) if len(text) <= _MOST_CHARS else -1.0
    except (ValueError, OverflowError):
        at = -1.0
    if 0 <= at <= LATEST:
        return at
    message = (
        f"Invalid '{param}': expected Unix seconds, or a time in UTC such as 2026-11, 2026-11-01 "
        f"or 2026-11-01T12:00:00Z, between 1970 and 2100, but got '{shorten(text)}' instead."
    )
    raise InvalidRequest(message, param=param, code="invalid_value")


def _read(text: str) -> float:
    if _SECONDS.fullmatch(text):
        return float(text)
    if _COMPACT.fullmatch(text):
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
    when = datetime.fromisoformat(f"{text}-01" if _MONTH.fullmatch(text) else text)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
