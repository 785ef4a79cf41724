"""The cursor of usage and spending: where the page before ended, as an opaque text.

It names a line by what tells it apart, so that lines that come and go between
two pages neither double nor hide another.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated

import msgspec

from batchmill.domain.errors import InvalidRequest
from batchmill.domain.periods import LATEST, Bucket
from batchmill.ports import Place

_MAX_TEXT = 65_536
_LAST_PERIOD = Bucket.HOUR.number_of(LATEST)


class _Packed(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    question: str
    period: Annotated[int, msgspec.Meta(ge=0, le=_LAST_PERIOD)]
    names: list[str]


_pack = msgspec.json.Encoder().encode
_unpack = msgspec.json.Decoder(_Packed).decode


def write_place(question: str, place: Place) -> str:
    """The place as text, which is good for this question alone."""
    packed = _pack(_Packed(question, place.period, list(place.names)))
    return urlsafe_b64encode(packed).decode().rstrip("=")


def read_place(question: str, text: str, names: int) -> Place:
    """The place of a text; raises InvalidRequest unless it was written for this question.

    ``names`` is how many tell its lines apart.
    """
    try:
        packed = _unpack(_decoded(text))
        is_ours = packed.question == question and len(packed.names) == names
        # A database takes neither, and no name holds them.
        is_ours = is_ours and not any("\0" in name or _is_torn(name) for name in packed.names)
    except (ValueError, msgspec.MsgspecError):
        is_ours = False
    if not is_ours:
        message = "Invalid 'after': pass what 'next_after' said in an answer to the same question."
        raise InvalidRequest(message, param="after", code="invalid_cursor")
    return Place(packed.period, tuple(packed.names))


def _decoded(text: str) -> bytes:
    if len(text) > _MAX_TEXT:
        raise ValueError("too long")
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _is_torn(name: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in name)
