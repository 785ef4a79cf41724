"""What a line says of itself, read as leniently as it can be: for people to look at.

Nothing here raises for the content of a line: what cannot be read is None.
No value is decoded that nobody shows.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Raw, Struct

from batchmill.domain.envelope import decode_or_none

_NULL: Final = Raw(b"null")
_OK: Final = 200
_MOST_TOKENS: Final = 2**53
_LONG_BYTES: Final = 256 * 1024


class _Named(Struct, gc=False):
    custom_id: Raw = _NULL


class _Line(Struct, gc=False):
    custom_id: Raw = _NULL
    response: Raw = _NULL
    error: Raw = _NULL


class _Response(Struct, gc=False):
    status_code: Raw = _NULL
    region: Raw = _NULL
    body: Raw = _NULL


class _Error(Struct, gc=False):
    code: Raw = _NULL
    type: Raw = _NULL
    message: Raw = _NULL


class _Body(_Error, gc=False):
    """An answer. Some servers write an error's members right into it."""

    error: Raw = _NULL
    usage: Raw = _NULL


class _Usage(Struct, gc=False):
    total_tokens: Raw = _NULL
    prompt_tokens: Raw = _NULL
    completion_tokens: Raw = _NULL
    input_tokens: Raw = _NULL
    output_tokens: Raw = _NULL


_NAMED: Final = msgspec.json.Decoder(_Named)
_LINE: Final = msgspec.json.Decoder(_Line)
_RESPONSE: Final = msgspec.json.Decoder(_Response)
_BODY: Final = msgspec.json.Decoder(_Body)
_ERROR: Final = msgspec.json.Decoder(_Error)
_USAGE: Final = msgspec.json.Decoder(_Usage)
_TEXT: Final = msgspec.json.Decoder(str)
_INTEGER: Final = msgspec.json.Decoder(int, strict=True)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a result line says; None for what it does not."""

    custom_id: str
    status: int | None = None
    error_code: str | None = None
    message: str | None = None
    total_tokens: int | None = None
    region: str | None = None


async def look_at(line: bytes) -> Facts:
    """``read_facts``, off the loop where the line is long."""
    if len(line) < _LONG_BYTES:
        return read_facts(line)
    return await asyncio.to_thread(read_facts, line)


def read_facts(line: bytes) -> Facts:
    """The facts of a result line."""
    parts = decode_or_none(_LINE, line) or _Line()
    response = decode_or_none(_RESPONSE, parts.response) or _Response()
    status = _integer(response.status_code)
    body = decode_or_none(_BODY, response.body) or _Body()
    error = _error(parts, body, status)
    return Facts(
        custom_id=_text(parts.custom_id) or "",
        status=status,
        error_code=_code(error),
        message=_text(error.message),
        total_tokens=_total(decode_or_none(_USAGE, body.usage) or _Usage()),
        region=_text(response.region),
    )


def read_custom_id(line: bytes) -> str:
    """The custom_id of a line of any file; empty where it cannot be read."""
    named = decode_or_none(_NAMED, line)
    return "" if named is None else _text(named.custom_id) or ""


class Needle:
    """A text that is looked for in custom_ids; the empty one is in all of them."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._bytes = text.encode("utf-8", "surrogatepass")
        # Any character may be written with \u; these have escapes of their own besides.
        is_special = any(char in '"\\/' or char < " " for char in text)
        self._escape = b"\\" if is_special else b"\\u"

    def find(self, line: bytes) -> str | None:
        """The line's custom_id, if it holds the text."""
        if self._bytes not in line and self._escape not in line:
            return None  # most lines, at a tenth of the cost
        custom_id = read_custom_id(line)
        return custom_id if self._text in custom_id else None


def _error(parts: _Line, body: _Body, status: int | None) -> _Error:
    """The error of the line, or that of the answer."""
    found = decode_or_none(_ERROR, parts.error) or decode_or_none(_ERROR, body.error)
    if found is not None:
        return found
    if _text(body.error) is not None:
        return _Error(message=body.error)
    return _Error() if status == _OK else body


def _code(error: _Error) -> str | None:
    """The code in words, or else the type; a number only where there is nothing better."""
    number = _integer(error.code)
    worded = _text(error.code) or _text(error.type)
    return worded or (None if number is None else str(number))


def _total(usage: _Usage) -> int | None:
    total = _integer(usage.total_tokens)
    if total is None:
        used_in = _integer(usage.prompt_tokens) or _integer(usage.input_tokens)
        used_out = _integer(usage.completion_tokens) or _integer(usage.output_tokens)
        total = (used_in or 0) + (used_out or 0) or None
    return total if total is not None and 0 <= total <= _MOST_TOKENS else None


def _text(value: Raw) -> str | None:
    return decode_or_none(_TEXT, value)


def _integer(value: Raw) -> int | None:
    return decode_or_none(_INTEGER, value)
