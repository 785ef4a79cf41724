"""Judging answers of every shape, and writing result lines that hold them."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.domain.results import Answer, error_line, judge, output_line
from batchmill.domain.usage import ZERO, Usage

KEYS = ["id", "custom_id", "response", "error"]
NOT_JSON = "an answer that is not whole JSON"
NO_OBJECT = "an answer that is not a JSON object"
AN_ERROR = "status 200 with an error object"
CHAT = b'{"id":"1","choices":[{"message":{"content":"hi"}}],"usage":%b}'


def answer_with(usage: str) -> Answer:
    answer = judge(200, CHAT % usage.encode())
    assert answer.is_success
    return answer


# --- Usage. ---


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ('{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}', Usage(5, 7)),
        ('{"prompt_tokens":5,"total_tokens":5}', Usage(5, 0)),
        ('{"total_tokens":9}', Usage(9, 0)),
        ('{"input_tokens":3,"output_tokens":4,"total_tokens":7}', Usage(3, 4)),
        (
            '{"prompt_tokens":5,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":2}}',
            Usage(5, 7, 2),
        ),
        (
            '{"completion_tokens":7,"completion_tokens_details":{"reasoning_tokens":3,"x":null}}',
            Usage(0, 7, 0, 3),
        ),
        (
            '{"input_tokens":8,"output_tokens":9,"output_tokens_details":{"reasoning_tokens":1}}',
            Usage(8, 9, 0, 1),
        ),
        (
            '{"input_tokens":8,"input_tokens_details":{"cached_tokens":2}}',
            Usage(8, 0, 2, 0),
        ),
        ('{"prompt_tokens":5,"prompt_tokens_details":null}', Usage(5, 0)),
        ('{"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":null}}', Usage(5, 0)),
        ('{"prompt_tokens":null,"completion_tokens":7}', Usage(0, 7)),
        ('{"prompt_tokens":-5,"completion_tokens":7}', Usage(0, 7)),
        ('{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}', ZERO),
        ("{}", ZERO),
        ("null", ZERO),
    ],
)
def test_the_tokens_of_every_endpoints_usage(usage: str, expected: Usage) -> None:
    assert answer_with(usage).usage == expected


@pytest.mark.parametrize(
    "usage",
    [
        '"many"',
        "[1,2]",
        "7",
        "true",
        '{"prompt_tokens":"5"}',
        '{"prompt_tokens":1.5}',
        '{"prompt_tokens":true}',
        '{"prompt_tokens":5,"prompt_tokens_details":[]}',
    ],
)
def test_a_usage_of_a_shape_of_its_own_counts_nothing_and_fails_nothing(usage: str) -> None:
    answer = answer_with(usage)
    assert answer.usage == ZERO
    assert answer.body == CHAT % usage.encode()


def test_no_usage_at_all_counts_nothing() -> None:
    answer = judge(200, b'{"choices":[]}')
    assert answer.is_success
    assert answer.usage == ZERO


def prompt_tokens(number: int) -> Usage:
    return answer_with(f'{{"prompt_tokens":{number},"completion_tokens":1}}').usage


def test_a_number_of_tokens_that_cannot_be_counts_nothing() -> None:
    assert prompt_tokens(2**40) == Usage(2**40, 1)
    for absurd in (2**40 + 1, 2**63, 10**30):
        assert prompt_tokens(absurd) == Usage(0, 1)


# --- What is no answer. ---


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b'{"error":{"message":"x","code":"boom"}}', AN_ERROR),
        (b'{"error":"it broke"}', AN_ERROR),
        (b'{"error":{}}', AN_ERROR),
        (b'{"choices":[],"error":{"message":"x"},"usage":"odd"}', AN_ERROR),
        (b'{"object":"error","message":"x","code":500}', AN_ERROR),
        (b'{"object" : "error" }', AN_ERROR),
        (b"", NOT_JSON),
        (b"   ", NOT_JSON),
        (b"<html>Bad gateway</html>", NOT_JSON),
        (b'{"choices":[', NOT_JSON),
        (b'{"choices":[]', NOT_JSON),
        (b'{"choices":[]} and more', NOT_JSON),
        (b'{"choices":[]}{"choices":[]}', NOT_JSON),
        (b'{"usage":"odd","choices":[', NOT_JSON),
        (b'{"usage":"odd","choices":' + b"[" * 200_000, NOT_JSON),
        (b'{"a":NaN}', NOT_JSON),
        (b'{"a":"\x01"}', NOT_JSON),
        (b'{"a":"one\ntwo"}', NOT_JSON),
        (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", NOT_JSON),
        (b'{"choices":["\xff"]}', "an answer that is not UTF-8"),
        (b'{"choices":["\xed\xa0\x80"]}', "an answer that is not UTF-8"),
        (b"[1,2]", NO_OBJECT),
        (b'"text"', NO_OBJECT),
        (b"null", NO_OBJECT),
        (b"42", NO_OBJECT),
    ],
)
def test_a_200_that_is_no_answer_is_at_fault_and_says_why(body: bytes, fault: str) -> None:
    answer = judge(200, body)
    assert (answer.fault, answer.body, answer.usage) == (fault, None, ZERO)
    assert not answer.is_success


@pytest.mark.parametrize("body", [b'{"error":null}', b'{"error": null , "object":"list"}'])
def test_an_error_that_is_null_is_none(body: bytes) -> None:
    assert judge(200, body).is_success


def test_an_error_deeper_down_is_none_of_ours() -> None:
    assert judge(200, b'{"choices":[{"error":{"message":"x"}}]}').is_success


@pytest.mark.parametrize("status", [201, 204, 301, 400, 404, 429, 500, 503])
def test_another_status_is_no_success_but_no_bad_200_either(status: int) -> None:
    answer = judge(status, b'{"error":{"message":"no"},"usage":{"prompt_tokens":5}}')
    assert not answer.is_success
    assert (answer.status, answer.fault, answer.usage) == (status, None, ZERO)
    assert answer.body == b'{"error":{"message":"no"},"usage":{"prompt_tokens":5}}'


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[1]", b'"no"', b'{"a":', b'{"a":"\xff"}', b"[" * 200_000]
)
def test_an_error_answer_whose_body_is_no_object_has_none(body: bytes) -> None:
    assert judge(500, body).body is None


# --- The bytes of the answer. ---


def test_the_bytes_of_an_answer_stay_as_they_are() -> None:
    body = (
        b'{ "n" : 1.50, "e":1E5, "u":"\\u0041\\/\xc3\xa9", "a":1, "a":2, "b":12345678901234567.0 }'
    )
    assert judge(200, body).body == body
    assert judge(400, body).body == body


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r", b"\n\n  \t"])
def test_newlines_are_compacted_and_every_token_stays(newline: bytes) -> None:
    tokens = [b"{", b'"n":1.50,', b'"e":1E5,', b'"u":"a b \\u0041\\/\\n\xc3\xa9"', b"}"]
    answer = judge(200, newline.join(tokens) + newline)
    assert answer.body == b"".join(tokens)


@pytest.mark.parametrize("status", [200, 400])
def test_lone_surrogates_are_kept_with_newlines_and_without(status: int) -> None:
    assert judge(status, b'{"a":"\\ud83d!"}').body == b'{"a":"\\ud83d!"}'
    assert judge(status, b'{\n"a":"\\ud83d!"\n}').body == b'{"a":"\\ud83d!"}'


def test_deep_but_bearable_nesting_is_an_answer() -> None:
    body = b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"
    assert judge(200, body).body == body


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=6,
)
objects = st.dictionaries(st.text().filter(lambda key: key not in ("error", "object")), json_values)


@settings(max_examples=60, deadline=None)
@given(objects, st.sampled_from([None, 1, "\t"]), st.booleans(), st.sampled_from([200, 404]))
def test_any_object_comes_through_on_one_line(
    value: dict[str, Any], indent: int | str | None, ascii_only: bool, status: int
) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    answer = judge(status, body)
    assert answer.body is not None
    assert b"\n" not in answer.body
    assert b"\r" not in answer.body
    assert json.loads(answer.body) == value


@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)), st.integers(100, 599)
)
def test_no_bytes_make_the_judge_raise(body: bytes, status: int) -> None:
    answer = judge(status, body)
    assert not answer.is_success or isinstance(json.loads(body), dict)


@given(st.data())
def test_no_cut_of_an_answer_passes_for_the_whole(data: st.DataObject) -> None:
    usage = data.draw(st.sampled_from([b'"odd"', b'{"prompt_tokens":5}', b"null"]))
    body = CHAT % usage
    cut = data.draw(st.integers(0, len(body) - 1))
    assert judge(200, body[:cut]).fault == NOT_JSON


# --- Result lines. ---

CUSTOM_IDS = ['"a"', '"\\u0061 \\"quoted\\" \\\\"', '"\xe9\U0001f600"', '"\\ud83d"', '"}],{"']


@pytest.mark.parametrize("custom_id", CUSTOM_IDS)
def test_an_output_line_has_the_four_keys_and_the_custom_id_as_it_was_written(
    custom_id: str,
) -> None:
    body = b'{"n":1.50,"usage":{"prompt_tokens":5}}'
    line = output_line("11-22", custom_id.encode(), judge(200, body))
    assert b'"custom_id":' + custom_id.encode() + b"," in line
    assert body in line
    parsed = json.loads(line)
    assert list(parsed) == KEYS
    assert parsed["custom_id"] == json.loads(custom_id)
    assert parsed["id"] == parsed["response"]["request_id"] == "11-22"
    assert list(parsed["response"]) == ["status_code", "request_id", "body"]
    assert parsed["response"]["status_code"] == 200
    assert parsed["error"] is None


@pytest.mark.parametrize("status", [200, 400])
def test_the_region_that_answered_is_named_where_it_has_a_name(status: int) -> None:
    answer = judge(status, b'{"a":1}')
    named = json.loads(output_line("1", b'"a"', answer, "eu-west"))["response"]
    assert list(named) == ["status_code", "request_id", "region", "body"]
    assert (named["region"], named["body"]) == ("eu-west", {"a": 1})
    assert output_line("1", b'"a"', answer, "") == output_line("1", b'"a"', answer)


def test_an_answer_with_another_status_stands_in_its_line_with_error_null() -> None:
    line = output_line("1", b'"a"', judge(400, b'{"error":{"message":"no"}}'))
    parsed = json.loads(line)
    assert parsed["response"]["status_code"] == 400
    assert parsed["response"]["body"] == {"error": {"message": "no"}}
    assert parsed["error"] is None


@pytest.mark.parametrize("body", [b"<html>secret</html>", b"", b"\xff"])
def test_a_body_that_is_no_object_is_replaced_by_one_that_says_so(body: bytes) -> None:
    line = output_line("1", b'"a"', judge(502, body))
    parsed = json.loads(line)
    assert parsed["response"]["status_code"] == 502
    assert parsed["response"]["body"]["error"]["type"] == "upstream_error"
    assert "502" in parsed["response"]["body"]["error"]["message"]
    assert b"secret" not in line


@pytest.mark.parametrize("custom_id", CUSTOM_IDS)
def test_an_error_line_has_the_four_keys_too(custom_id: str) -> None:
    line = error_line("11-22", custom_id.encode(), code="c", message='it "broke" 100%\n')
    assert b"\n" not in line
    assert custom_id.encode() in line
    parsed = json.loads(line)
    assert list(parsed) == KEYS
    assert parsed["custom_id"] == json.loads(custom_id)
    assert (parsed["id"], parsed["response"]) == ("11-22", None)
    assert parsed["error"] == {"code": "c", "message": 'it "broke" 100%\n'}


def test_characters_that_readers_take_for_line_ends_are_escaped() -> None:
    text = '{"a": "x\u2028y\u2029z\x85 \u201cq\u201d"}'
    answer = judge(200, text.encode())
    for line in (
        output_line("id", '"c\u2028"'.encode(), answer),
        error_line("id", '"c\u2028"'.encode(), code="c", message="m"),
    ):
        assert len(line.decode().splitlines()) == 1
        assert json.loads(line)["custom_id"] == "c\u2028"
    line = output_line("id", b'"c"', answer)
    assert json.loads(line)["response"]["body"] == json.loads(text)
    assert "\u201cq\u201d".encode() in line
