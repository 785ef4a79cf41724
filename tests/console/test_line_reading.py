"""Reading lines: every shape of request and answer, and nothing that is too much for it."""

import json
from base64 import b64encode
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.console.view.passages import MOST_PICTURES, MOST_SHOWN, Allowance, indented
from batchmill.console.view.reading import (
    MOST_PARTS,
    MOST_TURNS,
    Side,
    Turn,
    read_answer,
    read_request,
)
from batchmill.console.view.vectors import MOST_VECTORS


def asked(**body: Any) -> Side:
    line = {"custom_id": "1", "method": "POST", "url": "/v1/x", "body": body}
    return read_request(json.dumps(line).encode())


def answered(**body: Any) -> Side:
    line = {"id": "x", "custom_id": "1", "response": {"status_code": 200, "body": body}}
    return read_answer(json.dumps({**line, "error": None}).encode())


def said(turn: Turn) -> list[str]:
    return [part.text.text for part in turn.parts]


def test_a_text_is_cut_where_the_allowance_of_its_side_ends() -> None:
    messages = [{"role": "user", "content": "ä" * (MOST_SHOWN - 1)}, {"content": "bcd"}]
    side = asked(messages=messages)
    first, second = (turn.parts[0].text for turn in side.turns)
    assert first.whole is None
    assert (second.text, second.whole) == ("b", 3)
    assert side.raw.whole is not None


def test_a_conversation_is_cut_and_what_is_left_is_counted() -> None:
    full = asked(messages=[{"role": "user", "content": "x"}] * MOST_TURNS)
    over = asked(messages=[{"role": "user", "content": "x"}] * (MOST_TURNS + 3))
    assert (len(full.turns), full.left) == (MOST_TURNS, 0)
    assert (len(over.turns), over.left) == (MOST_TURNS, 3)
    [turn] = asked(messages=[{"content": ["x"] * (MOST_PARTS + 1)}]).turns
    assert len(turn.parts) == MOST_PARTS


def test_roles_of_strangers_choose_no_style() -> None:
    roles = ["user", "assistant", "tool", "system", "developer", "unseen", "", None, 7]
    side = asked(messages=[{"role": role, "content": ""} for role in roles])
    assert [turn.look for turn in side.turns] == [*roles[:5], *["other"] * 4]


def test_tools_reasoning_and_refusals_are_told_apart() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    message = {
        "role": "assistant",
        "content": None,
        "refusal": "No.",
        "reasoning_content": "Hm.",
        "tool_calls": [call],
    }
    [turn] = answered(choices=[{"message": message, "finish_reason": "tool_calls"}]).turns
    assert said(turn) == ["No."]
    assert turn.reasoning is not None
    assert turn.reasoning.text == "Hm."
    assert [(one.name, one.arguments.text) for one in turn.calls] == [("f", '{"a":1}')]
    assert turn.note == "ended by tool_calls"
    [answer] = asked(messages=[{"role": "tool", "tool_call_id": "c", "content": "22"}]).turns
    assert answer.note == "answers c"


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ({"prompt": "once"}, [["once"]]),
        ({"prompt": ["a", "b"]}, [["a"], ["b"]]),
        ({"input": "once"}, [["once"]]),
        ({"input": ["a", "b"]}, [["a"], ["b"]]),
        ({"instructions": "be brief", "input": "hi"}, [["be brief"], ["hi"]]),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}]}, [["x"]]),
        ({"messages": ["odd", 7]}, [["odd"], ["7"]]),
    ],
)
def test_requests_that_are_no_chats_are_laid_out_too(body: Any, texts: Any) -> None:
    assert [said(turn) for turn in asked(**body).turns] == texts


def test_answers_that_are_no_chats_are_laid_out_too() -> None:
    [turn] = answered(choices=[{"text": "done", "finish_reason": "length"}]).turns
    assert (turn.role, said(turn), turn.note) == ("assistant", ["done"], "ended by length")
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [{"text": "Hi."}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "web_search_call", "id": "w"},
    ]
    thought, spoken, called, other = answered(output=output).turns
    assert thought.reasoning is not None
    assert thought.reasoning.text == "Hm."
    assert said(spoken) == ["Hi."]
    assert called.calls[0].name == "f"
    assert (other.role, said(other)) == ("web_search_call", ['{"type":"web_search_call","id":"w"}'])


def test_only_pictures_that_carry_their_bytes_are_pictures() -> None:
    png = "data:image/png;base64,"
    sources = [
        f"{png}AAAA",
        "data:image/jpg;base64,AA==",
        "https://example.com/a.png",
        "data:image/svg+xml;base64,AAAA",
        "data:text/html;base64,AAAA",
        f'{png}A"onerror=x',
        "javascript:alert(1)",
        f"{png}{'A' * MOST_PICTURES}",
    ]
    parts = [{"type": "image_url", "image_url": {"url": source}} for source in sources]
    [turn] = asked(messages=[{"role": "user", "content": parts}]).turns
    assert [part.kind for part in turn.parts] == ["picture"] * 2 + ["other"] * 6
    assert turn.parts[2].text.text == "https://example.com/a.png"


def test_pictures_have_an_allowance_as_well() -> None:
    head = "data:image/png;base64,"
    just = head + "A" * (MOST_PICTURES - len(head))
    assert Allowance().takes_picture(just)
    assert not Allowance().takes_picture(just + "A")
    used = Allowance()
    assert used.takes_picture(just)
    assert not used.takes_picture(head + "A")


def test_other_media_are_named_and_not_loaded() -> None:
    parts = [
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        {"type": "video_url", "video_url": {"url": "https://example.com/v.mp4"}},
        {"type": "odd", "value": 1},
    ]
    [turn] = asked(messages=[{"role": "user", "content": parts}]).turns
    assert [part.label for part in turn.parts] == ["input audio", "video url", "odd"]
    assert said(turn) == ["AAAA", "https://example.com/v.mp4", '{"type":"odd","value":1}']


def test_embeddings_tell_their_length_and_first_numbers() -> None:
    packed = b64encode(pack("<6f", 1, 2, 3, 4, 5, 6)).decode()
    for embedding in ([1, 2.5, -3e-5, 4, 5, 6], packed):
        side = answered(data=[{"index": 0, "embedding": embedding}], model="m")
        [vector] = side.vectors
        assert vector.dimensions == 6
        assert len(vector.first) == 5
        assert vector.first[0] == "1"
        assert not side.turns
        assert side.body is None
    assert answered(data=[{"embedding": []}]).vectors[0].dimensions == 0
    [short] = answered(data=[{"embedding": b64encode(pack("<2f", 1, 2)).decode()}]).vectors
    assert (short.dimensions, list(short.first)) == (2, ["1", "2"])


def test_many_embeddings_are_counted() -> None:
    full = answered(data=[{"embedding": [1]}] * MOST_VECTORS)
    over = answered(data=[{"embedding": [1]}] * (MOST_VECTORS + 1))
    assert (len(full.vectors), full.left) == (MOST_VECTORS, 0)
    assert (len(over.vectors), over.left) == (MOST_VECTORS, 1)


def test_what_has_no_embeddings_is_json() -> None:
    odd: list[Any] = [[{"url": "x"}], [{"embedding": "?"}], [1], "x", {}]
    for data in odd:
        side = answered(data=data)
        assert not side.vectors
        assert side.body is not None
        assert '"data"' in side.body.text


def test_json_gets_a_line_for_each_value() -> None:
    assert indented(b'{"a":[1,{}, [ ]],"b":{"c":"x,{\\"y"},"d":null}').text == (
        '{\n  "a": [\n    1,\n    {},\n    []\n  ],\n'
        '  "b": {\n    "c": "x,{\\"y"\n  },\n  "d": null\n}'
    )


def test_json_is_cut_at_what_is_shown_and_not_before() -> None:
    just = b'"' + b"x" * (MOST_SHOWN - 2) + b'"'
    assert indented(just).whole is None
    over = indented(just + b" ")
    assert over.whole == MOST_SHOWN + 1
    assert len(over.text) == MOST_SHOWN
    spread = indented(b"[" + b"1," * (MOST_SHOWN // 3) + b"1]")
    assert len(spread.text) == MOST_SHOWN
    assert spread.whole is not None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{",
        b'{"body":',
        b"{" * 100_000,
        b'{"body":{"messages":' + b"[" * 100_000,
        b'{"response":{"body":{"choices":' + b"[" * 100_000,
        b'{"body":{"messages":[{"role":"user","content":"\xed\xa0\x80"}]}}',
        b'{"body":{"messages":[' + b"9" * 6_000 + b"]}}",
        b'{"body":{"messages":[' + b"{}," * 300_000 + b"{}]}}",
    ],
)
def test_what_cannot_be_read_is_shown_raw(line: bytes) -> None:
    for side in (read_request(line), read_answer(line)):
        assert not side.turns
        assert side.raw.text.startswith(line[:1].decode("utf-8", "replace"))


def test_half_of_a_surrogate_pair_does_not_hide_a_line() -> None:
    line = b'{"body":{"messages":[{"role":"user","content":"cut \\ud83d here"}]}}'
    assert said(read_request(line).turns[0]) == ["cut \ufffd here"]


NAMES = (
    *("role", "content", "type", "text", "image_url", "url", "tool_calls", "function", "name"),
    *("arguments", "message", "embedding", "refusal", "reasoning_content", "summary", "data"),
    *("input_audio", "finish_reason", "tool_call_id", "function_call", "reasoning"),
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(
    VALUES,
    st.sampled_from(["messages", "input", "prompt", "instructions", "choices", "output", "data"]),
)
def test_no_content_is_too_odd_to_be_read(value: Any, name: str) -> None:
    for body in (value, [value], [{"role": "user", "content": value}], [{"message": value}]):
        line = {"body": {name: body}, "response": {"body": {name: body}}}
        data = json.dumps(line).encode()
        assert read_request(data).raw.text
        assert read_answer(data).raw.text
