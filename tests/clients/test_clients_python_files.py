"""Files and uploads through the official Python client."""

import hashlib
from itertools import islice
from pathlib import Path

import pytest
from clients_input import chat_file
from clients_python import Requests, begin, connect, upload, wait_for_end
from clients_server import Server
from openai import BadRequestError, ConflictError, NotFoundError
from openai.types import FileObject

pytest_plugins = ["clients_fixtures"]
HOUR = 3600
MONTH = 30 * 24 * HOUR
CONTENT = chat_file(3)


def test_a_file_goes_up_and_comes_back_byte_for_byte(server: Server) -> None:
    with connect(server) as client:
        file = upload(client, CONTENT, "my requests.jsonl")
        assert client.files.retrieve(file.id) == file
        assert client.files.content(file.id).read() == CONTENT
    assert (file.bytes, file.filename) == (len(CONTENT), "my requests.jsonl")
    assert (file.purpose, file.status) == ("batch", "processed")


def test_the_object_of_a_file_has_every_field_that_the_client_knows(server: Server) -> None:
    with connect(server) as client:
        answer = client.files.with_raw_response.create(file=("in.jsonl", CONTENT), purpose="batch")
    assert set(FileObject.model_fields) <= set(answer.http_response.json())


def test_a_file_is_processed_when_its_upload_answers(server: Server) -> None:
    """``wait_for_processing`` asks once, and never waits."""
    requests = Requests()
    with connect(server, requests) as client:
        file = upload(client, CONTENT)
        assert client.files.wait_for_processing(file.id).status == "processed"
    assert requests.seen == ["POST /files", f"GET /files/{file.id}"]


def test_a_path_is_uploaded_under_its_own_name(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "Anfragen, größer.jsonl"
    path.write_bytes(CONTENT)
    with connect(server) as client:
        file = client.files.create(file=path, purpose="batch")
        assert client.files.retrieve(file.id).filename == path.name


def test_bytes_without_a_name_are_taken(server: Server) -> None:
    with connect(server) as client:
        assert client.files.create(file=CONTENT, purpose="batch").bytes == len(CONTENT)


@pytest.mark.parametrize("seconds", [HOUR, MONTH])
def test_expires_after_sets_the_end_of_a_file(server: Server, seconds: int) -> None:
    with connect(server) as client:
        file = client.files.create(
            file=("in.jsonl", CONTENT),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": seconds},
        )
    assert file.expires_at == file.created_at + seconds


@pytest.mark.parametrize("seconds", [HOUR - 1, MONTH + 1])
def test_expires_after_beyond_its_range_is_a_bad_request(server: Server, seconds: int) -> None:
    with connect(server) as client, pytest.raises(BadRequestError) as caught:
        client.files.create(
            file=("in.jsonl", CONTENT),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": seconds},
        )
    assert caught.value.param == "expires_after.seconds"


def test_lists_of_files_page_by_themselves_newest_first(server: Server) -> None:
    requests = Requests()
    with connect(server, requests) as client:
        made = [upload(client, CONTENT).id for _ in range(5)]
        requests.seen.clear()
        listed = [one.id for one in islice(client.files.list(limit=2), 5)]
    assert listed == made[::-1]
    assert requests.seen == ["GET /files"] * 3


def test_lists_of_files_come_to_an_end_in_either_order(server: Server) -> None:
    with connect(server) as client:
        upload(client, CONTENT)
        down = [one.id for one in client.files.list(purpose="batch", order="desc")]
        up = [one.id for one in client.files.list(purpose="batch", order="asc", limit=3)]
    assert down == up[::-1]
    assert len(set(up)) == len(up)


def test_a_deleted_file_is_gone(server: Server) -> None:
    with connect(server) as client:
        file = upload(client, CONTENT)
        assert client.files.delete(file.id).deleted
        with pytest.raises(NotFoundError) as caught:
            client.files.content(file.id)
    assert (caught.value.param, caught.value.type) == ("id", "invalid_request_error")


def test_results_stream_to_a_file(server: Server, tmp_path: Path) -> None:
    with connect(server) as client:
        batch = wait_for_end(client, begin(client, CONTENT).id)
        assert batch.output_file_id is not None
        with client.files.with_streaming_response.content(batch.output_file_id) as answer:
            answer.stream_to_file(tmp_path / "out.jsonl")
        whole = client.files.content(batch.output_file_id).text
    assert (tmp_path / "out.jsonl").read_text() == whole
    assert len(whole.splitlines()) == 3


def test_an_input_that_is_in_use_cannot_be_deleted(server: Server) -> None:
    """The refusal names the batch, and the client does not repeat itself."""
    requests = Requests()
    with connect(server, requests) as client, server.upstream.held():
        batch = begin(client, CONTENT)
        server.upstream.wait_for_held(3)
        requests.seen.clear()
        with pytest.raises(ConflictError, match=batch.id):
            client.files.delete(batch.input_file_id)
        assert requests.seen == [f"DELETE /files/{batch.input_file_id}"]
        client.batches.cancel(batch.id)
        wait_for_end(client, batch.id)
        assert client.files.delete(batch.input_file_id).deleted


def test_a_large_file_goes_up_in_parts(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    path.write_bytes(CONTENT)
    requests = Requests()
    with connect(server, requests) as client:
        done = client.uploads.upload_file_chunked(
            file=path,
            mime_type="application/jsonl",
            purpose="batch",
            part_size=len(CONTENT) // 3,
            md5=hashlib.md5(CONTENT).hexdigest(),
        )
        assert done.file is not None
        assert client.files.content(done.file.id).read() == CONTENT
    parts = f"POST /uploads/{done.id}/parts"
    assert requests.seen[:5] == ["POST /uploads", *[parts] * 3, f"POST /uploads/{done.id}/complete"]
    assert (done.status, done.bytes, done.filename) == ("completed", len(CONTENT), "large.jsonl")


def test_a_file_that_came_in_parts_runs(server: Server) -> None:
    with connect(server) as client:
        done = client.uploads.upload_file_chunked(
            file=CONTENT,
            filename="memory.jsonl",
            bytes=len(CONTENT),
            mime_type="application/jsonl",
            purpose="batch",
            part_size=100,
        )
        assert done.file is not None
        batch = client.batches.create(
            input_file_id=done.file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        assert wait_for_end(client, batch.id).status == "completed"


def test_parts_with_another_md5_are_a_bad_request(server: Server) -> None:
    with connect(server) as client, pytest.raises(BadRequestError, match="md5"):
        client.uploads.upload_file_chunked(
            file=CONTENT,
            filename="memory.jsonl",
            bytes=len(CONTENT),
            mime_type="application/jsonl",
            purpose="batch",
            md5=hashlib.md5(b"other").hexdigest(),
        )


def test_an_upload_that_was_cancelled_takes_no_more_parts(server: Server) -> None:
    with connect(server) as client:
        pending = client.uploads.create(
            filename="in.jsonl", purpose="batch", bytes=10, mime_type="application/jsonl"
        )
        assert (pending.status, pending.file) == ("pending", None)
        assert client.uploads.cancel(pending.id).status == "cancelled"
        with pytest.raises(BadRequestError):
            client.uploads.parts.create(pending.id, data=b"x")
