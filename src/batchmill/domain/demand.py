"""Demand: what a file's lines ask of each model, in a few numbers for every line.

A ``Tally`` is handed the good lines of a check, one by one, and keeps where
each stands, how much text it holds and how long its answer may get: 24 bytes
a line, whatever its size. What that costs is ``estimate``'s business.
"""

from array import array
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import UNSET, Struct

from batchmill.domain import envelope as env
from batchmill.domain.lines import Line

NO_CAP: Final = -1

_LARGEST: Final = 2**31 - 1
# Six bytes spell a character that takes about three as UTF-8.
_ESCAPE: Final = b"\\u"
_SAVED_BY_ESCAPE: Final = 3


class Thinking(StrEnum):
    """Whether the lines of a file ask their model to think; all say the same."""

    ASKED = "asked"
    REFUSED = "refused"
    UNSAID = "unsaid"


class _Envelope(Struct, gc=False):
    body: env.Span = UNSET


class _Body(Struct, gc=False):
    messages: env.Span = UNSET
    input: env.Span = UNSET
    prompt: env.Span = UNSET
    instructions: env.Span = UNSET
    tools: env.Span = UNSET
    max_tokens: env.Span = UNSET
    max_completion_tokens: env.Span = UNSET
    max_output_tokens: env.Span = UNSET
    thinking_budget: env.Span = UNSET
    enable_thinking: env.Span = UNSET
    n: env.Span = UNSET


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_BODY: Final = msgspec.json.Decoder(_Body)


class Demand:
    """The lines of one model, in the file's order, by index from 0."""

    def __init__(self, model: str) -> None:
        self.model = model
        self._starts = array("Q")
        self._sizes = array("Q")
        self._texts = array("I")
        self._caps = array("i")

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def texts(self) -> Sequence[int]:
        """Bytes of text that each line has its model read."""
        return self._texts

    @property
    def caps(self) -> Sequence[int]:
        """The most tokens that each line may be answered with; NO_CAP without a limit."""
        return self._caps

    def span(self, index: int) -> tuple[int, int]:
        """Where a line stands in the file: its first byte, and the one behind its last."""
        start = self._starts[index]
        return start, start + self._sizes[index]

    def add(self, line: Line, text: int, cap: int) -> None:
        """Take the next line."""
        self._starts.append(line.start)
        self._sizes.append(line.end - line.start)
        self._texts.append(min(text, _LARGEST))
        self._caps.append(cap)

    def sample(self, most: int, most_bytes: int) -> Sequence[int]:
        """Indices spread evenly over the lines: all of them, or as many as may be read."""
        count = min(most, len(self))
        while True:
            picked = [at * len(self) // count for at in range(count)] if count else []
            if count < 2 or sum(self._sizes[index] for index in picked) <= most_bytes:
                return picked
            count //= 2


class Tally:
    """The demand of a file, by model."""

    def __init__(self) -> None:
        self._demands: dict[str, Demand] = {}
        self._thinking: Thinking | None = None

    @property
    def thinking(self) -> Thinking:
        """What the lines say about thinking."""
        return self._thinking or Thinking.UNSAID

    def demands(self) -> Iterator[Demand]:
        """By model, in the order in which they appeared."""
        return iter(self._demands.values())

    def add(self, line: Line, data: bytes) -> None:
        """Take a line that was found good, with its bytes."""
        demand = self._demands.get(line.model)
        if demand is None:
            demand = self._demands[line.model] = Demand(line.model)
        body = _read_body(data)
        if body is None:
            demand.add(line, len(data), NO_CAP)
            return
        if self._thinking is None:
            self._thinking = _thinking(body)
        demand.add(line, _text_bytes(body), _cap(body, thinks=self.thinking is Thinking.ASKED))


def _read_body(data: bytes) -> _Body | None:
    try:
        body = env.decode(_ENVELOPE, data).body
        return env.decode(_BODY, bytes(body)) if body is not UNSET else None
    except env.UNREADABLE:
        return None


def _thinking(body: _Body) -> Thinking:
    if env.begins(body.enable_thinking, b"t"):
        return Thinking.ASKED
    return Thinking.REFUSED if env.begins(body.enable_thinking, b"f") else Thinking.UNSAID


def _text_bytes(body: _Body) -> int:
    """The text as UTF-8, near enough: what the JSON spells out, escapes discounted."""
    return sum(
        len(text) - _SAVED_BY_ESCAPE * text.count(_ESCAPE)
        for text in (
            _bytes(span)
            for span in (body.messages, body.input, body.prompt, body.instructions, body.tools)
        )
    )


def _cap(body: _Body, *, thinks: bool) -> int:
    """The most tokens of all answers of a line.

    ``max_tokens`` does not bound what some servers think before they answer, so
    that a line which asks for thinking needs a bound on that as well.
    """
    whole = _number(body.max_completion_tokens) or _number(body.max_output_tokens)
    if whole is None:
        answer, thought = _number(body.max_tokens), _number(body.thinking_budget)
        if answer is None or (thinks and thought is None):
            return NO_CAP
        whole = answer + (thought or 0 if thinks else 0)
    return min(whole * (_number(body.n) or 1), _LARGEST)


def _number(span: env.Span) -> int | None:
    """A whole number from 1; None for whatever else stands there."""
    token = _bytes(span)
    return min(int(token), _LARGEST) or None if token.isdigit() and len(token) < 20 else None


def _bytes(span: env.Span) -> bytes:
    return b"" if span is UNSET else bytes(span)
