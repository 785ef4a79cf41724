"""Requests that no description would think of: odd headers, queries, paths and bodies.

Only what a server's parser lets through is sent: it refuses control characters in headers.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from api_house import LINE
from fuzz_house import OPERATIONS, Ground, Operation, errors_are_enveloped, furnished
from fuzz_stock import AnyCase

BIG = "9" * 400
DEEP = 100_000
BODIES: Final[tuple[bytes, ...]] = (
    b"",
    b" ",
    b"null",
    b"0",
    b"[]",
    b'""',
    b"{",
    b"{}{}",
    b"{,}",
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00",
    b'{"name":"\xff"}',
    b'{"\\ud800":1}',
    b"\0",
    b"NaN",
    b"[" * DEEP,
    b'{"a":' * DEEP,
    b"[" * DEEP + b"]" * DEEP,
    b"9" * 10_000,
    b'"' + b"a" * 1_100_000 + b'"',
)
# Each stands in the place of every value of the operation's own example, in turn.
VALUES: Final[tuple[bytes, ...]] = (
    b'"\\ud800"',
    b'"\\u0000"',
    b'"\\u202e\\ud83d\\ude00"',
    b'"' + b"a" * 5_000 + b'"',
    b'""',
    b"null",
    b"true",
    b"[]",
    b"[null]",
    b"{}",
    b'{"":""}',
    b"0",
    b"-0",
    b"-1",
    b"1.0",
    b"1e400",
    b"-1e400",
    b"NaN",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"9" * 4_400,
    b"[" * 300 + b"]" * 300,
)
PARTS: Final = tuple(
    b"--b\r\n" + part
    for part in (
        b"",
        b"\r\n",
        b"\r\n\r\n",
        b"a\r\n\r\n1",
        b": b\r\n\r\n1",
        b"content-disposition: form-data\r\n\r\n1",
        b'content-disposition: form-data; name="purpose"\r\n\r\nbatch',
        b'content-disposition: form-data; name="purpose"\r\n\r\n\xff\0',
        b'content-disposition: form-data; name="\xff\0"\r\n\r\n\xff',
        b'content-disposition: form-data; name="file"\r\n\r\n{}',
        b'content-disposition: form-data; name="file"; filename=""\r\n\r\n{}',
        b'content-disposition: form-data; name="file"; filename="\xff\0\x7f"\r\n\r\n{}',
        b'content-disposition: form-data; name="data"; filename="' + b"n" * 5_000 + b'"\r\n\r\n{}',
        b"content-disposition: form-data; name=file; filename*=utf-8''%ff%00%0d\r\n\r\n{}",
        b"content-disposition: form-data; name=file; filename*=nothing'%\r\n\r\n{}",
        b"content-disposition: " + b"a;" * 5_000 + b"\r\n\r\n1",
        b"content-type: a\r\n" * 2_000 + b"\r\n1",
        b'content-disposition: form-data; name="expires_after[seconds]"\r\n\r\n' + b"9" * 4_000,
        b'content-disposition: form-data; name="expires_after[anchor]"\r\n\r\n' + b"a" * 5_000,
    )
)
QUERY_VALUES: Final = (
    *("", "%00", "%ff", "%ed%a0%80", "%F0%9F%98%80", "%e2%80%ae", "%", "%2", "+", "%20", "-1", "0"),
    *(BIG, f"-{BIG}", "1e9", "1.5", "NaN", "inf", "%D9%A1", "9223372036854775808", "a" * 5_000),
    *("00010101", "99991231235959", "9999-12-31", "0001-01-01", "20250230", "1970-01-01T00:00:00Z"),
    *(
        "0001-01-01T00:00:00%2B23:59",
        "9999-12-31T23:59:59-23:59",
        "2025-W01",
        ",",
        ",,,",
        "a,b",
        "*",
    ),
)
PATHS: Final = (
    *(
        "%00",
        "%ff",
        "%ed%a0%80",
        "%2e%2e",
        "%2F",
        "a" * 5_000,
        "%F0%9F%98%80",
        "%20",
        "%0d%0a",
        ";",
    ),
    *("..%2f..%2fetc", "%25", "%5C", "'", "%22", "estimate", "%e2%80%ae"),
)
HEADERS: Final = (
    *(("content-type", value) for value in ("", "text/plain", "application/json; charset=utf-16")),
    *(
        ("content-type", value)
        for value in ("multipart/form-data", "multipart/form-data; boundary=")
    ),
    ("content-type", "multipart/form-data; boundary=" + "b" * 300),
    ("content-type", "multipart/form-data; boundary=\xff\xfe"),
    *(("content-length", value) for value in ("0", "-1", BIG, "\xb2", "1e3", "")),
    *(("transfer-encoding", value) for value in ("chunked", "gzip")),
    *(("range", f"bytes={value}") for value in ("0-0", "-0", "-1", "5-2", f"{BIG}-", f"0-{BIG}")),
    *(("range", value) for value in ("bytes=0-1,3-4", "lines=0-1", "bytes=\xb2-", "bytes=", "")),
    *(("if-none-match", value) for value in ("*", '"', 'W/"a", "b"', "\xff", "")),
    *(("if-range", value) for value in ("*", "Mon, 01 Jan 0001 00:00:00 GMT", "")),
    *(("accept", value) for value in ("text/csv", "*/*;q=2", ";", "\xff", "")),
    *(("idempotency-key", value) for value in ("", " ", "\xff", "k" * 5_000, "%00", "\x7f")),
    *(
        ("authorization", value)
        for value in ("", "Bearer", "Bearer \xff", "Basic Og==", "x" * 20_000)
    ),
    *(("api-key", value) for value in ("", "\xff", "x" * 20_000)),
    *(
        ("host", value)
        for value in ("", "[", "localhost:x", "\xff", "a" * 300, "@localhost", "[::1")
    ),
    *(("origin", value) for value in ("", "null", "http://[", "\xff", "http://localhost")),
    *(("x-request-id", value) for value in ("\xff", "x" * 5_000)),
    *(("cookie", value) for value in ("=", "\xff")),
)


# Where a field is an object, the odd value stands in this one's place within.
WITHIN: Final[Mapping[str, bytes]] = {
    "metadata": b'{"ds_name":%s}',
    "batchmill": b'{"budget":%s}',
    "output_expires_after": b'{"anchor":"created_at","seconds":%s}',
    "expires_after": b'{"anchor":"created_at","seconds":%s}',
    "models": b"[%s]",
    "part_ids": b"[%s]",
    "event_types": b"[%s]",
}


def aimed(ground: Ground, op: str) -> AnyCase:
    """A request for an operation that leads somewhere, without a query and a body."""
    operation = ground.operations[op]
    known = ground.stock.known
    names = [parameter.name for parameter in operation.path_parameters]
    return operation.Case(path_parameters={name: known[name][0] for name in names})


def odd_bodies(ground: Ground, op: str) -> Iterator[bytes]:
    """Bodies that are nothing, and the example with an odd value in the place of each field."""
    spec = ground.operations[op].schema.raw_schema
    media = ground.operations[op].definition.raw["requestBody"]["content"]
    yield from BODIES
    if "application/json" not in media:
        return
    body = media["application/json"]
    shape = spec["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
    for name in shape["properties"]:
        example = {**body["examples"]["body"]["value"], name: "{odd}"}
        for value in VALUES:
            for frame in (b"%s", WITHIN.get(name, b"%s")):
                yield json.dumps(example).encode().replace(b'"{odd}"', frame % value)


def with_bodies(ground: Ground) -> list[str]:
    return [op for op in OPERATIONS if "requestBody" in ground.operations[op].definition.raw]


@pytest.mark.slow
def test_no_body_surprises(tmp_path: Path) -> None:
    with furnished(tmp_path, locked=True) as ground:
        for op in with_bodies(ground):
            case = aimed(ground, op)
            for content in odd_bodies(ground, op):
                ground.put(case, content=content, headers={"content-type": "application/json"})


@pytest.mark.slow
def test_no_form_surprises(tmp_path: Path) -> None:
    """Odd parts, alone and before a good file, under the boundary ``b``."""
    sent = {"content-type": "multipart/form-data; boundary=b"}
    with furnished(tmp_path, locked=True) as ground:
        for op, name in (("createFile", b"file"), ("addUploadPart", b"data")):
            case = aimed(ground, op)
            file = b'--b\r\ncontent-disposition: form-data; name="%s"; filename="f"\r\n\r\n' % name
            for part in (*BODIES, *PARTS):
                for content in (part, b"%s\r\n%s%s\r\n--b--\r\n" % (part, file, LINE)):
                    ground.put(case, content=content, headers=sent)
                    ground.put(case, content=content + b"--b--", headers=sent)


@pytest.mark.slow
def test_no_query_surprises(tmp_path: Path) -> None:
    with furnished(tmp_path, locked=True) as ground:
        for op in OPERATIONS:
            case = aimed(ground, op)
            for name in [parameter.name for parameter in ground.operations[op].query]:
                for value in QUERY_VALUES:
                    ground.put(case, query=f"{name}={value}")
                    ground.put(case, query=f"{name}=1&{name}={value}&=&{value}={name}")


@pytest.mark.slow
def test_no_path_surprises(tmp_path: Path) -> None:
    with furnished(tmp_path, locked=True) as ground:
        for op in OPERATIONS:
            case = aimed(ground, op)
            for name in case.path_parameters:
                for text in PATHS:
                    others = {**case.path_parameters, name: text}
                    ground.put(case, path=case.path.format(**others))


@pytest.mark.slow
@pytest.mark.parametrize("locked", [True, False], ids=["locked", "open"])
def test_no_header_surprises(tmp_path: Path, locked: bool) -> None:
    with furnished(tmp_path, locked=locked) as ground:
        for op in OPERATIONS:
            case = aimed(ground, op)
            for name, value in HEADERS:
                ground.put(case, headers={name: value}, content=b"{}")


@pytest.mark.slow
def test_head_is_answered_as_get_without_the_body(tmp_path: Path) -> None:
    """For every boundary of every operation that reads."""
    with furnished(tmp_path, locked=True) as ground:
        reads = [op for op in OPERATIONS if ground.operations[op].method == "get"]
        for op in reads:
            for case in ground.sweep(op):
                if case.method == "GET":
                    got = ground.ask(case).status_code
                    head = ground.ask(headed(case), checks=[errors_are_enveloped])
                    assert (head.status_code, head.content) == (got, b"")


def headed(case: AnyCase) -> AnyCase:
    operation: Operation = case.operation
    return operation.Case(
        method="HEAD",
        path_parameters=dict(case.path_parameters),
        headers=dict(case.headers),
        query=dict(case.query),
    )
