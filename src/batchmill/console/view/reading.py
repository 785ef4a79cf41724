"""Reading a line: what a request and its answer hold, laid out for people. Pure.

Nothing here raises for the content of a line: what cannot be laid out is shown
as it was written. What a line only points at is named and never fetched.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from batchmill.console.view.passages import (
    NOTHING,
    Allowance,
    Passage,
    as_name,
    as_text,
    cut,
    indented,
)
from batchmill.console.view.vectors import Vector, read_vectors
from batchmill.domain.envelope import UNREADABLE, decode_or_none, read_fields

MOST_TURNS: Final = 200
MOST_PARTS: Final = 100
MOST_SETTINGS: Final = 20

# What holds more values is not worth the memory that laying it out would take.
_MOST_VALUES: Final = 500_000
_MOST_SETTING_CHARS: Final = 300
_MOST_READ_BYTES: Final = 2_000
_NULL: Final = Raw(b"null")
_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool"})


@dataclass(frozen=True, slots=True)
class Part:
    """A part of what was said. A picture has its bytes in ``source``, a ``data:`` address."""

    kind: Literal["text", "picture", "other"]
    label: str = ""
    text: Passage = NOTHING
    source: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool that the model asked for."""

    name: str
    arguments: Passage


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side of a conversation said, thought and asked for."""

    role: str
    parts: Sequence[Part] = ()
    reasoning: Passage | None = None
    calls: Sequence[Call] = ()
    note: str = ""

    @property
    def look(self) -> str:
        """The role, if it is a known one: names of styles are not for strangers to choose."""
        return self.role if self.role in _ROLES else "other"


@dataclass(frozen=True, slots=True)
class Side:
    """A request or an answer. ``body`` is what could not be laid out any better.

    ``left`` counts turns or vectors that are not shown; ``raw`` is the whole line.
    """

    raw: Passage
    settings: Sequence[tuple[str, str]] = ()
    turns: Sequence[Turn] = ()
    vectors: Sequence[Vector] = ()
    body: Passage | None = None
    left: int = 0


class _Request(Struct, gc=False):
    method: Raw = _NULL
    url: Raw = _NULL
    body: Raw = _NULL


class _Asked(Struct, gc=False):
    messages: Raw = _NULL
    instructions: Raw = _NULL
    input: Raw = _NULL
    prompt: Raw = _NULL


class _Result(Struct, gc=False):
    response: Raw = _NULL


class _Response(Struct, gc=False):
    body: Raw = _NULL


class _Answered(Struct, gc=False):
    choices: Raw = _NULL
    output: Raw = _NULL
    data: Raw = _NULL


_REQUEST: Final = msgspec.json.Decoder(_Request)
_ASKED: Final = msgspec.json.Decoder(_Asked)
_RESULT: Final = msgspec.json.Decoder(_Result)
_RESPONSE: Final = msgspec.json.Decoder(_Response)
_ANSWERED: Final = msgspec.json.Decoder(_Answered)
_ANY: Final = msgspec.json.Decoder(Any)


def read_request(line: bytes) -> Side:
    """A line of an input file."""
    request = decode_or_none(_REQUEST, line) or _Request()
    asked = decode_or_none(_ASKED, request.body) or _Asked()
    turns, count = _asked_turns(asked, Allowance())
    head = {"method": request.method, "url": request.url}
    if not turns:
        return _plain(line, request.body, _settings(head))
    members = {**head, **_members(request.body)}
    settings = _settings(members, hidden=_Asked.__struct_fields__)
    return Side(indented(line), settings, turns=turns, left=count - len(turns))


def read_answer(line: bytes) -> Side:
    """A line of an output or error file."""
    result = decode_or_none(_RESULT, line) or _Result()
    response = decode_or_none(_RESPONSE, result.response) or _Response()
    answered = decode_or_none(_ANSWERED, response.body) or _Answered()
    turns, count = _answered_turns(answered, Allowance())
    vectors: Sequence[Vector] = ()
    if not turns:
        vectors, count = read_vectors(answered.data)
    if not (turns or vectors):
        return _plain(line, response.body, ())
    settings = _settings(_members(response.body), hidden=_Answered.__struct_fields__)
    left = count - len(turns) - len(vectors)
    return Side(indented(line), settings, turns=turns, vectors=vectors, left=left)


def _plain(line: bytes, body: Raw, settings: Sequence[tuple[str, str]]) -> Side:
    """A body that is shown as it is."""
    has_body = bytes(body) != bytes(_NULL)
    shown = indented(bytes(body)) if has_body else None
    return Side(indented(line), settings, body=shown)


# --- requests ---


def _asked_turns(asked: _Asked, allowance: Allowance) -> tuple[list[Turn], int]:
    """The first turns of a request, and how many there are."""
    messages = _value(asked.messages)
    if isinstance(messages, list):
        return [_turn(one, allowance) for one in messages[:MOST_TURNS]], len(messages)
    first: list[Turn] = []
    instructions = _value(asked.instructions)
    if isinstance(instructions, str):
        first.append(Turn("system", _parts(instructions, allowance)))
    wanted = _value(asked.input)
    inputs = _inputs(_value(asked.prompt) if wanted is None else wanted)
    shown = [_input(one, allowance) for one in inputs[: MOST_TURNS - len(first)]]
    return [*first, *shown], len(first) + len(inputs)


def _inputs(value: object) -> list[object]:
    """The input of a request that is no chat: a text, several, or a conversation."""
    if isinstance(value, str):
        return [value]
    items = value if isinstance(value, list) else []
    return items if any(isinstance(one, str | dict) for one in items) else []


def _input(value: object, allowance: Allowance) -> Turn:
    if isinstance(value, dict):
        return _output(value, allowance)
    return Turn("input", _parts(value, allowance))


def _turn(message: object, allowance: Allowance) -> Turn:
    """A message of a chat, the request's or the answer's."""
    if not isinstance(message, dict):
        return Turn("", _parts(message, allowance))
    refusal = message.get("refusal")
    thought = message.get("reasoning_content") or message.get("reasoning")
    reasoning = allowance.passage(thought) if isinstance(thought, str) and thought else None
    parts = [*_parts(message.get("content"), allowance)]
    if refusal:
        parts.append(Part("text", "Refused", allowance.passage(as_text(refusal))))
    wanted = [*_dicts(message.get("tool_calls")), *_dicts([message.get("function_call")])]
    answers = message.get("tool_call_id")
    return Turn(
        role=as_name(message.get("role")),
        parts=parts,
        reasoning=reasoning,
        calls=[_call(one, allowance) for one in wanted[:MOST_PARTS]],
        note=f"answers {as_name(answers)}" if isinstance(answers, str) else "",
    )


def _call(call: dict[str, Any], allowance: Allowance) -> Call:
    asked = call.get("function")
    named = asked if isinstance(asked, dict) else call
    return Call(as_name(named.get("name")), allowance.passage(as_text(named.get("arguments"))))


def _parts(content: object, allowance: Allowance) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Part("text", "", allowance.passage(content))]
    if isinstance(content, list):
        return [_part(one, allowance) for one in content[:MOST_PARTS]]
    return [Part("other", "", allowance.spelled(content))]


def _part(part: object, allowance: Allowance) -> Part:
    if isinstance(part, str):
        return Part("text", "", allowance.passage(part))
    if not isinstance(part, dict):
        return Part("other", "", allowance.spelled(part))
    for name, label in (("text", ""), ("refusal", "Refused")):
        text = part.get(name)
        if isinstance(text, str):
            return Part("text", label, allowance.passage(text))
    for name in ("image_url", "image"):
        source = _address(part.get(name))
        if source is not None:
            return _picture(source, allowance)
    return _other(part, allowance)


def _picture(source: str, allowance: Allowance) -> Part:
    if allowance.takes_picture(source):
        return Part("picture", "Image", source=source)
    label = "Image that is not shown" if source.startswith("data:") else "Image, not loaded"
    return Part("other", label, allowance.passage(source))


def _other(part: dict[str, Any], allowance: Allowance) -> Part:
    """Sound, video, a file: its kind, and where it is; anything else as JSON."""
    kind = part.get("type")
    if isinstance(kind, str):
        address = _address(part.get(kind))
        label = as_name(kind).replace("_", " ")
        text = allowance.spelled(part) if address is None else allowance.passage(address)
        return Part("other", label, text)
    return Part("other", "", allowance.spelled(part))


def _address(value: object) -> str | None:
    """Where a part's content is: an address, or the content itself."""
    if isinstance(value, dict):
        value = value.get("url") or value.get("data")
    return value if isinstance(value, str) else None


# --- answers ---


def _choice(choice: dict[str, Any], allowance: Allowance) -> Turn:
    if "message" in choice:
        turn = _turn(choice["message"], allowance)
    else:
        turn = Turn("assistant", _parts(choice.get("text"), allowance))
    reason = choice.get("finish_reason")
    note = f"ended by {as_name(reason)}" if isinstance(reason, str) else ""
    return Turn(turn.role or "assistant", turn.parts, turn.reasoning, turn.calls, note)


def _answered_turns(answered: _Answered, allowance: Allowance) -> tuple[list[Turn], int]:
    choices, output = _dicts(_value(answered.choices)), _dicts(_value(answered.output))
    turns = [_choice(one, allowance) for one in choices[:MOST_TURNS]]
    turns += [_output(one, allowance) for one in output[: MOST_TURNS - len(turns)]]
    return turns, len(choices) + len(output)


def _output(item: dict[str, Any], allowance: Allowance) -> Turn:
    """An item of a response, or of a request for one."""
    kind = item.get("type")
    if kind == "reasoning":
        said = [*_dicts(item.get("summary")), *_dicts(item.get("content"))]
        thought = "\n\n".join(as_text(one.get("text")) for one in said)
        return Turn("assistant", reasoning=allowance.passage(thought))
    if kind == "function_call":
        return Turn("assistant", calls=[_call(item, allowance)])
    if "role" in item or kind == "message":
        return _turn(item, allowance)
    return Turn(as_name(kind), [Part("other", "", allowance.spelled(item))])


# --- values ---


def _settings(members: Mapping[str, Raw], *, hidden: Sequence[str] = ()) -> list[tuple[str, str]]:
    """What a body says besides what is laid out: a name and a value each."""
    named = [(name, value) for name, value in members.items() if name not in hidden]
    shown = [(as_name(name), _setting(value)) for name, value in named[:MOST_SETTINGS]]
    return [(name, value) for name, value in shown if value != "null"]


def _setting(value: Raw) -> str:
    found = _value(value) if len(bytes(value)) <= _MOST_READ_BYTES else None
    if isinstance(found, str):
        return cut(found, _MOST_SETTING_CHARS)
    if isinstance(found, dict):
        return cut(", ".join(_leaves(found)), _MOST_SETTING_CHARS)
    return cut(bytes(value).decode("utf-8", "replace"), _MOST_SETTING_CHARS)


def _leaves(members: dict[str, Any]) -> Iterator[str]:
    """Names and values of an object and of those within it, such as usage has."""
    for name, value in members.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        elif value is not None:
            yield f"{as_name(name)} {as_name(value)}"


def _members(body: Raw) -> dict[str, Raw]:
    """The members of an object; none where it has too many to look at."""
    try:
        return read_fields(bytes(body)) if _is_small(bytes(body)) else {}
    except UNREADABLE:
        return {}


def _value(raw: Raw) -> Any:
    """The value in Python; None where it cannot be read, or holds too many."""
    return decode_or_none(_ANY, raw) if _is_small(bytes(raw)) else None


def _is_small(data: bytes) -> bool:
    return sum(data.count(mark) for mark in (b",", b"{", b"[")) <= _MOST_VALUES


def _dicts(value: object) -> list[dict[str, Any]]:
    items = value if isinstance(value, list) else []
    return [one for one in items if isinstance(one, dict)]
