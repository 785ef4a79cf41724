"""What two response fields mean: how long to wait, and how the body was packed.

Pure functions over header values. The cap on a body holds for its unpacked size.
"""

import math
import zlib
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

GZIP = 16 + zlib.MAX_WBITS
ZLIB = zlib.MAX_WBITS
RAW_DEFLATE = -zlib.MAX_WBITS
# Each member costs a copy of what follows it: a body of a million tiny ones would stall the loop.
MAX_GZIP_MEMBERS = 16


class Unreadable(Exception):
    """The body is packed in a way that we do not know, or is broken."""


class Oversized(Exception):
    """The unpacked body is larger than the cap."""


def read_retry_after(fields: Mapping[bytes, bytes], now: float) -> float | None:
    """Seconds to wait, or None where the fields do not say so; names are lower case.

    ``retry-after-ms`` wins over ``retry-after``, whose value is seconds or a
    date; a date that has passed is 0. ``now`` is Unix seconds.
    """
    millis = _read_number(fields.get(b"retry-after-ms"))
    if millis is not None:
        return millis / 1000
    value = fields.get(b"retry-after")
    seconds = _read_number(value)
    if seconds is not None or value is None:
        return seconds
    date = _read_date(value)
    return None if date is None else max(0.0, date - now)


def _read_number(value: bytes | None) -> float | None:
    try:
        number = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def _read_date(value: bytes) -> float | None:
    try:
        date = parsedate_to_datetime(value.decode("latin-1"))
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def unpack(body: bytes, encoding: bytes, cap: int) -> bytes:
    """The body without its Content-Encoding; raises Unreadable and Oversized."""
    name = encoding.strip().lower()
    if not body or name in (b"", b"identity"):
        return body
    if name in (b"gzip", b"x-gzip"):
        return _inflate_members(body, cap)
    if name != b"deflate":
        raise Unreadable
    try:
        return _inflate(body, ZLIB, cap)[0]
    except Unreadable:
        # RFC 9110 means zlib's format by this name; many servers send the bare stream.
        return _inflate(body, RAW_DEFLATE, cap)[0]


def _inflate_members(body: bytes, cap: int) -> bytes:
    whole = b""
    for _ in range(MAX_GZIP_MEMBERS):
        part, body = _inflate(body, GZIP, cap - len(whole))
        whole += part
        if not body:
            return whole
    raise Unreadable


def _inflate(body: bytes, window: int, cap: int) -> tuple[bytes, bytes]:
    stream = zlib.decompressobj(window)
    try:
        # One byte of room beyond the cap tells a body at the cap from a larger one.
        data = stream.decompress(body, cap + 1)
    except zlib.error:
        raise Unreadable from None
    if len(data) > cap:
        raise Oversized
    if not stream.eof:
        raise Unreadable
    return data, stream.unused_data
