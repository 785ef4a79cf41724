"""The four spellings of a time in a list's query, read in the operator's time zone."""

import math
import re
from datetime import datetime, tzinfo

from batchmill.domain.errors import InvalidRequest
from batchmill.service.refusals import shorten

_SPELLINGS = {
    re.compile(r"\d{14}"): "%Y%m%d%H%M%S",
    re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"): "%Y-%m-%d %H:%M:%S",
    re.compile(r"\d{4}-\d\d-\d\d"): "%Y-%m-%d",
    re.compile(r"\d{8}"): "%Y%m%d",
}


def read_after(text: str | None, zone: tzinfo) -> float | None:
    """The earliest instant of ``create_after``, None without one; raises InvalidRequest."""
    return _read(text, zone, "create_after") if text else None


def read_before(text: str | None, zone: tzinfo) -> float | None:
    """The last instant of ``create_before``: times are shown in whole seconds, so all of it."""
    return math.nextafter(_read(text, zone, "create_before") + 1, 0) if text else None


def _read(text: str, zone: tzinfo, param: str) -> float:
    for pattern, spelling in _SPELLINGS.items():
        if pattern.fullmatch(text, 0) and text.isascii():
            try:
                return datetime.strptime(text, spelling).replace(tzinfo=zone).timestamp()
            except (ValueError, OverflowError):
                break
    message = (
        f"Invalid '{param}': expected a time such as 20250306123000, '2025-03-06 12:30:00', "
        f"2025-03-06 or 20250306, but got '{shorten(text)}' instead."
    )
    raise InvalidRequest(message, param=param, code="invalid_value")
