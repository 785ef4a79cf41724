"""Embeddings at a glance: how long each is, and its first numbers. Pure, and cheap.

The numbers of an answer are never turned into numbers all at once.
"""

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from struct import iter_unpack
from typing import Final

import msgspec
from msgspec import Raw, Struct

from batchmill.domain.envelope import UNREADABLE, decode, read_items

MOST_VECTORS: Final = 20
FIRST_NUMBERS: Final = 5

_MOST_ITEMS: Final = 100_000
# Numbers of four bytes; these are the characters and bytes that hold the first of them whole.
_HEAD_CHARS: Final = 28
_HEAD_BYTES: Final = 4 * FIRST_NUMBERS


@dataclass(frozen=True, slots=True)
class Vector:
    """An embedding: how long it is, and its first numbers."""

    dimensions: int
    first: Sequence[str]


class _Item(Struct, gc=False):
    embedding: Raw = Raw(b"null")


_ITEM: Final = msgspec.json.Decoder(_Item)


def read_vectors(data: Raw) -> tuple[Sequence[Vector], int]:
    """The first embeddings of an answer's ``data``, and how many there are; none for all else."""
    text = bytes(data)
    # An embedding has no braces of its own, so these tell how many there are.
    if text.count(b"{") > _MOST_ITEMS:
        return (), 0
    try:
        items = read_items(text)
        shown = [bytes(decode(_ITEM, bytes(one)).embedding) for one in items[:MOST_VECTORS]]
    except UNREADABLE:
        return (), 0
    vectors = [one for one in map(_vector, shown) if one is not None]
    return (vectors, len(items)) if len(vectors) == len(shown) else ((), 0)


def _vector(data: bytes) -> Vector | None:
    """A list of numbers, or the same in base64; None for anything else."""
    if data.startswith(b"["):
        return _from_list(data[1:-1])
    return _from_base64(data.strip(b'"')) if data.startswith(b'"') else None


def _from_list(inner: bytes) -> Vector:
    if not inner.strip():
        return Vector(0, ())
    numbers = inner.split(b",", FIRST_NUMBERS)[:FIRST_NUMBERS]
    first = [one.decode("utf-8", "replace").strip()[:32] for one in numbers]
    return Vector(inner.count(b",") + 1, first)


def _from_base64(packed: bytes) -> Vector | None:
    try:
        head = b64decode(packed[:_HEAD_CHARS], validate=True)[:_HEAD_BYTES]
    except ValueError:
        return None
    whole = head[: len(head) // 4 * 4]
    first = [f"{one:.6g}" for (one,) in iter_unpack("<f", whole)]
    return Vector(len(packed.rstrip(b"=")) * 3 // 4 // 4, first)
