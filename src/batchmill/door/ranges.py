"""Conditional and partial reading of a file: ``Range``, ``If-Range``, ``If-None-Match``.

One range is honoured; several, and what cannot be read, are answered with the
whole, as HTTP allows.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``[start, end)`` of ``size``."""

    start: int
    end: int
    size: int

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the file."""
        return self.start == 0 and self.end == self.size

    @property
    def content_range(self) -> str:
        """The value of the ``Content-Range`` header."""
        return f"bytes {self.start}-{self.end - 1}/{self.size}"


class Unsatisfiable(Exception):
    """The range begins behind the file's end."""


def wanted_span(headers: Mapping[str, str], etag: str, size: int) -> Span | None:
    """The part that is asked for, None for the whole; raises Unsatisfiable."""
    condition = headers.get("if-range")
    if condition is not None and condition != etag:
        return None
    match = _RANGE.fullmatch(headers.get("range", ""))
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        return _last(int(match[2]), size)
    first = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return None
    if first >= size:
        raise Unsatisfiable
    return Span(first, min(last + 1, size), size)


def _last(count: int, size: int) -> Span:
    if count == 0 or size == 0:
        raise Unsatisfiable
    return Span(max(0, size - count), size, size)


def is_unchanged(headers: Mapping[str, str], etag: str) -> bool:
    """Whether the client says that it has these bytes already."""
    known = headers.get("if-none-match", "")
    tags = [tag.strip().removeprefix("W/") for tag in known.split(",")]
    return etag in tags or "*" in tags
