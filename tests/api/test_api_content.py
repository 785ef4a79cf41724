"""Reading files: ranges, conditions, headers, and clients that leave."""

import asyncio
from pathlib import Path

import pytest
from api_house import House, fault, open_house, run
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from batchmill.domain.limits import MB
from batchmill.door.ranges import Unsatisfiable, wanted_span
from batchmill.ports import BlobMissing

CONTENT = b'{"n":"0123456789"}\n'
SIZE = len(CONTENT)


@pytest.mark.parametrize(
    ("wanted", "status", "start", "end"),
    [
        ("bytes=0-3", 206, 0, 4),
        ("bytes=5-", 206, 5, SIZE),
        ("bytes=-4", 206, SIZE - 4, SIZE),
        ("BYTES = 1 - 2", 206, 1, 3),
        (f"bytes=0-{SIZE - 1}", 206, 0, SIZE),
        (f"bytes=0-{SIZE + 100}", 206, 0, SIZE),
        (f"bytes=-{SIZE + 100}", 206, 0, SIZE),
        (f"bytes={SIZE - 1}-", 206, SIZE - 1, SIZE),
        (f"bytes={SIZE}-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        ("bytes=3-1", 200, 0, SIZE),
        ("bytes=0-1,3-4", 200, 0, SIZE),
        ("bytes=-", 200, 0, SIZE),
        ("lines=1-2", 200, 0, SIZE),
        ("bytes=a-b", 200, 0, SIZE),
    ],
)
def test_one_range_is_honoured_and_the_unreadable_is_answered_with_the_whole(
    tmp_path: Path, wanted: str, status: int, start: int, end: int
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            path = f"/v1/files/{(await house.upload(CONTENT))['id']}/content"
            for method in ("GET", "HEAD"):
                answer = await house.client.request(method, path, headers={"range": wanted})
                assert answer.status_code == status
                assert answer.headers["accept-ranges"] == "bytes"
                if status == 416:
                    assert answer.headers["content-range"] == f"bytes */{SIZE}"
                    continue
                assert answer.headers["content-length"] == str(end - start)
                assert answer.content == (CONTENT[start:end] if method == "GET" else b"")
                if status == 206:
                    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"

    run(main())


def test_a_range_behind_the_end_has_the_envelope(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            path = f"/v1/files/{(await house.upload(CONTENT))['id']}/content"
            answer = await house.client.get(path, headers={"range": "bytes=999-"})
            assert fault(answer)["param"] == "range"

    run(main())


@given(
    size=st.integers(1, 50), first=st.integers(0, 60), last=st.one_of(st.none(), st.integers(0, 60))
)
def test_a_span_never_leaves_the_file(size: int, first: int, last: int | None) -> None:
    header = {"range": f"bytes={first}-{'' if last is None else last}"}
    try:
        span = wanted_span(header, "e", size)
    except Unsatisfiable:
        assert first >= size
        return
    if span is None:
        assert last is not None
        assert last < first
    else:
        assert 0 <= span.start < span.end <= size
        assert span.end - 1 <= (size if last is None else last)


def test_the_etag_is_the_digest_and_spares_a_second_reading(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload(CONTENT)
            row = await house.store.files.get("default", file["id"])
            path = f"/v1/files/{file['id']}/content"
            etag = (await house.client.head(path)).headers["etag"]
            assert row is not None
            assert etag == f'"{row.digest}"'
            for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
                answer = await house.client.get(path, headers={"if-none-match": known})
                assert (answer.status_code, answer.content) == (304, b"")
                assert answer.headers["etag"] == etag
            other = await house.client.get(path, headers={"if-none-match": '"other"'})
            assert other.content == CONTENT

    run(main())


def test_if_range_gives_the_part_only_of_the_same_bytes(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            path = f"/v1/files/{(await house.upload(CONTENT))['id']}/content"
            etag = (await house.client.head(path)).headers["etag"]
            for condition, status in ((etag, 206), ('"other"', 200), (f"W/{etag}", 200)):
                headers = {"range": "bytes=0-0", "if-range": condition}
                assert (await house.client.get(path, headers=headers)).status_code == status

    run(main())


def test_content_is_offered_as_a_download_that_no_browser_interprets(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            path = f"/v1/files/{(await house.upload(CONTENT))['id']}/content"
            headers = (await house.client.get(path)).headers
            assert headers["content-type"] == "application/jsonl"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["content-disposition"].startswith("attachment;")

    run(main())


def test_large_content_comes_whole_and_in_parts(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            content = b'{"a":"' + bytes(range(97, 122)) * 130_000 + b'"}\n'
            path = f"/v1/files/{(await house.upload(content))['id']}/content"
            assert (await house.client.get(path)).content == content
            part = {"range": f"bytes={MB - 3}-{2 * MB + 3}"}
            got = await house.client.get(path, headers=part)
            assert got.content == content[MB - 3 : 2 * MB + 4]

    run(main())


def test_bytes_that_are_missing_are_an_error_of_the_server(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload(CONTENT)
            row = await house.store.files.get("default", file["id"])
            assert row is not None
            await house.blobs.delete(row.blob)
            answer = await house.client.get(f"/v1/files/{file['id']}/content")
            assert answer.status_code == 500
            assert fault(answer)["type"] == "server_error"

    run(main())


def test_a_client_that_leaves_ends_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload(CONTENT)
            ended = asyncio.Event()

            async def endless(*_: object) -> object:
                try:
                    while True:
                        yield b"x"
                finally:
                    ended.set()

            monkeypatch.setattr(house.blobs, "read", endless)
            await leave_early(house, f"/v1/files/{file['id']}/content")
            assert ended.is_set()

    run(main())


async def leave_early(house: House, path: str) -> None:
    """Take the head and three chunks, and then be gone."""
    taken: list[Message] = []
    had_enough = asyncio.Event()

    async def receive() -> Message:
        await had_enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        taken.append(message)
        if len(taken) > 3:
            had_enough.set()
            await asyncio.Event().wait()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }
    await house.app(scope, receive, send)


def test_a_file_that_went_while_it_was_asked_for_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload(CONTENT)

            async def gone(*_: object) -> object:
                await house.store.files.delete("default", file["id"])
                for _once in (True,):
                    raise BlobMissing
                yield b""

            monkeypatch.setattr(house.blobs, "read", gone)
            answer = await house.client.get(f"/v1/files/{file['id']}/content")
            assert answer.status_code == 404

    run(main())
