"""Batches through the door: shapes, refusals, lists, cancelling, idempotency."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_house import (
    CHAT,
    NOON,
    House,
    as_object,
    fault,
    new_batch,
    open_house,
    run,
)
from openai.types import Batch as OfficialBatch

from batchmill.domain.batch import Counts, Event, LineError, Status, advance
from batchmill.domain.catalog import ENDPOINTS, TEST_ENDPOINT, Catalog
from batchmill.domain.file import File, Purpose
from batchmill.domain.limits import DAY, Limits, Profile
from batchmill.domain.usage import Usage
from batchmill.ports import Progress, Quota

KEYS = (
    *("id", "object", "endpoint", "model", "errors", "input_file_id", "completion_window"),
    *("status", "output_file_id", "error_file_id", "created_at", "in_progress_at", "expires_at"),
    *("finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at"),
    *("request_counts", "usage", "metadata", "batchmill"),
)


def test_a_new_batch_has_every_key_and_nulls_where_nothing_is_reached(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            batch = await house.create_batch(metadata={"ds_name": "nightly", "any": "x" * 900})
            assert tuple(batch) == KEYS
            assert batch["id"].startswith("batch_")
            assert batch["id"][6:].count("-") == 4
            assert (batch["status"], batch["completion_window"]) == ("validating", "24h")
            assert (batch["created_at"], batch["expires_at"]) == (int(NOON), int(NOON) + DAY)
            assert batch["metadata"] == {"ds_name": "nightly", "any": "x" * 900}
            assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
            assert batch["usage"]["total_tokens"] == 0
            nulls = {name for name, value in batch.items() if value is None}
            assert nulls == {
                *("model", "errors", "output_file_id", "error_file_id", "in_progress_at"),
                *("finalizing_at", "completed_at", "failed_at", "expired_at"),
                *("cancelling_at", "cancelled_at"),
            }
            OfficialBatch.model_validate(batch, strict=True)
            assert len(house.wakes) == 1
            again = await house.client.get(f"/v1/batches/{batch['id']}")
            assert as_object(again) == batch

    run(main())


def test_an_input_that_does_not_exist_is_not_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for name in ("nope", "https://bucket.example/in.jsonl", "oss:cn:bucket/in.jsonl"):
                assert (await house.create_batch(input_file_id=name))["status"] == "validating"

    run(main())


def test_a_result_file_is_no_input(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            await house.store.files.add(result_file("file-batch_output-1"), Quota(9, 999))
            answer = await house.client.post(
                "/v1/batches", json=new_batch(input_file_id="file-batch_output-1")
            )
            assert answer.status_code == 400
            assert fault(answer)["param"] == "input_file_id"

    run(main())


def result_file(file_id: str) -> File:
    return File(
        id=file_id,
        account="default",
        purpose=Purpose.BATCH_OUTPUT,
        filename="out.jsonl",
        bytes=10,
        digest="0" * 64,
        blob=f"results/{file_id}",
        created_at=NOON,
    )


@pytest.mark.parametrize("field", ["input_file_id", "endpoint", "completion_window"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            answer = await house.client.post("/v1/batches", json=new_batch(**{field: ...}))
            assert answer.status_code == 400
            assert fault(answer) == {
                "message": f"Missing required parameter: '{field}'.",
                "type": "invalid_request_error",
                "param": field,
                "code": "missing_required_parameter",
            }

    run(main())


@pytest.mark.parametrize(
    ("fields", "message", "param"),
    [
        (
            {"metadata": {"tags": ["a"]}},
            "Invalid type for 'metadata.tags': expected a string, but got an array instead.",
            "metadata.tags",
        ),
        (
            {"metadata": {"n": 1}},
            "Invalid type for 'metadata.n': expected a string, but got an integer instead.",
            "metadata.n",
        ),
        (
            {"metadata": []},
            "Invalid type for 'metadata': expected an object, but got an array instead.",
            "metadata",
        ),
        (
            {"input_file_id": None},
            "Invalid type for 'input_file_id': expected a string, but got null instead.",
            "input_file_id",
        ),
        (
            {"endpoint": {"a": 1}},
            "Invalid type for 'endpoint': expected a string, but got an object instead.",
            "endpoint",
        ),
        (
            {"completion_window": True},
            "Invalid type for 'completion_window': expected a string, but got a boolean instead.",
            "completion_window",
        ),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 3600.5}},
            (
                "Invalid type for 'output_expires_after.seconds': "
                "expected an integer, but got a decimal number instead."
            ),
            "output_expires_after.seconds",
        ),
        (
            {"output_expires_after": {"anchor": "now", "seconds": 3600}},
            "Invalid value: 'now'. Supported values are: 'created_at'.",
            "output_expires_after.anchor",
        ),
        (
            {"output_expires_after": {"anchor": "created_at"}},
            "Missing required parameter: 'output_expires_after.seconds'.",
            "output_expires_after.seconds",
        ),
    ],
)
def test_wrong_types_are_named_in_the_words_that_clients_know(
    tmp_path: Path, fields: dict[str, Any], message: str, param: str
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            answer = await house.client.post("/v1/batches", json=new_batch(**fields))
            assert answer.status_code == 400
            error = fault(answer)
            assert (error["message"], error["param"]) == (message, param)

    run(main())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The body of the request is not valid JSON"),
        (b"{", "The body of the request is not valid JSON"),
        (b'{"a": nope}', "The body of the request is not valid JSON"),
        (b"\xff\xfe", "The body of the request is not valid JSON"),
        (b'{"metadata": {"a": "\\ud800"}}', "The body of the request is not valid JSON"),
        (b"[" * 10_000, "The body of the request is not valid JSON"),
        (b"[]", "Invalid type: expected an object, but got an array instead."),
        (b"null", "Invalid type: expected an object, but got null instead."),
        (b'"text"', "Invalid type: expected an object, but got a string instead."),
    ],
)
def test_bodies_that_are_no_object_are_refused(tmp_path: Path, body: bytes, message: str) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            answer = await house.client.post("/v1/batches", content=body)
            assert answer.status_code == 400
            error = fault(answer)
            assert error["message"].startswith(message)
            assert error["param"] is None

    run(main())


@pytest.mark.parametrize(("size", "status"), [(1024 * 1024, 200), (1024 * 1024 + 1, 400)])
def test_the_json_is_bounded(tmp_path: Path, size: int, status: int) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            body = (
                b'{"input_file_id":"f","endpoint":"/v1/chat/completions","completion_window":"1d"}'
            )
            answer = await house.client.post("/v1/batches", content=body.ljust(size))
            assert answer.status_code == status

    run(main())


def test_an_endpoint_without_a_model_is_refused_and_the_others_are_named(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for endpoint in ("/v1/moderations", "/v1/images", "", CHAT + "/"):
                answer = await house.client.post("/v1/batches", json=new_batch(endpoint=endpoint))
                assert answer.status_code == 400
                assert fault(answer) == {
                    "message": f"Invalid value: '{endpoint}'. Supported values are: "
                    "'/v1/chat/completions', '/v1/embeddings', and '/v1/chat/ds-test'.",
                    "type": "invalid_request_error",
                    "param": "endpoint",
                    "code": "invalid_value",
                }
            await house.create_batch(endpoint="/v1/embeddings")

    run(main())


def test_a_catalog_of_anything_takes_every_endpoint(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, catalog=Catalog(accepts_any=True)) as house:
            for endpoint in ENDPOINTS:
                await house.create_batch(endpoint=endpoint)

    run(main())


@pytest.mark.parametrize(
    ("profile", "window", "seconds"),
    [
        (Profile.QWEN, "24h", DAY),
        (Profile.QWEN, "1d", DAY),
        (Profile.QWEN, "336h", 14 * DAY),
        (Profile.QWEN, "14d", 14 * DAY),
        (Profile.QWEN, "23h", None),
        (Profile.QWEN, "337h", None),
        (Profile.QWEN, "15d", None),
        (Profile.QWEN, "86400s", None),
        (Profile.QWEN, "", None),
        (Profile.QWEN, "24", None),
        (Profile.QWEN, "24 h", None),
        (Profile.QWEN, "1.5d", None),
        (Profile.OPENAI, "24h", DAY),
        (Profile.OPENAI, "1d", None),
        (Profile.OPENAI, "48h", None),
        (Profile.OPENAI, "", None),
    ],
)
def test_the_window_is_the_profiles_and_is_echoed_as_sent(
    tmp_path: Path, profile: Profile, window: str, seconds: int | None
) -> None:
    async def main() -> None:
        async with open_house(tmp_path, profile=profile) as house:
            answer = await house.client.post(
                "/v1/batches", json=new_batch(completion_window=window)
            )
            if seconds is None:
                assert answer.status_code == 400
                error = fault(answer)
                assert error["param"] == "completion_window"
                assert "completion_window" in error["message"] or "24h" in error["message"]
            else:
                batch = as_object(answer)
                assert batch["completion_window"] == window
                assert batch["expires_at"] == int(NOON) + seconds

    run(main())


def test_seconds_are_taken_where_the_range_reaches_below_an_hour(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, limits=Limits(completion_window_min=5)) as house:
            assert (await house.create_batch(completion_window="5s"))["expires_at"] == int(NOON) + 5
            answer = await house.client.post("/v1/batches", json=new_batch(completion_window="4s"))
            assert "from 5s to 336h" in fault(answer)["message"]

    run(main())


@pytest.mark.parametrize(
    ("profile", "metadata", "param"),
    [
        (Profile.QWEN, {"ds_name": "n" * 100}, None),
        (Profile.QWEN, {"ds_name": "n" * 101}, "metadata.ds_name"),
        (Profile.QWEN, {"ds_description": "n" * 200}, None),
        (Profile.QWEN, {"ds_description": "n" * 201}, "metadata.ds_description"),
        (Profile.QWEN, {"ds_batch_finish_callback": "https://a.example/x"}, None),
        (Profile.QWEN, {"ds_batch_finish_callback": "a.example"}, "CALLBACK"),
        (Profile.QWEN, {"ds_batch_finish_callback": "ftp://a.example"}, "CALLBACK"),
        (Profile.QWEN, {"ds_batch_finish_callback": "http://["}, "CALLBACK"),
        (Profile.QWEN, {"a\0": "b"}, "metadata"),
        (Profile.QWEN, {"a": "\0"}, "metadata.a"),
        (Profile.QWEN, {str(n): "x" for n in range(100)}, None),
        (Profile.QWEN, {}, None),
        (Profile.OPENAI, {str(n): "x" for n in range(16)}, None),
        (Profile.OPENAI, {str(n): "x" for n in range(17)}, "metadata"),
        (Profile.OPENAI, {"k" * 64: "x"}, None),
        (Profile.OPENAI, {"k" * 65: "x"}, "metadata"),
        (Profile.OPENAI, {"k": "x" * 512}, None),
        (Profile.OPENAI, {"k": "x" * 513}, "metadata.k"),
        (Profile.OPENAI, {"ds_batch_finish_callback": "not a url"}, None),
    ],
)
def test_metadata_is_limited_by_the_profile(
    tmp_path: Path, profile: Profile, metadata: dict[str, str], param: str | None
) -> None:
    async def main() -> None:
        async with open_house(tmp_path, profile=profile) as house:
            answer = await house.client.post("/v1/batches", json=new_batch(metadata=metadata))
            if param is None:
                assert as_object(answer)["metadata"] == metadata
            else:
                assert answer.status_code == 400
                named = "metadata.ds_batch_finish_callback" if param == "CALLBACK" else param
                assert fault(answer)["param"] == named

    run(main())


@pytest.mark.parametrize(
    ("seconds", "status"), [(3599, 400), (3600, 200), (2_592_000, 200), (2_592_001, 400)]
)
def test_results_may_be_given_a_life(tmp_path: Path, seconds: int, status: int) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            body = new_batch(output_expires_after={"anchor": "created_at", "seconds": seconds})
            answer = await house.client.post("/v1/batches", json=body)
            assert answer.status_code == status
            if status == 200:
                stored = await house.batch(as_object(answer)["id"])
                assert stored.output_expires_after == seconds
            else:
                assert fault(answer)["param"] == "output_expires_after.seconds"

    run(main())


def test_a_key_makes_one_batch_by_header_or_by_field(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            key = {"idempotency-key": "k1"}
            first = await house.client.post("/v1/batches", json=new_batch(), headers=key)
            second = await house.client.post("/v1/batches", json=new_batch(), headers=key)
            third = await house.client.post("/v1/batches", json=new_batch(idempotency_key="k1"))
            assert as_object(first) == as_object(second) == as_object(third)
            assert len(house.wakes) == 1
            other = await house.create_batch()
            assert other["id"] != as_object(first)["id"]

    run(main())


@pytest.mark.parametrize(
    "change",
    [
        {"input_file_id": "other"},
        {"endpoint": "/v1/embeddings"},
        {"completion_window": "1d"},
        {"metadata": {"a": "b"}},
        {"output_expires_after": {"anchor": "created_at", "seconds": 3600}},
    ],
)
def test_a_key_with_other_parameters_conflicts(tmp_path: Path, change: dict[str, Any]) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            key = {"idempotency-key": "k1"}
            await house.client.post("/v1/batches", json=new_batch(), headers=key)
            answer = await house.client.post("/v1/batches", json=new_batch(**change), headers=key)
            assert answer.status_code == 409
            assert answer.headers["x-should-retry"] == "false"
            assert fault(answer)["code"] == "idempotency_mismatch"

    run(main())


@pytest.mark.parametrize(
    ("header", "field", "status"),
    [
        ("a", "a", 200),
        ("a", "b", 400),
        ("k" * 255, None, 200),
        ("k" * 256, None, 400),
        ("", None, 400),
    ],
)
def test_keys_are_checked(tmp_path: Path, header: str, field: str | None, status: int) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            answer = await house.client.post(
                "/v1/batches",
                json=new_batch(idempotency_key=field),
                headers={"idempotency-key": header},
            )
            assert answer.status_code == status
            if status == 400:
                assert fault(answer)["param"] == "idempotency_key"

    run(main())


def test_the_number_of_unfinished_batches_is_capped(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, limits=Limits(max_unfinished_batches=2)) as house:
            first = await house.create_batch()
            await house.create_batch()
            answer = await house.client.post("/v1/batches", json=new_batch())
            assert answer.status_code == 429
            assert answer.headers["x-should-retry"] == "false"
            assert "at most 2" in fault(answer)["message"]
            await house.move(first["id"], Event.REJECTED)
            await house.create_batch()

    run(main())


def test_the_test_endpoint_has_a_cap_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for _ in range(2):
                await house.create_batch(endpoint=TEST_ENDPOINT)
            answer = await house.client.post("/v1/batches", json=new_batch(endpoint=TEST_ENDPOINT))
            assert answer.status_code == 429
            assert f"at most 2 on {TEST_ENDPOINT}" in fault(answer)["message"]
            await house.create_batch()

    run(main())


def test_unknown_batches_are_not_found_in_every_operation(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for name in ("batch_x", "%00", "b" * 3000):
                for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/results")):
                    answer = await house.client.request(method, f"/v1/batches/{name}{path}")
                    assert answer.status_code == 404
                    assert fault(answer)["type"] == "invalid_request_error"
            known = await house.client.get("/v1/batches/batch_x")
            assert fault(known)["message"] == "No batch found with id 'batch_x'."

    run(main())


def test_a_running_batch_shows_counts_usage_and_outlook(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = await house.create_batch()
            path = f"/v1/batches/{made['id']}"
            house.progress[made["id"]] = Progress(queue_position=3, lines_per_second=None)
            waiting = as_object(await house.client.get(path))["batchmill"]
            assert waiting == {
                "progress": {
                    "lines_per_second": None,
                    "eta_seconds": None,
                    "queue_position": 3,
                    "waits_for": None,
                    "concurrency": None,
                },
                "cost": None,
                "budget": None,
                "halted_by": None,
                "workspace": "ws_default",
                "resent_lines": 0,
                "deadline_risk": None,
            }
            await house.move(made["id"], Event.PLANNED, model="qwen-plus")
            running = as_object(await house.client.get(path))
            assert (running["status"], running["model"]) == ("in_progress", "qwen-plus")
            assert running["in_progress_at"] == int(NOON)

    run(main())


async def finish(house: House, batch_id: str) -> None:
    """Let a batch end well: 3 lines, 2 of them good."""
    await house.move(batch_id, Event.PLANNED, model="qwen-plus")
    before = await house.move(batch_id, Event.SETTLED)
    after = replace(
        advance(before, Event.DELIVERED, house.clock.now()),
        counts=Counts(3, 2, 1),
        usage=Usage(10, 20, 3, 4),
        resent=1,
        output_file_id="file-batch_output-a",
        error_file_id="file-batch_output-b",
    )
    files = [result_file("file-batch_output-a"), result_file("file-batch_output-b")]
    assert await house.store.batches.deliver(before, after, files)


def test_a_completed_batch_shows_files_sums_and_times(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = await house.create_batch()
            house.clock.time += 10
            await finish(house, made["id"])
            batch = as_object(await house.client.get(f"/v1/batches/{made['id']}"))
            assert batch["status"] == "completed"
            assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
            assert batch["usage"] == {
                "input_tokens": 10,
                "input_tokens_details": {"cached_tokens": 3},
                "output_tokens": 20,
                "output_tokens_details": {"reasoning_tokens": 4},
                "total_tokens": 30,
            }
            assert batch["output_file_id"] == "file-batch_output-a"
            assert batch["error_file_id"] == "file-batch_output-b"
            assert batch["completed_at"] == batch["finalizing_at"] == int(NOON) + 10
            assert batch["batchmill"]["resent_lines"] == 1
            OfficialBatch.model_validate(batch, strict=True)
            listed = as_object(await house.client.get("/v1/files?purpose=batch_output"))
            assert len(listed["data"]) == 2

    run(main())


def test_a_rejected_batch_lists_every_fault(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = await house.create_batch()
            errors = (
                LineError("invalid_json_line", "No JSON.", None, 2),
                LineError("invalid_request", "Cannot find file.", "file_id", None),
            )
            await house.move(made["id"], Event.REJECTED, errors=errors)
            batch = as_object(await house.client.get(f"/v1/batches/{made['id']}"))
            assert batch["errors"] == {
                "object": "list",
                "data": [
                    {"code": "invalid_json_line", "message": "No JSON.", "param": None, "line": 2},
                    {
                        "code": "invalid_request",
                        "message": "Cannot find file.",
                        "param": "file_id",
                        "line": None,
                    },
                ],
            }
            assert batch["failed_at"] is not None
            OfficialBatch.model_validate(batch, strict=True)

    run(main())


def test_cancel_stops_once_and_stays(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = await house.create_batch()
            path = f"/v1/batches/{made['id']}/cancel"
            first = as_object(await house.client.post(path))
            assert (first["status"], first["cancelling_at"]) == ("cancelling", int(NOON))
            assert len(house.wakes) == 2
            house.clock.time += 5
            headers = {"content-type": "application/json"}
            second = as_object(await house.client.post(path, headers=headers))
            assert second == first
            assert len(house.wakes) == 2
            await house.move(made["id"], Event.DELIVERED)
            third = as_object(await house.client.post(path))
            assert third["status"] == "cancelled"

    run(main())


@pytest.mark.parametrize("end", [Status.FAILED, Status.EXPIRED, Status.FINALIZING])
def test_cancel_conflicts_with_every_other_state(tmp_path: Path, end: Status) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            batch_id = (await house.create_batch())["id"]
            if end is Status.FINALIZING:
                await house.move(batch_id, Event.PLANNED)
                await house.move(batch_id, Event.SETTLED)
            else:
                event = Event.REJECTED if end is Status.FAILED else Event.DEADLINE_PASSED
                await house.move(batch_id, event)
            answer = await house.client.post(f"/v1/batches/{batch_id}/cancel")
            assert answer.status_code == 409
            assert answer.headers["x-should-retry"] == "false"
            assert fault(answer) == {
                "message": f"Cannot cancel a batch with status '{end}'.",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }

    run(main())


def test_lists_are_newest_first_and_page_by_cursor(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            ids = [(await house.create_batch())["id"] for _ in range(25)]
            first = as_object(await house.client.get("/v1/batches"))
            assert [one["id"] for one in first["data"]] == ids[:4:-1]
            assert first["has_more"] is True
            assert (first["first_id"], first["last_id"]) == (ids[-1], ids[5])
            rest = as_object(await house.client.get(f"/v1/batches?after={ids[5]}"))
            assert [one["id"] for one in rest["data"]] == ids[4::-1]
            assert rest["has_more"] is False
            unknown = await house.client.get("/v1/batches?after=batch_nobody")
            assert unknown.status_code == 404
            assert fault(unknown)["param"] == "after"

    run(main())


def test_lists_show_thirty_days_and_retrieving_shows_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = await house.create_batch()
            house.clock.time = NOON + 30 * DAY
            assert as_object(await house.client.get("/v1/batches"))["data"] != []
            house.clock.time = NOON + 30 * DAY + 0.1
            empty = as_object(await house.client.get("/v1/batches?create_after=20200101000000"))
            assert empty == {
                "object": "list",
                "data": [],
                "first_id": None,
                "last_id": None,
                "has_more": False,
            }
            assert (await house.client.get(f"/v1/batches/{made['id']}")).status_code == 200

    run(main())


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("ds_name=ight", ["b"]),
        ("ds_name=%25", []),
        ("ds_name=", ["b", "a"]),
        ("input_file_ids=f1", ["a"]),
        ("input_file_ids=f1,%20f2,f3", ["b", "a"]),
        ("status=validating", ["b"]),
        ("status=validating,failed", ["b", "a"]),
        ("status=validating&status=failed", ["b", "a"]),
        ("status=failed&input_file_ids=f2", []),
        ("create_before=20251009085320", ["a"]),
        ("create_after=20251009085321", ["b"]),
        ("create_after=20251009085320&create_before=20251009085321", ["b", "a"]),
    ],
)
def test_the_vendors_filters_combine(tmp_path: Path, query: str, found: list[str]) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            a = await house.create_batch(input_file_id="f1")
            await house.move(a["id"], Event.REJECTED)
            house.clock.time += 1
            b = await house.create_batch(input_file_id="f2", metadata={"ds_name": "nightly"})
            names = {a["id"]: "a", b["id"]: "b"}
            listed = as_object(await house.client.get(f"/v1/batches?{query}"))["data"]
            assert [names[one["id"]] for one in listed] == found

    run(main())


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=1", 200),
        ("limit=0", 400),
        ("limit=100", 200),
        ("limit=101", 400),
        ("status=done", 400),
        ("after=%00", 400),
        ("ds_name=a%00", 400),
        ("input_file_ids=%00", 400),
        ("create_after=2025", 400),
        ("create_before=99999999999999", 400),
        (f"input_file_ids={','.join('x' * 20)}", 200),
        (f"input_file_ids={','.join('x' * 21)}", 400),
    ],
)
def test_list_queries_are_checked_on_both_sides(tmp_path: Path, query: str, status: int) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            answer = await house.client.get(f"/v1/batches?{query}")
            assert answer.status_code == status
            if status == 400:
                assert fault(answer)["param"] == query.partition("=")[0]

    run(main())
