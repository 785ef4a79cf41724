"""Files through the door: shapes, lists, limits on both their sides, deletion."""

from pathlib import Path
from typing import Any

import pytest
from api_house import LINE, NOON, House, as_object, fault, new_batch, open_house, run
from openai.types import FileDeleted, FileObject

from batchmill.domain.batch import Event, Status
from batchmill.domain.limits import MB, Limits


def small(**changes: Any) -> Limits:
    return Limits(**changes)


def test_an_upload_answers_a_processed_file_that_can_be_read_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload()
            assert set(file) == {
                *("id", "object", "bytes", "created_at", "expires_at", "filename"),
                *("purpose", "status", "status_details"),
            }
            assert file["id"].startswith("file-batch-")
            assert len(file["id"]) == len("file-batch-") + 24
            assert file["status"] == "processed"
            assert (file["bytes"], file["created_at"]) == (len(LINE), int(NOON))
            assert (file["filename"], file["purpose"]) == ("in.jsonl", "batch")
            FileObject.model_validate(file, strict=True)
            again = await house.client.get(f"/compatible-mode/v1/files/{file['id']}")
            assert as_object(again) == file
            content = await house.client.get(f"/v1/files/{file['id']}/content")
            assert content.content == LINE

    run(main())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "The file is empty."),
        (b" \n\r\n\t\n", "The file is empty."),
        (b"\xef\xbb\xbf", "The file is empty."),
        (b"custom_id,prompt\n1,hello\n", "Its first line is not JSON."),
        (b"\n{oops\n", "Its first line is not JSON."),
        (LINE + b"\xff\n", f"It is not UTF-8: byte {len(LINE) + 1} does not belong."),
        (LINE + b"\xe2\x82", f"It is not UTF-8: byte {len(LINE) + 2} ends it within a character."),
    ],
)
def test_what_can_never_be_a_batch_file_is_refused_and_leaves_nothing(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            answer = await house.client.post(
                "/v1/files", data={"purpose": "batch"}, files={"file": ("a", content)}
            )
            assert answer.status_code == 400
            error = fault(answer)
            assert error["message"] == (
                f"Invalid file format for Batch API. Must be .jsonl. {reason}"
            )
            assert (error["param"], error["code"]) == (None, None)
            assert error["type"] == "invalid_request_error"
            await assert_nothing_stayed(house)

    run(main())


async def assert_nothing_stayed(house: House) -> None:
    assert as_object(await house.client.get("/v1/files"))["data"] == []
    assert house.stored_bytes() == []


def test_what_is_only_wrong_as_a_batch_is_accepted(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for content in (
                b"[1]",
                b'{"a":"\\ud800"}',
                b"\xef\xbb\xbf" + LINE,
                b"\n\r\n" + LINE,
                b'{"a":1}\noops\n',
            ):
                await house.upload(content)

    run(main())


def test_a_file_may_be_as_large_as_the_limit_and_no_byte_larger(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, limits=small(max_file_bytes=len(LINE))) as house:
            await house.upload(LINE)
            stored = house.stored_bytes()
            answer = await house.client.post(
                "/v1/files", data={"purpose": "batch"}, files={"file": ("a", LINE + b"\n")}
            )
            assert answer.status_code == 400
            assert fault(answer)["message"].startswith("File is too large.")
            assert house.stored_bytes() == stored

    run(main())


def test_a_body_that_says_it_is_far_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, limits=small(max_file_bytes=1000)) as house:

            async def never() -> Any:
                yield pytest.fail("the body was read")

            kind = {"content-type": "multipart/form-data; boundary=x"}
            length = {"content-length": str(1000 + MB + 1)}
            answer = await house.client.post("/v1/files", headers=kind | length, content=never())
            assert answer.status_code == 400
            assert fault(answer)["message"].startswith("File is too large.")

    run(main())


@pytest.mark.parametrize("purpose", ["fine-tune", "batch_output", "", "BATCH"])
def test_other_purposes_are_refused(tmp_path: Path, purpose: str) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            answer = await house.client.post(
                "/v1/files", data={"purpose": purpose}, files={"file": ("a", LINE)}
            )
            assert answer.status_code == 400
            error = fault(answer)
            assert (error["param"], error["code"]) == ("purpose", "invalid_value")
            await assert_nothing_stayed(house)

    run(main())


def test_missing_fields_are_named(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            no_purpose = await house.client.post("/v1/files", files={"file": ("a", LINE)})
            assert fault(no_purpose)["message"] == "Missing required parameter: 'purpose'."
            no_file = await house.client.post(
                "/v1/files", data={"purpose": "batch"}, files={"other": ("a", LINE)}
            )
            assert fault(no_file) == {
                "message": "Missing required parameter: 'file'.",
                "type": "invalid_request_error",
                "param": "file",
                "code": "missing_required_parameter",
            }
            await assert_nothing_stayed(house)

    run(main())


@pytest.mark.parametrize(
    ("seconds", "status"), [("3599", 400), ("3600", 200), ("2592000", 200), ("2592001", 400)]
)
def test_expires_after_is_honoured_within_its_range(
    tmp_path: Path, seconds: str, status: int
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            answer = await house.client.post(
                "/v1/files",
                data={
                    "purpose": "batch",
                    "expires_after[anchor]": "created_at",
                    "expires_after[seconds]": seconds,
                },
                files={"file": ("a", LINE)},
            )
            assert answer.status_code == status
            if status == 200:
                assert as_object(answer)["expires_at"] == int(NOON) + int(seconds)
            else:
                assert fault(answer)["param"] == "expires_after.seconds"

    run(main())


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"expires_after[anchor]": "created_at"}, "expires_after[seconds]"),
        ({"expires_after[seconds]": "3600"}, "expires_after[anchor]"),
        (
            {"expires_after[anchor]": "now", "expires_after[seconds]": "3600"},
            "expires_after[anchor]",
        ),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "an hour"},
            "expires_after[seconds]",
        ),
    ],
)
def test_half_an_expiry_is_refused(tmp_path: Path, fields: dict[str, str], param: str) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            answer = await house.client.post(
                "/v1/files", data={"purpose": "batch", **fields}, files={"file": ("a", LINE)}
            )
            assert answer.status_code == 400
            assert fault(answer)["param"] == param

    run(main())


def test_a_file_is_gone_the_moment_its_life_is_over(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            life: dict[str, Any] = {
                "expires_after[anchor]": "created_at",
                "expires_after[seconds]": "3600",
            }
            path = f"/v1/files/{(await house.upload(**life))['id']}"
            house.clock.time = NOON + 3599.9
            assert (await house.client.get(path)).status_code == 200
            house.clock.time = NOON + 3600
            assert (await house.client.get(path)).status_code == 404
            assert (await house.client.get(f"{path}/content")).status_code == 404

    run(main())


def test_the_quota_of_files_and_bytes_is_enforced_on_the_stored_ones(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, limits=small(max_files=1)) as house:
            first = await house.upload()
            answer = await house.client.post(
                "/v1/files", data={"purpose": "batch"}, files={"file": ("a", LINE)}
            )
            assert answer.status_code == 429
            assert answer.headers["x-should-retry"] == "false"
            error = fault(answer)
            assert error["message"].startswith("Upload file number exceed limit.")
            assert error["type"] == "insufficient_quota"
            assert len(house.stored_bytes()) == 1
            await house.client.delete(f"/v1/files/{first['id']}")
            await house.upload()

    run(main())


@pytest.mark.parametrize(("room", "status"), [(2 * len(LINE), 200), (2 * len(LINE) - 1, 429)])
def test_the_last_byte_of_the_quota_may_be_used(tmp_path: Path, room: int, status: int) -> None:
    async def main() -> None:
        async with open_house(tmp_path, limits=small(max_total_bytes=room)) as house:
            await house.upload()
            answer = await house.client.post(
                "/v1/files", data={"purpose": "batch"}, files={"file": ("a", LINE)}
            )
            assert answer.status_code == status
            if status == 429:
                assert fault(answer)["message"].startswith("Upload file capacity exceed limit.")

    run(main())


def test_lists_are_newest_first_page_by_cursor_and_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            ids = []
            for _ in range(5):
                ids.append((await house.upload())["id"])
                house.clock.time += 1
            first = as_object(await house.client.get("/v1/files?limit=2"))
            assert [one["id"] for one in first["data"]] == ids[:2:-1]
            assert (first["object"], first["has_more"]) == ("list", True)
            assert (first["first_id"], first["last_id"]) == (ids[4], ids[3])
            rest = as_object(await house.client.get(f"/v1/files?after={first['last_id']}"))
            assert [one["id"] for one in rest["data"]] == ids[2::-1]
            assert rest["has_more"] is False
            oldest = as_object(await house.client.get("/v1/files?order=asc&limit=1"))
            assert oldest["data"][0]["id"] == ids[0]

    run(main())


def test_an_empty_list_has_null_ids(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            await house.upload()
            for query in ("purpose=batch_output", "purpose=vision", "create_after=20990101"):
                assert as_object(await house.client.get(f"/v1/files?{query}")) == {
                    "object": "list",
                    "data": [],
                    "first_id": None,
                    "last_id": None,
                    "has_more": False,
                }

    run(main())


def test_an_unknown_cursor_is_not_found_rather_than_the_first_page(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            await house.upload()
            answer = await house.client.get("/v1/files?after=file-batch-nobody")
            assert answer.status_code == 404
            assert fault(answer)["param"] == "after"

    run(main())


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=1", 200),
        ("limit=0", 400),
        ("limit=10000", 200),
        ("limit=10001", 400),
        ("limit=ten", 400),
        ("limit=1.5", 400),
        ("limit=-1", 400),
        ("limit=99999999999999999999999999", 400),
        ("order=asc", 200),
        ("order=up", 400),
        ("create_after=yesterday", 400),
        ("create_before=20251301", 400),
        ("unknown=1", 200),
        ("after=%00", 400),
        ("purpose=%00", 400),
        ("after=", 200),
    ],
)
def test_list_queries_are_checked_on_both_sides(tmp_path: Path, query: str, status: int) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            answer = await house.client.get(f"/v1/files?{query}")
            assert answer.status_code == status
            if status == 400:
                assert fault(answer)["param"] == query.partition("=")[0]

    run(main())


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("create_after=20251009085320", True),
        ("create_after=20251009085321", False),
        ("create_before=20251009085320", True),
        ("create_before=20251009085319", False),
        ("create_after=2025-10-09 08:53:20", True),
        ("create_after=2025-10-09", True),
        ("create_after=2025-10-10", False),
        ("create_before=20251009", False),
        ("create_before=20251010", True),
    ],
)
def test_times_of_lists_include_their_whole_second(tmp_path: Path, query: str, found: bool) -> None:
    # NOON is half a second after 2025-10-09 08:53:20 UTC
    async def main() -> None:
        async with open_house(tmp_path) as house:
            await house.upload()
            listed = as_object(await house.client.get(f"/v1/files?{query}"))["data"]
            assert bool(listed) is found

    run(main())


def test_deleting_takes_row_and_bytes(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload()
            path = f"/v1/files/{file['id']}"
            gone = as_object(await house.client.delete(path))
            assert gone == {"id": file["id"], "object": "file", "deleted": True}
            FileDeleted.model_validate(gone, strict=True)
            await assert_nothing_stayed(house)
            again = await house.client.delete(path)
            assert again.status_code == 404
            assert fault(again) == {
                "message": f"No such File object: {file['id']}",
                "type": "invalid_request_error",
                "param": "id",
                "code": None,
            }

    run(main())


def test_the_input_of_an_unfinished_batch_cannot_be_deleted(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload()
            batch = await house.create_batch(input_file_id=file["id"])
            path = f"/v1/files/{file['id']}"
            refused = await house.client.delete(path)
            assert refused.status_code == 409
            assert refused.headers["x-should-retry"] == "false"
            assert batch["id"] in fault(refused)["message"]
            assert (await house.client.get(f"{path}/content")).content == LINE
            failed = await house.move(batch["id"], Event.REJECTED)
            assert failed.status is Status.FAILED
            assert (await house.client.delete(path)).status_code == 200

    run(main())


@pytest.mark.parametrize("name", ["x", "file-batch-" + "0" * 24, "a" * 3000, "%00", "%0a", "%ff"])
def test_ids_that_name_nothing_are_not_found_in_every_operation(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
                answer = await house.client.request(method, f"/v1/files/{name}{path}")
                assert answer.status_code == 404
                fault(answer)

    run(main())


@pytest.mark.parametrize(
    ("sent", "kept", "offered"),
    [
        ("a.jsonl", "a.jsonl", "a.jsonl"),
        ("/home/me/a b.jsonl", "/home/me/a b.jsonl", "a b.jsonl"),
        ("../../etc/passwd", "../../etc/passwd", "passwd"),
        ("日本語 😀.jsonl", "日本語 😀.jsonl", "___ _.jsonl"),
        ("upload", "upload", "upload"),
        ("x" * 2000, "x" * 1024, "x" * 1024),
    ],
)
def test_file_names_are_labels(tmp_path: Path, sent: str, kept: str, offered: str) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            answer = await house.client.post(
                "/v1/files", data={"purpose": "batch"}, files={"file": (sent, LINE)}
            )
            file = as_object(answer)
            assert file["filename"] == kept
            head = await house.client.head(f"/v1/files/{file['id']}/content")
            disposition = head.headers["content-disposition"]
            assert disposition.startswith(f"attachment; filename=\"{offered}\"; filename*=UTF-8''")

    run(main())


def test_a_new_batch_names_the_file_that_it_runs(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload()
            answer = await house.client.post(
                "/compatible-mode/v1/batches", json=new_batch(input_file_id=file["id"])
            )
            assert as_object(answer)["input_file_id"] == file["id"]

    run(main())
