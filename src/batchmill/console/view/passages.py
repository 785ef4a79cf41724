"""Text of a line as far as it is shown: cut passages, and JSON with a line for each value. Pure.

No side of a line is shown beyond ``MOST_SHOWN``; nothing here raises for the
content of a line.
"""

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from batchmill.domain.limits import MB

MOST_SHOWN: Final = 64 * 1024
MOST_PICTURES: Final = 4 * MB

_MOST_NAME_CHARS: Final = 100
_DEEPEST: Final = 20
_PICTURE: Final = re.compile(r"data:image/(?:png|jpe?g|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")
_PIECE: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[{}\[\],:]|[^\s"{}\[\],:]+|"', re.DOTALL)
_OPENING: Final = frozenset("{[")
_CLOSING: Final = frozenset("}]")


@dataclass(frozen=True, slots=True)
class Passage:
    """Text as far as it is shown; ``whole`` is the size in bytes of what was cut, else None."""

    text: str
    whole: int | None = None


NOTHING: Final = Passage("")


class Allowance:
    """How much of a side of a line may still be shown."""

    def __init__(self) -> None:
        self._text = MOST_SHOWN
        self._pictures = MOST_PICTURES

    def passage(self, text: str) -> Passage:
        """The text, as far as the allowance goes."""
        shown = text[: self._text]
        self._text -= len(shown)
        is_cut = len(shown) < len(text)
        return Passage(shown, len(text.encode("utf-8", "replace")) if is_cut else None)

    def spelled(self, value: object) -> Passage:
        """A value as JSON, as far as the allowance goes."""
        return self.passage(spell(value))

    def takes_picture(self, source: str) -> bool:
        """Whether the picture carries its bytes in itself, and there is room for it."""
        if len(source) > self._pictures or _PICTURE.fullmatch(source) is None:
            return False
        self._pictures -= len(source)
        return True


def indented(data: bytes) -> Passage:
    """JSON with a line for each value, as far as ``MOST_SHOWN`` goes.

    Values stand as they were written, and so does what is no JSON.
    """
    out: list[str] = []
    size = depth = 0
    last = ""
    for match in _PIECE.finditer(data[:MOST_SHOWN].decode("utf-8", "replace")):
        piece = match[0]
        depth -= piece in _CLOSING
        out.append(_gap(last, piece, depth) + piece)
        depth += piece in _OPENING
        size += len(out[-1])
        last = piece
        if size > MOST_SHOWN:
            break
    is_cut = len(data) > MOST_SHOWN or size > MOST_SHOWN
    return Passage("".join(out)[:MOST_SHOWN], len(data) if is_cut else None)


def _gap(last: str, piece: str, depth: int) -> str:
    """What stands between two pieces."""
    if not last or piece in {",", ":"}:
        return ""
    if last == ":":
        return " "
    if last in _OPENING and piece in _CLOSING:
        return ""
    if last == "," or last in _OPENING or piece in _CLOSING:
        return "\n" + "  " * min(max(depth, 0), _DEEPEST)
    return " "


def spell(value: object) -> str:
    """A value as JSON."""
    return msgspec.json.encode(value).decode()


def as_text(value: object) -> str:
    """Text as it is, nothing as nothing, all else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else spell(value)


def as_name(value: object) -> str:
    """The same, short enough for a name."""
    return cut(as_text(value), _MOST_NAME_CHARS)


def cut(text: str, most: int) -> str:
    """At most ``most`` characters of a text."""
    return text if len(text) <= most else text[: most - 1] + "…"
