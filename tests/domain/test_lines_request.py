"""What the worker reads of a line: the client's own bytes, and bodies rewritten."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.catalog import Catalog
from batchmill.domain.limits import Limits, Profile
from batchmill.domain.lines import (
    FileCheck,
    LineRules,
    LineUnreadable,
    RawLine,
    Request,
    parse_request,
    read_url,
    rewrite_body,
)

STREAM = frozenset({"stream", "stream_options"})
HEAD = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":'

texts = st.text(max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
bodies = st.dictionaries(
    st.sampled_from(["stream", "stream_options", "temperature", "é", "n"]) | texts,
    values,
    max_size=5,
).map(lambda members: {"model": "m", "messages": []} | members)


def test_the_bytes_of_a_line_come_back_as_they_stand_in_it() -> None:
    body = b'{ "model" : "m\\u00e9" ,"messages":[ ],"x":1.50e+2, "y":"\\u0041\\/" }'
    line = b'{"body": ' + body + b' , "custom_id" :  "a\\u0062\\"c" ,"method":"POST"}'
    assert parse_request(line) == Request(b'"a\\u0062\\"c"', body, "mé")


def test_the_last_of_duplicate_keys_is_read() -> None:
    body = b'{"model":1,"model":"n"}'
    line = b'{"custom_id":5,"body":7,"custom_id":"b","body":' + body + b"}"
    assert parse_request(line) == Request(b'"b"', body, "n")


def test_lone_surrogates_are_kept() -> None:
    body = b'{"model":"m","messages":["\\ud83d","\\uDE00 \\ud83d\\ude00"]}'
    line = b'{"custom_id":"\\udfff","x":"\\ufffd","body":' + body + b"}"
    assert parse_request(line) == Request(b'"\\udfff"', body, "m")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"{}",
        b'{"custom_id":"a"}',
        b'{"custom_id":"a","body":[]}',
        b'{"custom_id":"a","body":{}}',
        b'{"custom_id":"a","body":{"model":5}}',
        b'{"custom_id":"a","body":{"model":"\xff"}}',
        b'{"custom_id":"a","\xff":1,"body":{"model":"a"}, }',
        b'{"custom_id":"a","body":' + b"[" * 100_000,
        b'{"x":"\\ud800","custom_id":"a","body":' + b"[" * 100_000,
    ],
)
def test_a_line_that_was_never_good_is_unreadable_without_its_content(line: bytes) -> None:
    with pytest.raises(LineUnreadable) as caught:
        parse_request(line)
    assert "custom_id" not in str(caught.value)


@given(texts.filter(bool), bodies, st.booleans())
def test_what_the_check_lets_through_is_read_in_the_same_way(
    custom_id: str, body: dict[str, Any], ascii_only: bool
) -> None:
    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    text = json.dumps(line, ensure_ascii=ascii_only)
    data = text.encode(errors="surrogatepass")
    rules = LineRules("/v1/chat/completions", Catalog(accepts_any=True), Profile.QWEN, Limits())
    found = FileCheck(rules).check(RawLine(1, 0, len(data), data))
    if found is None:
        return
    request = parse_request(data)
    assert json.loads(request.custom_id) == custom_id
    assert json.loads(request.body) == body
    assert request.body in data
    assert (found.custom_id, found.model) == (json.loads(request.custom_id), request.model)


def test_a_body_that_needs_no_change_is_the_same_object() -> None:
    for body in (
        b'{"model":"m","messages":[]}',
        b'{"model":"m","messages":["say \\"stream\\" please"]}',
        b'{"model":"m","messages":["\\u00e9"]}',
        b'{"model":"m","messages":[{"stream":true}]}',
    ):
        assert rewrite_body(body, drop=STREAM, model=None) is body
        assert rewrite_body(body, drop=STREAM, model="m") is body
        assert rewrite_body(body, drop=frozenset(), model=None) is body


def test_dropped_keys_go_however_they_are_written_and_all_else_stays() -> None:
    body = (
        b'{"stream":true,"model":"m" ,"str\\u0065am_options": {"a":[1,2]},'
        b'"x": 1.50e+2,"y":"\\u0041", "stream":false}'
    )
    assert rewrite_body(body, drop=STREAM, model=None) == (
        b'{"model":"m","x":1.50e+2,"y":"\\u0041"}'
    )


def test_a_key_that_hides_behind_an_escape_goes_too() -> None:
    body = b'{"model":"m","str\\u0065am":true}'
    assert rewrite_body(body, drop=STREAM, model=None) == b'{"model":"m"}'


def test_the_model_is_replaced_in_its_place() -> None:
    body = b'{"a":1,"model":"m","b":[ 2 ]}'
    want = b'{"a":1,"model":"Qwen/\xc3\xa9","b":[ 2 ]}'
    assert rewrite_body(body, drop=frozenset(), model="Qwen/é") == want


def test_a_body_with_a_lone_surrogate_can_be_rewritten() -> None:
    body = b'{"model":"m","stream":true,"messages":["\\ud83d"]}'
    want = b'{"model":"m","messages":["\\ufffd"]}'
    assert rewrite_body(body, drop=STREAM, model=None) == want


@pytest.mark.parametrize("body", [b"[]", b"{", b"{}", b'{"model":5}', b"[" * 100_000])
def test_a_body_that_was_never_good_is_unreadable(body: bytes) -> None:
    with pytest.raises(LineUnreadable):
        rewrite_body(body, drop=STREAM, model="other")


@given(bodies, st.booleans(), st.none() | texts)
def test_rewriting_changes_what_it_should_and_nothing_else(
    body: dict[str, Any], ascii_only: bool, model: str | None
) -> None:
    body["model"] = "m"
    data = json.dumps(body, ensure_ascii=ascii_only).encode()
    want = {key: value for key, value in body.items() if key not in STREAM}
    if model is not None:
        want["model"] = model
    assert json.loads(rewrite_body(data, drop=STREAM, model=model)) == want


def test_the_url_of_a_line_is_read_where_there_is_one() -> None:
    assert read_url(HEAD + b"{}}") == "/v1/chat/completions"
    for data in (b"{}", b"nonsense", b'{"url":5}', b'{"url":"\xff"}', b"[" * 100_000):
        assert read_url(data) is None
