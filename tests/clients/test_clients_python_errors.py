"""What the official Python client makes of refusals: its own exceptions, and no idle retries."""

from typing import Any

import pytest
from clients_input import chat_file
from clients_python import Requests, begin, connect, run, upload
from clients_server import Server
from openai import APIStatusError, BadRequestError, ConflictError, NotFoundError, OpenAI

pytest_plugins = ["clients_fixtures"]
UNKNOWN_BATCH = "batch_00000000-0000-4000-8000-000000000000"
UNKNOWN_FILE = "file-batch-000000000000000000000000"


def create(client: OpenAI, **fields: Any) -> None:
    asked = {
        "input_file_id": UNKNOWN_FILE,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    client.batches.create(**{**asked, **fields})


@pytest.mark.parametrize("verb", ["retrieve", "cancel"])
def test_an_unknown_batch_is_not_found(server: Server, verb: str) -> None:
    requests = Requests()
    with connect(server, requests) as client:
        with pytest.raises(NotFoundError, match=f"No batch found with id '{UNKNOWN_BATCH}'") as e:
            getattr(client.batches, verb)(UNKNOWN_BATCH)
        assert len(requests.seen) == 1
    assert e.value.type == "invalid_request_error"


@pytest.mark.parametrize("verb", ["retrieve", "content", "delete"])
def test_an_unknown_file_is_not_found(server: Server, verb: str) -> None:
    with connect(server) as client, pytest.raises(NotFoundError) as caught:
        getattr(client.files, verb)(UNKNOWN_FILE)
    assert f"No such File object: {UNKNOWN_FILE}" in caught.value.message
    assert caught.value.param == "id"


def test_an_unknown_cursor_is_not_found(server: Server) -> None:
    with connect(server) as client, pytest.raises(NotFoundError):
        client.batches.list(after=UNKNOWN_BATCH)


def test_a_path_that_is_not_served_is_not_found(server: Server) -> None:
    with connect(server) as client, pytest.raises(NotFoundError) as caught:
        client.fine_tuning.jobs.list()
    assert caught.value.code == "unknown_url"


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"endpoint": "/v1/nothing"}, "endpoint", "invalid_value"),
        ({"completion_window": "48h"}, "completion_window", "invalid_value"),
        ({"completion_window": ""}, "completion_window", "invalid_value"),
        ({"metadata": {"tags": ["a"]}}, "metadata.tags", "invalid_type"),
        ({"metadata": {f"k{at}": "v" for at in range(17)}}, "metadata", None),
        ({"extra_body": {"input_file_id": None}}, "input_file_id", "invalid_type"),
    ],
)
def test_a_batch_that_cannot_be_asked_for_is_a_bad_request(
    server: Server, fields: dict[str, Any], param: str, code: str | None
) -> None:
    requests = Requests()
    with connect(server, requests) as client:
        with pytest.raises(BadRequestError) as caught:
            create(client, **fields)
        assert requests.seen == ["POST /batches"]
    assert caught.value.param == param
    assert code in (None, caught.value.code)


def test_a_missing_field_is_named(server: Server) -> None:
    with connect(server) as client, pytest.raises(BadRequestError) as caught:
        client.post("/batches", body={"endpoint": "/v1/chat/completions"}, cast_to=object)
    assert caught.value.code == "missing_required_parameter"
    assert caught.value.param == "input_file_id"


@pytest.mark.parametrize(
    ("content", "purpose"),
    [(b"", "batch"), (b"not json\n", "batch"), (chat_file(1), "assistants")],
    ids=["empty", "no JSON", "another purpose"],
)
def test_what_cannot_be_a_batch_file_is_a_bad_request(
    server: Server, content: bytes, purpose: Any
) -> None:
    with connect(server) as client, pytest.raises(BadRequestError):
        client.files.create(file=("in.jsonl", content), purpose=purpose)


def test_a_batch_that_has_ended_cannot_be_cancelled_and_is_asked_once(server: Server) -> None:
    """The client repeats 409 by itself unless it is told not to."""
    requests = Requests()
    with connect(server, requests) as client:
        batch = run(client, chat_file(1))
        requests.seen.clear()
        with pytest.raises(
            ConflictError, match="Cannot cancel a batch with status 'completed'"
        ) as caught:
            client.batches.cancel(batch.id)
    assert requests.seen == [f"POST /batches/{batch.id}/cancel"]
    assert (caught.value.code, caught.value.param) == (None, None)


def test_a_key_with_other_parameters_is_a_conflict_and_is_sent_once(server: Server) -> None:
    requests = Requests()
    with connect(server, requests) as client:
        file_id, key = upload(client, chat_file(1)).id, {"Idempotency-Key": "one key, two batches"}
        create(client, input_file_id=file_id, extra_headers=key)
        requests.seen.clear()
        with pytest.raises(ConflictError):
            create(client, input_file_id=file_id, metadata={"a": "b"}, extra_headers=key)
    assert requests.seen == ["POST /batches"]


def test_answers_and_errors_carry_the_id_of_their_request(server: Server) -> None:
    with connect(server) as client:
        batch = begin(client, chat_file(1))
        raw = client.batches.with_raw_response.retrieve(batch.id)
        with pytest.raises(APIStatusError) as caught:
            client.batches.retrieve(UNKNOWN_BATCH)
    ids = {batch._request_id, raw.request_id, caught.value.request_id}
    assert len(ids) == 3
    assert all(one is not None and one.startswith("req_") for one in ids)
    assert raw.headers["x-request-id"] == raw.request_id
