"""Checking a file's lines: every code with its text, the order of faults, whole-file checks."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.batch import LineError
from batchmill.domain.catalog import TEST_ENDPOINT, TEST_MODEL, Catalog
from batchmill.domain.limits import Limits, Profile
from batchmill.domain.lines import FileCheck, Line, LineCutter, LineRules, RawLine

CHAT = "/v1/chat/completions"
CATALOG = Catalog(
    {
        "qwen-plus": frozenset({CHAT, "/v1/responses", "/v1/completions"}),
        "qwen-max": frozenset({CHAT}),
        "embed": frozenset({"/v1/embeddings", "/v1/moderations"}),
        TEST_MODEL: frozenset({TEST_ENDPOINT}),
    }
)
RULES = LineRules(CHAT, CATALOG, Profile.QWEN, Limits())


def request(custom_id: Any = "1", **changes: Any) -> dict[str, Any]:
    body = {"model": "qwen-plus", "messages": [{"role": "user", "content": "hi"}]}
    line = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}
    line.update(changes)
    return line


def with_body(custom_id: str = "1", **members: Any) -> dict[str, Any]:
    return request(custom_id, body=request()["body"] | members)


def without(name: str, line: dict[str, Any] | None = None) -> dict[str, Any]:
    return {key: value for key, value in (line or request()).items() if key != name}


def check(*lines: dict[str, Any] | bytes, rules: LineRules = RULES) -> tuple[LineError, ...]:
    checking, _ = run(lines, rules)
    return checking.finish()


def run(
    lines: tuple[dict[str, Any] | bytes, ...], rules: LineRules = RULES
) -> tuple[FileCheck, list[Line]]:
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    cutter, checking = LineCutter(rules.limits.max_line_bytes), FileCheck(rules)
    cuts = cutter.feed(b"\n".join(raw)) + cutter.finish()
    good = [line for cut in cuts if (line := checking.check(cut)) is not None]
    return checking, good


def only(*lines: dict[str, Any] | bytes, rules: LineRules = RULES) -> tuple[str, str, str | None]:
    """The one fault, which must be on the last line."""
    (error,) = check(*lines, rules=rules)
    assert error.line == len(lines)
    return error.code, error.message, error.param


def test_a_good_line_tells_where_it_stands() -> None:
    checking, good = run((b"", request("a"), request("b")))
    size = len(json.dumps(request("a"))) + 1
    assert good == [
        Line(2, 1, 1 + size, "a", "qwen-plus"),
        Line(3, 1 + size, 2 * size, "b", "qwen-plus"),
    ]
    assert checking.finish() == checking.errors == ()
    assert (checking.lines, checking.models, checking.faults) == (2, ("qwen-plus",), 0)


DUPLICATE = (
    "The custom_id '1' for this request is a duplicate of another request. "
    "The custom_id parameter must be unique for each request in a batch."
)
MISMATCHED = (
    "The model 'qwen-max' for this request does not match the rest of the batch. "
    "Each batch must contain requests for a single model."
)
NOT_JSON = ("invalid_json_line", "This line is not parseable as valid JSON.", None)
MISSING = "missing_required_parameter"


@pytest.mark.parametrize("name", ["custom_id", "method", "url", "body"])
def test_a_missing_parameter_is_named(name: str) -> None:
    assert only(without(name)) == (MISSING, f"Missing required parameter: '{name}'.", name)


@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_missing_member_of_the_body_is_named_with_its_path(name: str) -> None:
    line = request(body=without(name, request()["body"]))
    assert only(line) == (MISSING, f"Missing required parameter: '{name}'.", f"body.{name}")


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (5, "an integer"),
        (-5, "an integer"),
        (1.5, "a decimal"),
        (1e30, "a decimal"),
        (True, "a boolean"),
        (None, "null"),
        ([], "an array"),
        ({}, "an object"),
    ],
)
@pytest.mark.parametrize("name", ["custom_id", "method", "url"])
def test_a_wrong_type_is_named_in_the_interface_s_words(name: str, value: Any, got: str) -> None:
    message = f"Invalid type for '{name}': expected a string, but got {got} instead."
    assert only(request(**{name: value})) == ("invalid_type", message, name)


def test_a_wrong_type_of_the_body_or_in_it_is_named() -> None:
    message = "Invalid type for 'body': expected an object, but got a string instead."
    assert only(request(body="hi")) == ("invalid_type", message, "body")
    message = "Invalid type for 'model': expected a string, but got an integer instead."
    assert only(with_body(model=3)) == ("invalid_type", message, "body.model")
    message = "Invalid type for 'messages': expected an array, but got a string instead."
    assert only(with_body(messages="hi")) == ("invalid_type", message, "body.messages")
    message = "Invalid type for 'enable_thinking': expected a boolean, but got an integer instead."
    assert only(with_body(enable_thinking=1)) == ("invalid_type", message, "body.enable_thinking")


def test_a_custom_id_may_have_256_characters_and_no_more() -> None:
    assert check(request("ä" * 256)) == ()
    message = "The custom_id for this request is longer than 256 characters."
    assert only(request("x" * 257)) == ("custom_id_too_long", message, "custom_id")


def test_an_empty_custom_id_is_refused_and_one_character_is_enough() -> None:
    code, _, param = only(request(""))
    assert (code, param) == ("invalid_value", "custom_id")
    assert check(request("x")) == ()


def test_a_second_line_with_a_custom_id_is_a_duplicate() -> None:
    assert only(request("1"), request("1")) == ("duplicate_custom_id", DUPLICATE, "custom_id")


def test_a_bad_line_s_custom_id_counts_for_duplicates() -> None:
    errors = check(without("body"), request("1"), b'{"custom_id":"1","method":5}', request("1"))
    assert [error.code for error in errors] == [
        MISSING,
        "duplicate_custom_id",
        "invalid_type",
        "duplicate_custom_id",
    ]


def test_only_post_is_a_method() -> None:
    message = "Invalid value: 'GET'. Supported values are: 'POST'."
    assert only(request(method="GET")) == ("invalid_method", message, "method")
    assert only(request(method="post"))[0] == "invalid_method"


def test_an_unknown_url_is_not_found_and_another_endpoint_s_does_not_match() -> None:
    message = "The provided url '/v1/chat' is not supported by the Batch API."
    assert only(request(url="/v1/chat")) == ("url_not_found", message, "url")
    message = "The URL provided for this request does not match the batch endpoint."
    assert only(request(url="/v1/embeddings")) == ("invalid_url", message, "url")


def test_every_line_of_a_batch_with_an_unknown_endpoint_is_not_found() -> None:
    rules = replace(RULES, endpoint="/v1/nowhere")
    assert only(request(url="/v1/nowhere"), rules=rules)[0] == "url_not_found"


def test_a_model_that_is_not_served_or_not_on_this_endpoint_is_not_found() -> None:
    for model in ("gpt-x", "embed", ""):
        message = f"The provided model '{model}' is not supported by the Batch API."
        assert only(with_body(model=model)) == ("model_not_found", message, "body.model")
    open_rules = replace(RULES, catalog=Catalog(accepts_any=True))
    assert check(with_body(model="gpt-x"), rules=open_rules) == ()
    assert only(with_body(model=""), rules=open_rules)[0] == "model_not_found"


def test_the_test_model_is_asked_on_its_own_endpoint_alone() -> None:
    message = f"The provided URL '{CHAT}' does not match the test model 'batch-test-model'."
    assert only(with_body(model=TEST_MODEL)) == ("mismatched_test_url", message, "url")
    rules = replace(RULES, endpoint=TEST_ENDPOINT)
    assert check(with_body(model=TEST_MODEL) | {"url": TEST_ENDPOINT}, rules=rules) == ()
    code, message, _ = only(request(url=TEST_ENDPOINT), rules=rules)
    assert code == "mismatched_test_url"
    assert message == f"The provided URL '{TEST_ENDPOINT}' does not match the model 'qwen-plus'."


def test_one_model_a_file_unless_several_are_allowed() -> None:
    lines = (request("1"), with_body("2", model="qwen-max"))
    assert only(*lines) == ("mismatched_model", MISMATCHED, "body.model")
    checking, good = run((*lines, request("3")), replace(RULES, mixed_models=True))
    assert (checking.finish(), len(good)) == ((), 3)
    assert checking.models == ("qwen-plus", "qwen-max")


def test_a_model_that_is_not_served_is_not_what_the_others_are_measured_against() -> None:
    errors = check(with_body("1", model="gpt-x"), request("2"), request("3"))
    assert [error.line for error in errors] == [1]


@pytest.mark.parametrize(
    ("endpoint", "model", "missing", "good"),
    [
        ("/v1/embeddings", "embed", "input", {"input": "x"}),
        ("/v1/moderations", "embed", "input", {"input": ["x"]}),
        ("/v1/completions", "qwen-plus", "prompt", {"prompt": "x"}),
        ("/v1/responses", "qwen-plus", "input", {"input": "x"}),
        ("/v1/responses", "qwen-plus", "input", {"prompt": {"id": "p"}}),
    ],
)
def test_each_endpoint_needs_its_own_content(
    endpoint: str, model: str, missing: str, good: dict[str, Any]
) -> None:
    rules = replace(RULES, endpoint=endpoint)
    line = request(url=endpoint, body={"model": model})
    assert only(line, rules=rules)[2] == f"body.{missing}"
    assert check(request(url=endpoint, body={"model": model, **good}), rules=rules) == ()


def test_endpoints_with_bodies_of_many_forms_need_a_model_alone() -> None:
    rules = LineRules("/v1/rerank", Catalog(accepts_any=True), Profile.QWEN, Limits())
    assert check(request(url="/v1/rerank", body={"model": "r"}), rules=rules) == ()
    assert only(request(url="/v1/rerank", body={}), rules=rules)[2] == "body.model"


def test_the_openai_profile_alone_refuses_streams() -> None:
    message = "Chat Completions: Streaming is not supported in the Batch API."
    openai = replace(RULES, profile=Profile.OPENAI)
    fault = ("streaming_unsupported", message, "body.stream")
    assert only(with_body(stream=True), rules=openai) == fault
    assert check(with_body(stream=False), rules=openai) == ()
    assert check(with_body(stream=True)) == ()
    responses = replace(openai, endpoint="/v1/responses")
    line = request(url="/v1/responses", body={"model": "qwen-plus", "input": "", "stream": True})
    assert only(line, rules=responses)[1] == "Streaming is not supported in the Batch API."


def test_one_thinking_mode_a_file_and_saying_nothing_is_one() -> None:
    modes: list[dict[str, Any]] = [{}, {"enable_thinking": True}, {"enable_thinking": False}]
    for first in modes:
        for second in modes:
            errors = check(with_body("1", **first), with_body("2", **second))
            codes = [error.code for error in errors]
            assert codes == ([] if first == second else ["mismatched_thinking_mode"])
    assert check(with_body("1", enable_thinking=None), request("2")) == ()


# --- bytes that are hardly lines ---


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"{",
        b"[]",
        b"5",
        b'"text"',
        b"null",
        b'{"custom_id":"1"',
        b'{"custom_id":"1"}}',
        b'{"custom_id":"1",}',
        b'{"custom_id":NaN}',
        b'{"x":"\x01"}',
        b'{"x":"a\x00b"}',
        b'{"x":"a\tb"}',
        b'{"x":1}\x00',
        b'{"x":"\\q"}',
        b'{"x":"\\ud8"}',
        b'{"custom_id":5,"x":tru}',
        b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"body":{"messages":' + b"[" * 200_000 + b"]" * 200_000 + b"}}",
        b'{"custom_id":5,"body":' + b'{"a":' * 200_000 + b"1" + b"}" * 200_001,
    ],
)
def test_what_is_not_a_json_object_is_not_parseable(line: bytes) -> None:
    assert only(line) == NOT_JSON


@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3"]
)
@pytest.mark.parametrize(
    "place", ["skipped value", "skipped key", "content", "custom_id", "no JSON"]
)
def test_bad_utf8_anywhere_in_a_line_is_its_own_fault(bad: bytes, place: str) -> None:
    line = json.dumps(request("ID", extra={"KEY": "VALUE"}, content="CONTENT")).encode()
    marks = {"skipped value": b"VALUE", "skipped key": b"KEY", "custom_id": b"ID"}
    line = b"\xff" if place == "no JSON" else line.replace(marks.get(place, b"CONTENT"), bad)
    code, _, param = only(line)
    assert (code, param) == ("invalid_encoding", None)


def test_a_line_that_is_too_long_is_that_and_nothing_else() -> None:
    small = replace(RULES, limits=Limits(max_line_bytes=200))
    errors = check(b"\xff" * 201, b"x" * 200, request("1"), rules=small)
    assert [(error.code, error.line) for error in errors] == [
        ("line_too_long", 1),
        ("invalid_json_line", 2),
    ]
    assert errors[0].message == "This line is larger than 200 bytes, the most that a line may have."


@pytest.mark.parametrize(
    "token",
    ["\\ud83d", "\\uD83D!", "\\ude00", "\\udc00\\ud800", "\\ud83d\\ud83d\\ude00", "\\n\\ud800"],
)
def test_lone_surrogates_pass(token: str) -> None:
    assert check(json.dumps(request("1")).replace("hi", token).encode()) == ()


def test_a_lone_surrogate_right_behind_an_escaped_backslash_is_not_recognised() -> None:
    assert only(json.dumps(request("1")).replace("hi", "\\\\\\ud800").encode()) == NOT_JSON


def test_an_escaped_backslash_before_what_looks_like_a_surrogate_is_text() -> None:
    line = json.dumps(request("\\ud800")).encode()
    assert run((line,))[1][0].custom_id == "\\ud800"


def test_the_last_of_duplicate_keys_counts_whatever_the_first_was() -> None:
    good = json.dumps(request("last"))[1:-1].encode()
    firsts = (b'"custom_id":5', b'"custom_id":"first"', b'"body":7', b'"body":{"model":1}')
    for first in (*firsts, b'"method":"GET"', b'"url":null'):
        checking, lines = run((b"{" + first + b"," + good + b"}",))
        assert (checking.finish(), lines[0].custom_id) == ((), "last")
    body = b'{"model":1,"messages":0,"model":"qwen-plus","messages":[]}'
    line = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":' + body + b"}"
    assert check(line) == ()
    assert only(b"{" + good + b',"custom_id":5}')[0] == "invalid_type"


def test_escaped_keys_are_keys() -> None:
    line = json.dumps(request("1")).replace("custom_id", "custom\\u005fid").encode()
    assert run((line,))[1][0].custom_id == "1"


def test_a_line_of_750_000_objects_is_read_like_any_other() -> None:
    objects = b"[" + b",".join([b'{"a":1}'] * 750_000) + b"]"
    line = json.dumps(with_body(messages="@")).encode().replace(b'"@"', objects)
    assert check(line) == ()


# --- the order of faults ---

spoil: list[tuple[str, Callable[[dict[str, Any]], None]]] = [
    ("custom_id", lambda line: line.pop("custom_id", None)),
    ("method", lambda line: line.update(method=3)),
    ("url", lambda line: line.pop("url", None)),
    ("body", lambda line: line.update(body=[])),
    ("custom_id", lambda line: line.update(custom_id="x" * 257)),
    ("method", lambda line: line.update(method="GET")),
    ("url", lambda line: line.update(url="/v1/embeddings")),
    ("body.model", lambda line: line["body"].pop("model", None)),
    ("body.model", lambda line: line["body"].update(model="gpt-x")),
    ("body.messages", lambda line: line["body"].pop("messages", None)),
    ("body.stream", lambda line: line["body"].update(stream=True)),
    ("body.enable_thinking", lambda line: line["body"].update(enable_thinking="yes")),
]


@pytest.mark.parametrize("first", range(len(spoil)))
def test_a_line_with_many_faults_shows_the_first_alone(first: int) -> None:
    line = request("1")
    for _, change in reversed(spoil[first:]):
        change(line)
    assert only(line, rules=replace(RULES, profile=Profile.OPENAI))[2] == spoil[first][0]


# --- the file as a whole ---


def test_a_file_without_requests_is_empty() -> None:
    for lines in ((), (b"",), (b" ", b"\r", b"\t")):
        (error,) = check(*lines)
        assert (error.code, error.param, error.line) == ("empty_file", None, None)
        assert error.message == (
            "The input file is empty. Please ensure that the batch contains at least one request."
        )


def test_as_many_lines_as_allowed_pass_and_one_more_does_not() -> None:
    rules = replace(RULES, limits=Limits(max_lines=3))
    lines = [request(str(i)) for i in range(4)]
    assert check(*lines[:3], rules=rules) == ()
    checking, good = run((*lines, b"broken"), rules)
    assert checking.is_overfull
    assert len(good) == 3
    (error,) = checking.finish()
    assert (error.code, error.line) == ("too_many_requests_in_file", None)
    assert "more than 3 requests" in error.message


def test_the_fifty_thousand_and_first_line_is_one_too_many() -> None:
    checking = FileCheck(RULES)
    for i in range(50_001):
        line = b'{"custom_id":"%d","method":"POST","url":"/v1/chat/completions",' % i
        line += b'"body":{"model":"qwen-plus","messages":[]}}'
        assert not checking.is_overfull
        assert (checking.check(RawLine(i + 1, 0, 0, line)) is None) is (i == 50_000)
    assert [error.code for error in checking.finish()] == ["too_many_requests_in_file"]


def test_the_size_of_the_file_is_measured_on_both_sides_of_its_limit() -> None:
    rules = replace(RULES, limits=Limits(max_file_bytes=1000))
    for size, codes in ((1000, []), (1001, ["file_too_large"])):
        checking = FileCheck(rules, file_bytes=size)
        checking.check(RawLine(1, 0, 10, json.dumps(request()).encode()))
        assert [error.code for error in checking.finish()] == codes


def test_the_test_model_has_limits_of_its_own() -> None:
    limits = Limits(test_model_max_lines=2, test_model_max_file_bytes=700)
    rules = replace(RULES, endpoint=TEST_ENDPOINT, limits=limits)
    lines = [with_body(str(i), model=TEST_MODEL) | {"url": TEST_ENDPOINT} for i in range(3)]
    assert check(*lines[:2], rules=rules) == ()
    assert [error.code for error in check(*lines, rules=rules)] == ["too_many_requests_in_file"]
    padded = with_body("p", model=TEST_MODEL, pad="x" * 600) | {"url": TEST_ENDPOINT}
    assert [error.code for error in check(padded, rules=rules)] == ["file_too_large"]


def test_at_most_so_many_errors_and_then_one_that_counts_the_rest() -> None:
    rules = replace(RULES, limits=Limits(max_errors=3))
    assert len(check(*[b"x"] * 3, rules=rules)) == 3
    errors = check(*[b"x"] * 4, rules=rules)
    assert [error.line for error in errors] == [1, 2, 3, None]
    assert errors[3].code == "too_many_errors"
    assert errors[3].message == "1 more line has an error that this list leaves out."
    assert check(*[b"x"] * 9, rules=rules)[3].message.startswith("6 more lines have errors")


def test_the_openai_profile_counts_embedding_inputs_over_the_file() -> None:
    limits = Limits(max_embedding_inputs=5)
    rules = LineRules("/v1/embeddings", CATALOG, Profile.OPENAI, limits)

    def codes(*inputs: Any, rules: LineRules = rules) -> list[str]:
        lines = [
            request(str(i), url="/v1/embeddings", body={"model": "embed", "input": value})
            for i, value in enumerate(inputs)
        ]
        return [error.code for error in check(*lines, rules=rules)]

    assert codes(["a", "b", "c"], "d", [1, 2, 3, 4]) == []
    assert codes(["a", "b", "c"], "d", [[1], [2]]) == ["too_many_embedding_inputs"]
    assert codes(["a"] * 9, rules=replace(rules, profile=Profile.QWEN)) == []


def test_no_message_repeats_more_of_a_line_than_is_readable() -> None:
    for line in (
        request(method="\x00" * 10_000),
        request(url="x" * 10_000),
        with_body(model="\ud800\u202e" * 5_000),
    ):
        (error,) = check(line)
        assert len(error.message) < 4000
        assert error.message.isprintable()
        error.message.encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "custom_id": st.just("1") | json_values,
            "method": st.just("POST") | json_values,
            "url": st.just(CHAT) | json_values,
            "body": st.just(request()["body"]) | json_values,
        },
    )
    | json_values
)
def test_any_json_is_either_a_line_or_one_fault(value: Any) -> None:
    checking, good = run((json.dumps(value).encode(),))
    assert len(good) + len(checking.errors) == 1


@given(st.binary(max_size=60))
def test_any_bytes_are_lines_or_faults(data: bytes) -> None:
    checking, good = run((data, request("z")))
    assert checking.lines == len(good) + checking.faults
