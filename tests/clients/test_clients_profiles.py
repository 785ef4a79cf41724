"""Where the two profiles differ, seen through the official Python client."""

import pytest
from clients_input import chat, contents, line, read_lines
from clients_python import connect, upload, wait_for_end
from clients_server import Server
from openai import BadRequestError

pytest_plugins = ["clients_fixtures"]
HOUR = 3600
WINDOWS = {"24h": 24, "72h": 72, "3d": 72, "336h": 336, "14d": 336}


@pytest.mark.parametrize("window", WINDOWS)
def test_qwen_takes_windows_of_a_day_to_a_fortnight(qwen: Server, window: str) -> None:
    with connect(qwen) as client:
        batch = client.batches.create(
            input_file_id=upload(client, line("one", chat("hi"))).id,
            endpoint="/v1/chat/completions",
            completion_window=window,  # type: ignore[arg-type]
        )
    assert batch.completion_window == window
    assert batch.expires_at == batch.created_at + WINDOWS[window] * HOUR


@pytest.mark.parametrize("window", ["23h", "337h", "15d", "0d", "90m", "24", "1 d", ""])
def test_qwen_refuses_other_windows_and_names_the_range(qwen: Server, window: str) -> None:
    with connect(qwen) as client, pytest.raises(BadRequestError, match="24h to 336h") as caught:
        client.batches.create(
            input_file_id="file-batch-000000000000000000000000",
            endpoint="/v1/chat/completions",
            completion_window=window,  # type: ignore[arg-type]
        )
    assert caught.value.param == "completion_window"


@pytest.mark.parametrize("window", ["72h", "3d", "1d", "14d"])
def test_openai_takes_a_day_alone(server: Server, window: str) -> None:
    with connect(server) as client, pytest.raises(BadRequestError, match="24h") as caught:
        client.batches.create(
            input_file_id="file-batch-000000000000000000000000",
            endpoint="/v1/chat/completions",
            completion_window=window,  # type: ignore[arg-type]
        )
    assert caught.value.param == "completion_window"


def test_qwen_runs_a_line_that_asks_for_a_stream(qwen: Server) -> None:
    content = line("one", chat("hi", stream=True))
    with connect(qwen) as client:
        made = client.batches.create(
            input_file_id=upload(client, content).id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
        )
        batch = wait_for_end(client, made.id)
        assert batch.output_file_id is not None
        output = read_lines(client.files.content(batch.output_file_id).text)
    assert contents(output.values()) == ["You said: hi"]


def test_openai_refuses_a_line_that_asks_for_a_stream(server: Server) -> None:
    content = line("one", chat("hi", stream=True))
    with connect(server) as client:
        made = client.batches.create(
            input_file_id=upload(client, content).id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
        )
        batch = wait_for_end(client, made.id)
    assert batch.errors is not None
    assert [one.code for one in batch.errors.data or []] == ["streaming_unsupported"]


def test_the_vendors_base_path_and_filters_work_through_the_client(qwen: Server) -> None:
    twin = Server(qwen.url.removesuffix("/v1") + "/compatible-mode/v1", qwen.upstream)
    with connect(twin) as client:
        made = [
            client.batches.create(
                input_file_id=upload(client, line("one", chat("hi"))).id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"ds_name": name, "ds_description": "of the tests"},
            ).id
            for name in ("night run 1", "day run", "night run 2")
        ]
        found = client.batches.list(extra_query={"ds_name": "night run"})
        assert [one.id for one in found] == [made[2], made[0]]
        wait_for_end(client, made[1])
        by_status = client.batches.list(extra_query={"ds_name": "day", "status": "completed"})
        assert [one.id for one in by_status] == [made[1]]


def test_the_test_model_answers_on_its_own_endpoint(qwen: Server) -> None:
    body = {**chat("anything"), "model": "batch-test-model"}
    with connect(qwen) as client:
        made = client.batches.create(
            input_file_id=upload(client, line("one", body, "/v1/chat/ds-test")).id,
            endpoint="/v1/chat/ds-test",  # type: ignore[arg-type]
            completion_window="24h",
        )
        batch = wait_for_end(client, made.id)
        assert batch.output_file_id is not None
        output = read_lines(client.files.content(batch.output_file_id).text)
    assert contents(output.values()) == ["This is a test result."]
