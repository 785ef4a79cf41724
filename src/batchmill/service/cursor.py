"""The cursor of live results: what a reader has had so far, as an opaque text.

While a batch runs its results come in any order, so the cursor names the line
numbers that were handed out; once the files stand it names places in them.
Numbers are kept as runs: results come nearly in order, so the text stays short.
"""

import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Annotated

import msgspec

from batchmill.domain.errors import InvalidRequest

_MAX_TEXT = 65_536
_MAX_UNPACKED = 1_048_576

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a result file: its offset in bytes, and how many known lines lie before it."""

    offset: int = 0
    passed: int = 0


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a reader has had: ``succeeded`` and ``failed`` line numbers, places in both files."""

    succeeded: frozenset[int] = frozenset()
    failed: frozenset[int] = frozenset()
    output: Mark = Mark()
    error: Mark = Mark()


class _Packed(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    tag: bytes
    succeeded: list[_Count]
    failed: list[_Count]
    places: tuple[_Count, _Count, _Count, _Count]


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Packed).decode


def write_cursor(batch_id: str, cursor: Cursor) -> str:
    """The cursor as text, which is good for this batch alone."""
    output, error = cursor.output, cursor.error
    packed = _Packed(
        _tag(batch_id),
        _runs(cursor.succeeded),
        _runs(cursor.failed),
        (output.offset, output.passed, error.offset, error.passed),
    )
    return urlsafe_b64encode(zlib.compress(_pack(packed))).decode().rstrip("=")


def read_cursor(batch_id: str, text: str, most: int) -> Cursor:
    """The cursor of a text; raises InvalidRequest unless it was written for this batch.

    ``most`` lines are the most that a batch may have.
    """
    try:
        packed = _unpack(_inflate(text))
        is_ours = packed.tag == _tag(batch_id)
        succeeded = _numbers(packed.succeeded, most)
        failed = _numbers(packed.failed, most)
    except (ValueError, zlib.error, msgspec.MsgspecError):
        is_ours = False
    if not is_ours:
        message = "Invalid 'after': pass what 'x-next-after' said in an answer for this batch."
        raise InvalidRequest(message, param="after", code="invalid_cursor")
    a, b, c, d = packed.places
    return Cursor(succeeded, failed, Mark(a, b), Mark(c, d))


def _inflate(text: str) -> bytes:
    if len(text) > _MAX_TEXT:
        raise ValueError("too long")
    squeezed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(squeezed, _MAX_UNPACKED)
    if not unpacker.eof:
        raise ValueError("not whole")
    return data


def _tag(batch_id: str) -> bytes:
    return blake2b(batch_id.encode(), digest_size=6).digest()


def _runs(numbers: Iterable[int]) -> list[int]:
    """Sorted numbers as edges: steps between where runs begin and end, in turn."""
    edges: list[int] = [0]
    for number in sorted(numbers):
        if number == edges[-1] and len(edges) > 1:
            edges[-1] = number + 1
        else:
            edges += [number, number + 1]
    return [after - before for before, after in pairwise(edges)]


def _numbers(steps: list[int], most: int) -> frozenset[int]:
    if len(steps) % 2 or sum(steps[1::2]) > most:
        raise ValueError("not runs")
    numbers: list[int] = []
    place = 0
    for gap, length in zip(steps[::2], steps[1::2], strict=True):
        numbers.extend(range(place + gap, place + gap + length))
        place += gap + length
    return frozenset(numbers)
