"""Batches through the official Python client: made, run, listed, cancelled, read."""

import json
from itertools import islice
from typing import Any

import pytest
from clients_input import CHAT, chat, chat_file, contents, line, read_lines, refused
from clients_python import Requests, begin, connect, run, upload, wait_for_end
from clients_server import MODEL, Server
from openai import OpenAI
from openai.types import Batch, Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel

pytest_plugins = ["clients_fixtures"]
DAY = 24 * 3600
COUNT = 10


def output_of(client: OpenAI, batch: Batch) -> dict[str, Any]:
    assert batch.output_file_id is not None
    return read_lines(client.files.content(batch.output_file_id).text)


def errors_of(client: OpenAI, batch: Batch) -> dict[str, Any]:
    assert batch.error_file_id is not None
    return read_lines(client.files.content(batch.error_file_id).text)


def test_a_batch_goes_through(server: Server) -> None:
    """Every line is answered once, with the answer to what it said."""
    with connect(server) as client:
        batch = run(client, chat_file(COUNT))
        output = output_of(client, batch)
    assert (batch.status, batch.model, batch.errors) == ("completed", MODEL, None)
    assert batch.error_file_id is None
    assert list(output) == [f"r{at}" for at in range(COUNT)]
    assert contents(output.values()) == [f"You said: word {at}" for at in range(COUNT)]


def test_counts_and_usage_are_those_of_the_file(server: Server) -> None:
    with connect(server) as client:
        batch = run(client, chat_file(COUNT))
        usages = [one["response"]["body"]["usage"] for one in output_of(client, batch).values()]
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": COUNT, "completed": COUNT, "failed": 0}
    assert batch.usage is not None
    assert batch.usage.input_tokens == sum(one["prompt_tokens"] for one in usages)
    assert batch.usage.output_tokens == sum(one["completion_tokens"] for one in usages)
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens


def test_a_new_batch_has_every_field_that_the_client_knows(server: Server) -> None:
    with connect(server) as client:
        answer = client.batches.with_raw_response.create(
            input_file_id=upload(client, chat_file(1)).id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"run": "7"},
        )
        raw, batch = answer.http_response.json(), answer.parse()
    assert set(Batch.model_fields) <= set(raw)
    assert batch.expires_at == batch.created_at + DAY
    assert (batch.status, batch.metadata) == ("validating", {"run": "7"})
    assert raw["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert [raw[name] for name in ("output_file_id", "error_file_id", "errors")] == [None] * 3


def test_what_batchmill_adds_is_left_to_those_who_look(server: Server) -> None:
    with connect(server) as client:
        batch = begin(client, chat_file(1))
    assert set(batch.model_extra or {}) == {"batchmill"}


def test_lines_that_fail_stand_in_the_error_file_with_the_upstreams_answer(server: Server) -> None:
    with connect(server) as client:
        batch = run(client, chat_file(2) + refused("bad"))
        output, errors = output_of(client, batch), errors_of(client, batch)
    assert batch.status == "completed"
    assert (set(output), set(errors)) == ({"r0", "r1"}, {"bad"})
    assert errors["bad"]["response"]["status_code"] == 400
    assert errors["bad"]["error"] is None
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 2, "failed": 1}


LINE_ENDS = "\u2028\u2029\u0085"


def test_an_answer_with_the_line_ends_of_unicode_is_one_line_to_every_client(
    server: Server,
) -> None:
    """Some clients split results with ``str.splitlines``, which takes these for line ends."""
    with connect(server) as client:
        batch = run(client, line("one", chat(f"before{LINE_ENDS}after")))
        output = output_of(client, batch)
    assert contents(output.values()) == [f"You said: before{LINE_ENDS}after"]


def test_a_batch_whose_lines_all_fail_is_completed_without_an_output_file(server: Server) -> None:
    with connect(server) as client:
        batch = run(client, refused("one") + refused("two"))
    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert batch.error_file_id is not None


def test_an_input_at_fault_fails_with_each_line_named(server: Server) -> None:
    content = chat_file(1) + b"no json\n" + line("r0", chat("again"))
    with connect(server) as client:
        batch = run(client, content)
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
    assert batch.errors is not None
    found = [(one.line, one.code) for one in batch.errors.data or []]
    assert found == [(2, "invalid_json_line"), (3, "duplicate_custom_id")]


def test_a_file_that_does_not_exist_fails_the_batch_later(server: Server) -> None:
    with connect(server) as client:
        made = client.batches.create(
            input_file_id="file-batch-000000000000000000000000",
            endpoint="/v1/chat/completions",
            completion_window="24h",
        )
        batch = wait_for_end(client, made.id)
    assert batch.status == "failed"
    assert batch.errors is not None
    assert [(one.code, one.param) for one in batch.errors.data or []] == [
        ("invalid_request", "file_id")
    ]


BODIES: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    CHAT: (ChatCompletion, chat("hello")),
    "/v1/completions": (Completion, {"model": MODEL, "prompt": "hello"}),
    "/v1/embeddings": (CreateEmbeddingResponse, {"model": MODEL, "input": ["hello", "you"]}),
    "/v1/responses": (Response, {"model": MODEL, "input": "hello"}),
}


@pytest.mark.parametrize("url", BODIES)
def test_answers_of_each_endpoint_fit_the_clients_types(server: Server, url: Any) -> None:
    kind, body = BODIES[url]
    with connect(server) as client:
        file = upload(client, line("one", body, url))
        made = client.batches.create(input_file_id=file.id, endpoint=url, completion_window="24h")
        output = output_of(client, wait_for_end(client, made.id))
    kind.model_validate_json(json.dumps(output["one"]["response"]["body"]), strict=True)


def test_lists_of_batches_page_by_themselves_newest_first(server: Server) -> None:
    requests = Requests()
    with connect(server, requests) as client:
        made = [begin(client, chat_file(1)).id for _ in range(5)]
        requests.seen.clear()
        listed = [one.id for one in islice(client.batches.list(limit=2), 5)]
    assert listed == made[::-1]
    assert requests.seen == ["GET /batches"] * 3


def test_lists_of_batches_come_to_an_end(server: Server) -> None:
    with connect(server) as client:
        made = {begin(client, chat_file(1)).id for _ in range(3)}
        listed = [one.id for one in client.batches.list(limit=2)]
    assert made <= set(listed)
    assert len(set(listed)) == len(listed)


def test_a_page_goes_on_behind_the_batch_that_is_named(server: Server) -> None:
    with connect(server) as client:
        older, newer = begin(client, chat_file(1)).id, begin(client, chat_file(1)).id
        page = client.batches.list(after=newer, limit=1)
        assert [one.id for one in page.data] == [older]


def test_a_cancelled_batch_keeps_a_line_for_every_request(server: Server) -> None:
    """Cancelled while nothing was answered: all lines are in the error file."""
    with connect(server) as client, server.upstream.held():
        made = begin(client, chat_file(COUNT))
        server.upstream.wait_for_held(COUNT)
        assert client.batches.retrieve(made.id).status == "in_progress"
        assert client.batches.cancel(made.id).status == "cancelling"
        batch = wait_for_end(client, made.id)
        errors = errors_of(client, batch)
        assert client.batches.cancel(made.id) == batch
    assert (batch.status, batch.output_file_id) == ("cancelled", None)
    assert len(errors) == COUNT
    assert {one["error"]["code"] for one in errors.values()} == {"batch_cancelled"}


def test_result_files_live_as_long_as_asked(server: Server) -> None:
    with connect(server) as client:
        made = client.batches.create(
            input_file_id=upload(client, chat_file(1) + refused("bad")).id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            output_expires_after={"anchor": "created_at", "seconds": 3600},
        )
        batch = wait_for_end(client, made.id)
        assert batch.output_file_id is not None
        assert batch.error_file_id is not None
        for file_id in (batch.output_file_id, batch.error_file_id):
            file = client.files.retrieve(file_id)
            assert file.expires_at == file.created_at + 3600
            assert file.purpose == "batch_output"


@pytest.mark.parametrize("way", ["header", "body"])
def test_an_idempotency_key_answers_the_same_batch_again(server: Server, way: str) -> None:
    key = f"key-{way}"
    with connect(server) as client:
        file_id = upload(client, chat_file(1)).id

        def create() -> Batch:
            return client.batches.create(
                input_file_id=file_id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                extra_headers={"Idempotency-Key": key} if way == "header" else None,
                extra_body={"idempotency_key": key} if way == "body" else None,
            )

        first, again = create(), create()
        newest = client.batches.list(limit=1).data[0]
    assert first.id == again.id == newest.id


def test_the_models_are_those_that_are_served(server: Server) -> None:
    with connect(server) as client:
        listed = [one.id for one in client.models.list()]
        assert client.models.retrieve(MODEL).id == MODEL
    assert MODEL in listed
