"""What a line holds, decoded no further than the rules need it.

The decode skips every value that nobody asks for, in C. It finds the same in
every spelling of a line: the last of duplicate keys counts, escaped keys are
keys, and a lone surrogate in a string is a character like any other.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

# What the decoders raise for bytes that are no JSON, are nested too deep, or are not UTF-8.
UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)

Text = str | UnsetType
Span = Raw | UnsetType
Shape = TypeVar("Shape")

STRING: Final = "a string"
OBJECT: Final = "an object"
ARRAY: Final = "an array"
BOOLEAN: Final = "a boolean"
INTEGER: Final = "an integer"
NULL: Final = "null"
_KINDS: Final = {
    b'"': STRING,
    b"{": OBJECT,
    b"[": ARRAY,
    b"t": BOOLEAN,
    b"f": BOOLEAN,
    b"n": NULL,
}
_DECIMAL: Final = re.compile(rb"[.eE]")

# msgspec refuses lone surrogates, which JSON allows and JavaScript's clipped emojis produce. The
# replacement is as long as what it replaces, so that offsets hold. The one that follows an escaped
# backslash is not recognised; its line counts as unparseable.
_LONE_SURROGATE: Final = re.compile(
    rb"(?<!\\)\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\)(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
_REPLACEMENT: Final = rb"\\ufffd"


class Body(Struct, gc=False):
    """What the rules ask of a request's body."""

    model: Text = UNSET
    messages: Span = UNSET
    input: Span = UNSET
    prompt: Span = UNSET
    stream: Span = UNSET
    enable_thinking: Span = UNSET


class Envelope(Struct, gc=False):
    """What the rules ask of a line. A value of the wrong type is unset here, and a misfit."""

    custom_id: Text = UNSET
    method: Text = UNSET
    url: Text = UNSET
    body: Body | UnsetType = UNSET


class Items(Struct, array_like=True, gc=False):
    """Any array: nothing of it is kept, and nothing made for an item."""


class ChatBody(Struct, gc=False):
    """The body of a usual chat request; a value of another type makes the line unusual."""

    model: str
    messages: Items
    stream: bool | UnsetType = UNSET
    enable_thinking: bool | UnsetType | None = UNSET


class Chat(Struct, gc=False):
    """A line as nearly all of a file of chats are; one that does not fit may still be good."""

    custom_id: str
    method: Literal["POST"]
    url: str
    body: ChatBody


Misfits = Mapping[str, str]
"""The JSON type, with its article, of each parameter that has a wrong one."""

_FITS: Final[Misfits] = MappingProxyType({})
ENVELOPE: Final = msgspec.json.Decoder(Envelope)
CHATS: Final = msgspec.json.Decoder(Chat)
_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])
_ITEMS: Final = msgspec.json.Decoder(list[Raw])
_TEXT: Final = msgspec.json.Decoder(str)


def is_utf8(data: bytes) -> bool:
    """Whether every byte is strict UTF-8; the decoders check only what they keep."""
    if data.isascii():
        return True
    try:
        str(data, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def mended(data: bytes) -> bytes:
    """``data`` with lone surrogates replaced, length kept; itself where it has none."""
    if b"\\ud" in data or b"\\uD" in data:
        return _LONE_SURROGATE.sub(_REPLACEMENT, data)
    return data


def decode(decoder: msgspec.json.Decoder[Shape], data: bytes) -> Shape:
    """Decode, lone surrogates and all; raises ``UNREADABLE``."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        whole = mended(data)
        if whole == data:
            raise
        return decoder.decode(whole)


def decode_or_none(decoder: msgspec.json.Decoder[Shape], data: Raw | bytes) -> Shape | None:
    """As ``decode``; None for what is ``UNREADABLE``."""
    try:
        return decode(decoder, bytes(data))
    except UNREADABLE:
        return None


def read_fields(data: bytes) -> dict[str, Raw]:
    """The members of a JSON object, undecoded; raises ``UNREADABLE``."""
    return decode(_FIELDS, data)


def read_items(data: bytes) -> list[Raw]:
    """The items of a JSON array, undecoded; raises ``UNREADABLE``."""
    return decode(_ITEMS, data)


def read_envelope(data: bytes) -> tuple[Envelope, Misfits]:
    """What the line holds, and which of it has the wrong type.

    Raises ``UNREADABLE`` where the line is not a JSON object.
    """
    try:
        return decode(ENVELOPE, data), _FITS
    except msgspec.ValidationError:
        return _read_misfit(data)


def kind_of(value: Raw) -> str:
    """The JSON type of ``value`` with its article."""
    token = bytes(value)
    kind = _KINDS.get(token[:1])
    if kind is None:
        return "a decimal" if _DECIMAL.search(token) else INTEGER
    return kind


def begins(value: Span, byte: bytes) -> bool:
    """Whether there is a value and its first byte is ``byte``; copies nothing."""
    return not isinstance(value, UnsetType) and memoryview(value)[:1] == byte


def _read_misfit(data: bytes) -> tuple[Envelope, Misfits]:
    """Read a line in which some value, perhaps one that does not count, has the wrong type."""
    fields, misfits = read_fields(data), dict[str, str]()
    envelope = Envelope(
        custom_id=_text(fields, "custom_id", misfits),
        method=_text(fields, "method", misfits),
        url=_text(fields, "url", misfits),
        body=_body(fields, misfits),
    )
    return envelope, misfits


def _text(fields: Mapping[str, Raw], name: str, misfits: dict[str, str], path: str = "") -> Text:
    value = fields.get(name)
    if value is None:
        return UNSET
    if kind_of(value) is STRING:
        return _TEXT.decode(value)
    misfits[path + name] = kind_of(value)
    return UNSET


def _body(fields: Mapping[str, Raw], misfits: dict[str, str]) -> Body | UnsetType:
    value = fields.get("body")
    if value is None:
        return UNSET
    if kind_of(value) is not OBJECT:
        misfits["body"] = kind_of(value)
        return UNSET
    members = read_fields(bytes(value))
    spans = {name: members[name] for name in Body.__struct_fields__[1:] if name in members}
    return Body(model=_text(members, "model", misfits, "body."), **spans)
