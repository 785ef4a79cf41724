"""What a line says of itself: whatever the upstream wrote, nothing raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.service.line_facts import Facts, Needle, read_custom_id, read_facts


def answered(body: Any, status: int = 400) -> bytes:
    response = {"status_code": status, "request_id": "r", "body": body}
    return json.dumps({"id": "i", "custom_id": "c", "response": response, "error": None}).encode()


CASES: list[tuple[Any, int, str | None, str | None]] = [
    ({"error": {"code": "too_long", "message": "It is."}}, 400, "too_long", "It is."),
    ({"error": {"code": None, "type": "bad", "message": "m"}}, 400, "bad", "m"),
    ({"error": {"code": 400, "type": "BadRequestError"}}, 400, "BadRequestError", None),
    ({"error": {"code": 400}}, 400, "400", None),
    ({"error": "Model not found"}, 404, None, "Model not found"),
    ({"object": "error", "code": 404, "type": "NotFound", "message": "m"}, 404, "NotFound", "m"),
    ({"detail": "Not Found"}, 404, None, None),
    ({"error": {"code": ["odd"], "message": {"odd": 1}}}, 500, None, None),
    ({"error": []}, 500, None, None),
    ([], 500, None, None),
    (None, 500, None, None),
    ({"type": "message", "code": "fine"}, 200, None, None),
]


@pytest.mark.parametrize(("body", "status", "code", "message"), CASES)
def test_an_error_is_read_in_the_shapes_that_servers_write(
    body: Any, status: int, code: str | None, message: str | None
) -> None:
    facts = read_facts(answered(body, status))
    assert (facts.status, facts.error_code, facts.message) == (status, code, message)


def test_a_line_without_an_answer_says_its_own_error() -> None:
    error = {"code": "batch_expired", "message": "Too late."}
    line = {"id": "i", "custom_id": "ä", "response": None, "error": error}
    assert read_facts(json.dumps(line).encode()) == Facts("ä", None, "batch_expired", "Too late.")


@pytest.mark.parametrize(
    ("written", "region"), [('"eu"', "eu"), ("null", None), ("5", None), ('["eu"]', None)]
)
def test_the_region_is_read_where_it_is_a_text(written: str, region: str | None) -> None:
    line = b'{"custom_id":"c","response":{"status_code":200,"region":%b}}' % written.encode()
    assert read_facts(line).region == region


@pytest.mark.parametrize(
    ("usage", "total"),
    [
        ({"total_tokens": 7, "prompt_tokens": 1}, 7),
        ({"prompt_tokens": 3, "completion_tokens": 4}, 7),
        ({"input_tokens": 3, "output_tokens": 5}, 8),
        ({"total_tokens": "7"}, None),
        ({"total_tokens": -1}, None),
        ({"total_tokens": 2**53}, 2**53),
        ({"total_tokens": 2**53 + 1}, None),
        ({}, None),
        ("odd", None),
    ],
)
def test_tokens_are_the_total_or_the_sum(usage: Any, total: int | None) -> None:
    assert read_facts(answered({"usage": usage}, 200)).total_tokens == total


@given(st.binary(max_size=60))
def test_bytes_that_are_no_line_are_no_facts(data: bytes) -> None:
    facts = read_facts(data)
    assert isinstance(facts.custom_id, str)
    assert read_facts(b'{"custom_id":"c","response":{"body":' + data + b"}}").status is None


def test_what_is_nested_too_deep_is_read_as_far_as_it_goes() -> None:
    deep = b"[" * 5000 + b"]" * 5000
    assert read_facts(b'{"custom_id":"c","error":' + deep + b"}").error_code is None


@given(st.text(max_size=12), st.text(max_size=3), st.booleans())
def test_a_needle_finds_what_the_decoded_text_holds(name: str, text: str, is_ascii: bool) -> None:
    spelled = json.dumps({"custom_id": name}, ensure_ascii=is_ascii).encode("utf-8", "replace")
    decoded = read_custom_id(spelled)
    assert Needle(text).find(spelled) == (decoded if text in decoded else None)
