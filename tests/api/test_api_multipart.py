"""Multipart forms on the wire: any order, any cutting, and every way to be broken."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from api_house import LINE, House, as_object, fault, open_house, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Message

from batchmill.api.multipart import MAX_FIELD_BYTES, MAX_PARTS, OVERHEAD_BYTES
from batchmill.domain.limits import Limits
from batchmill.door.bodies import Patience

KIND = {"content-type": "multipart/form-data; boundary=edge"}
PURPOSE = b'--edge\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
END = b"--edge--\r\n"


def file_part(
    content: bytes = LINE, disposition: str = 'name="file"; filename="in.jsonl"'
) -> bytes:
    head = f"--edge\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: a/b\r\n\r\n"
    return head.encode() + content + b"\r\n"


async def pieces(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def send(house: House, *chunks: bytes, headers: dict[str, str] = KIND) -> Any:
    return await house.client.post("/v1/files", headers=headers, content=pieces(chunks))


async def assert_refused(house: House, answer: Any, message: str, param: str | None = None) -> None:
    assert answer.status_code == 400
    error = fault(answer)
    assert message in error["message"]
    assert error["param"] == param
    assert as_object(await house.client.get("/v1/files"))["data"] == []
    assert house.stored_bytes() == []


@pytest.mark.parametrize(
    "body",
    [
        PURPOSE + file_part() + END,
        file_part() + PURPOSE + END,
        b"\r\n" + PURPOSE + file_part() + END + b"epilogue",
        file_part(disposition='name="note"; filename="x"') + PURPOSE + file_part() + END,
        PURPOSE
        + b'--edge\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n'
        + file_part()
        + END,
    ],
    ids=["purpose-first", "file-first", "preamble", "unknown-file", "unknown-field"],
)
def test_fields_may_come_in_any_order_with_others_among_them(tmp_path: Path, body: bytes) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for chunks in ([body], [bytes([byte]) for byte in body]):
                answer = await send(house, *chunks)
                assert answer.status_code == 200
                path = f"/v1/files/{as_object(answer)['id']}/content"
                assert (await house.client.get(path)).content == LINE

    run(main())


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    content=st.binary(max_size=300).map(
        lambda data: b'{"a":"' + data.hex().encode() + b'"}\r\n--edg'
    ),
    cuts=st.lists(st.integers(0, 700), max_size=12),
)
def test_how_the_body_was_cut_makes_no_difference(
    tmp_path: Path, content: bytes, cuts: list[int]
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            body = file_part(content) + PURPOSE + END
            edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
            answer = await send(house, *(body[a:b] for a, b in pairwise(edges)))
            path = f"/v1/files/{as_object(answer)['id']}/content"
            assert (await house.client.get(path)).content == content

    run(main())


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", PURPOSE + file_part() + END),
        ("multipart/form-data; boundary=", PURPOSE + file_part() + END),
        ("application/json", b"{}"),
        ("application/x-www-form-urlencoded", b"purpose=batch"),
    ],
)
def test_a_form_needs_a_boundary(tmp_path: Path, kind: str, body: bytes) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            answer = await send(house, body, headers={"content-type": kind})
            await assert_refused(house, answer, "must be multipart/form-data")
            bare = await house.client.post("/v1/files")
            await assert_refused(house, bare, "must be multipart/form-data")

    run(main())


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        (b"", "ends before its closing boundary", None),
        (PURPOSE + file_part(), "ends before its closing boundary", None),
        (PURPOSE + file_part()[:-20], "ends before its closing boundary", None),
        (b"not a form at all", "malformed", None),
        (PURPOSE + b"--edge\r\nno colon\r\n\r\nx\r\n" + END, "malformed", None),
        (END, "Missing required parameter: 'file'.", "file"),
        (PURPOSE + file_part() + file_part() + END, "more than one 'file'", "file"),
        (
            PURPOSE + file_part(disposition='name="file"') + END,
            "Invalid type for 'file': expected a file, but got a string instead.",
            "file",
        ),
        (
            b'--edge\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n\xff\r\n' + END,
            "Invalid 'purpose': it is not UTF-8.",
            "purpose",
        ),
    ],
)
def test_broken_forms_are_refused_and_leave_nothing(
    tmp_path: Path, body: bytes, message: str, param: str | None
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            await assert_refused(house, await send(house, body), message, param)

    run(main())


def test_a_boundary_beyond_reason_is_malformed(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            headers = {"content-type": f"multipart/form-data; boundary={'b' * 300}"}
            await assert_refused(house, await send(house, PURPOSE, headers=headers), "malformed")

    run(main())


@pytest.mark.parametrize(("size", "fits"), [(MAX_FIELD_BYTES, True), (MAX_FIELD_BYTES + 1, False)])
def test_a_field_is_bounded(tmp_path: Path, size: int, fits: bool) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            head = b'--edge\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n'
            answer = await send(house, head + b"x" * size + b"\r\n" + END)
            said = "Invalid value:" if fits else f"longer than {MAX_FIELD_BYTES} bytes"
            await assert_refused(house, answer, said, "purpose")

    run(main())


@pytest.mark.parametrize(("parts", "status"), [(MAX_PARTS, 200), (MAX_PARTS + 1, 400)])
def test_the_number_of_parts_is_bounded(tmp_path: Path, parts: int, status: int) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            others = b'--edge\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n' * (parts - 2)
            answer = await send(house, others, PURPOSE, file_part(), END)
            assert answer.status_code == status

    run(main())


def test_endless_unknown_fields_come_to_an_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, limits=Limits(max_file_bytes=100)) as house:
            head = b'--edge\r\nContent-Disposition: form-data; name="x"\r\n\r\n'

            async def endless() -> AsyncIterator[bytes]:
                yield head
                for _ in range((100 + OVERHEAD_BYTES) // 65536 + 1):
                    yield b"x" * 65536
                raise AssertionError("the form was read beyond its bound")

            answer = await house.client.post("/v1/files", headers=KIND, content=endless())
            await assert_refused(house, answer, "File is too large.")

    run(main())


def test_a_wrong_purpose_is_refused_before_the_file_comes(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:

            async def body() -> AsyncIterator[bytes]:
                yield PURPOSE.replace(b"batch", b"vision") + file_part()
                raise AssertionError("the file was read")

            answer = await house.client.post("/v1/files", headers=KIND, content=body())
            await assert_refused(house, answer, "Invalid value: 'vision'", "purpose")

    run(main())


def test_a_first_line_that_is_not_json_is_refused_before_the_rest_comes(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:

            async def body() -> AsyncIterator[bytes]:
                yield file_part(b"id,text\n" + b"1,a\n" * 400_000)
                raise AssertionError("the rest was read")

            answer = await house.client.post("/v1/files", headers=KIND, content=body())
            await assert_refused(house, answer, "Its first line is not JSON.")

    run(main())


@pytest.mark.parametrize("near", [b"", b"\r", b"\r\n", b"\r\n--", b"\r\n--edg", b"\r\n--edgy\r\n"])
def test_what_looks_like_a_boundary_stays_in_the_file(tmp_path: Path, near: bytes) -> None:
    content = LINE + near + b"".join([b"rest of it\n"] * 2) + near

    async def main() -> None:
        async with open_house(tmp_path) as house:
            body = PURPOSE + file_part(content) + END
            at = body.index(LINE) + len(LINE)
            # cut before it, within it, and behind it, so that a chunk ends with each beginning
            for cut in range(at, at + len(near) + 2):
                answer = await send(house, body[:cut], b"plain", body[cut:-9], body[-9:])
                assert answer.status_code == 200
                path = f"/v1/files/{as_object(answer)['id']}/content"
                wanted = (
                    content[: cut - at + len(LINE)] + b"plain" + content[cut - at + len(LINE) :]
                )
                assert (await house.client.get(path)).content == wanted

    run(main())


def test_old_clients_name_their_file_in_the_extended_form(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            name = "name=\"file\"; filename*=utf-8''%E6%97%A5.jsonl"
            answer = await send(house, PURPOSE, file_part(disposition=name), END)
            assert as_object(answer)["filename"] == "日.jsonl"

    run(main())


async def speak(house: House, *messages: Message) -> list[Message]:
    """Send a request by hand; after the given messages the client says nothing more."""
    left = list(messages)
    answered: list[Message] = []

    async def receive() -> Message:
        if left:
            return left.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send_back(message: Message) -> None:
        answered.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/files",
        "raw_path": b"/v1/files",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", KIND["content-type"].encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await house.app(scope, receive, send_back)
    return answered


def test_a_client_that_stalls_is_given_up_and_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, patience=Patience(idle_seconds=0.01)) as house:
            begun: Message = {
                "type": "http.request",
                "body": PURPOSE + file_part(LINE * 10_000),
                "more_body": True,
            }
            start, body = await speak(house, begun)
            assert start["status"] == 408
            assert (b"connection", b"close") in start["headers"]
            assert b'"code":"request_timeout"' in body["body"]
            assert house.stored_bytes() == []

    run(main())


def test_a_client_that_goes_away_is_let_go_and_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            begun: Message = {
                "type": "http.request",
                "body": PURPOSE + file_part(LINE * 10_000),
                "more_body": True,
            }
            assert await speak(house, begun, {"type": "http.disconnect"}) == []
            assert house.stored_bytes() == []
            assert not [one for one in house.logged if one["log_level"] == "error"]

    run(main())


def test_a_stalled_upload_does_not_hold_up_others(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            begun: Message = {
                "type": "http.request",
                "body": PURPOSE + file_part(),
                "more_body": True,
            }
            stalled = asyncio.create_task(speak(house, begun))
            await house.upload()
            assert not stalled.done()
            stalled.cancel()
            await asyncio.gather(stalled, return_exceptions=True)
            assert len(house.stored_bytes()) == 1

    run(main())
