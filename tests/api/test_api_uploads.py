"""Uploads through the door: parts in any order, every way to end, every limit."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from api_house import LINE, NOON, House, as_object, fault, open_house, run
from openai.types import Upload
from openai.types.uploads import UploadPart

from batchmill.domain.file import File, Purpose
from batchmill.domain.limits import MB, Limits
from batchmill.ports import Quota

WHOLE = LINE * 30
THIRD = len(WHOLE) // 3


def announcement(**fields: Any) -> dict[str, Any]:
    return {
        "filename": "in.jsonl",
        "purpose": "batch",
        "bytes": len(WHOLE),
        "mime_type": "application/jsonl",
        **fields,
    }


async def begin(house: House, **fields: Any) -> str:
    answer = await house.client.post("/v1/uploads", json=announcement(**fields))
    assert answer.status_code == 200, answer.text
    return str(as_object(answer)["id"])


async def add(house: House, upload: str, data: bytes) -> Any:
    return await house.client.post(f"/v1/uploads/{upload}/parts", files={"data": ("blob", data)})


async def add_parts(house: House, upload: str, *parts: bytes) -> list[str]:
    return [as_object(await add(house, upload, part))["id"] for part in parts]


async def complete(house: House, upload: str, part_ids: list[str], **fields: Any) -> Any:
    body = {"part_ids": part_ids, **fields}
    return await house.client.post(f"/v1/uploads/{upload}/complete", json=body)


async def state_of(house: House, upload: str) -> str:
    row = await house.store.uploads.get("default", upload)
    assert row is not None
    return str(row.status)


def test_parts_become_a_file_in_the_order_that_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            begun = as_object(await house.client.post("/v1/uploads", json=announcement()))
            assert begun["id"].startswith("upload_")
            assert begun == {
                "id": begun["id"],
                "object": "upload",
                "bytes": len(WHOLE),
                "created_at": int(NOON),
                "expires_at": int(NOON) + 3600,
                "filename": "in.jsonl",
                "purpose": "batch",
                "status": "pending",
                "file": None,
            }
            Upload.model_validate(begun, strict=True)
            parts = [WHOLE[2 * THIRD :], WHOLE[:THIRD], WHOLE[THIRD : 2 * THIRD]]
            last, first, middle = await add_parts(house, begun["id"], *parts)
            answer = await complete(
                house, begun["id"], [first, middle, last], md5=hashlib.md5(WHOLE).hexdigest()
            )
            done = as_object(answer)
            Upload.model_validate(done, strict=True)
            assert (done["status"], done["file"]["bytes"]) == ("completed", len(WHOLE))
            content = await house.client.get(f"/v1/files/{done['file']['id']}/content")
            assert content.content == WHOLE
            assert len(house.stored_bytes()) == 1

    run(main())


def test_a_part_has_the_official_shape(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            upload = await begin(house)
            part = as_object(await add(house, upload, b"x"))
            assert part == {
                "id": part["id"],
                "object": "upload.part",
                "created_at": int(NOON),
                "upload_id": upload,
            }
            assert part["id"].startswith("part_")
            UploadPart.model_validate(part, strict=True)

    run(main())


def test_completing_again_answers_the_same_file(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            upload = await begin(house)
            ids = await add_parts(house, upload, WHOLE)
            first = as_object(await complete(house, upload, ids))
            assert as_object(await complete(house, upload, ids)) == first
            assert len(as_object(await house.client.get("/v1/files"))["data"]) == 1

    run(main())


def test_the_file_lives_as_long_as_was_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            life = {"anchor": "created_at", "seconds": 3600}
            upload = await begin(house, expires_after=life)
            house.clock.time += 60
            done = as_object(await complete(house, upload, await add_parts(house, upload, WHOLE)))
            assert done["file"]["expires_at"] == int(NOON) + 60 + 3600

    run(main())


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "vision"}, "purpose"),
        ({"bytes": 0}, "bytes"),
        ({"bytes": "10"}, "bytes"),
        ({"bytes": 1001}, "bytes"),
        ({"filename": None}, "filename"),
        ({"mime_type": "x" * 256}, "mime_type"),
        ({"expires_after": {"anchor": "created_at", "seconds": 1}}, "expires_after.seconds"),
    ],
)
def test_announcements_are_checked(tmp_path: Path, fields: dict[str, Any], param: str) -> None:
    async def main() -> None:
        async with open_house(tmp_path, limits=Limits(max_file_bytes=1000)) as house:
            fine = await house.client.post(
                "/v1/uploads", json=announcement(bytes=1000, mime_type="x" * 255)
            )
            assert fine.status_code == 200
            answer = await house.client.post(
                "/v1/uploads", json=announcement(**{"bytes": 10, **fields})
            )
            assert answer.status_code == 400
            assert fault(answer)["param"] == param

    run(main())


@pytest.mark.parametrize("field", ["filename", "purpose", "bytes", "mime_type"])
def test_missing_fields_are_named(tmp_path: Path, field: str) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            body = announcement()
            del body[field]
            answer = await house.client.post("/v1/uploads", json=body)
            assert answer.status_code == 400
            assert fault(answer)["message"] == f"Missing required parameter: '{field}'."

    run(main())


@pytest.mark.parametrize(("size", "status"), [(100, 200), (101, 400)])
def test_a_part_is_bounded(tmp_path: Path, size: int, status: int) -> None:
    async def main() -> None:
        async with open_house(tmp_path, limits=Limits(max_part_bytes=100)) as house:
            answer = await add(house, await begin(house), b"x" * size)
            assert answer.status_code == status
            assert len(house.stored_bytes()) == (1 if status == 200 else 0)

    run(main())


def test_a_part_that_is_cut_off_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            path = f"/v1/uploads/{await begin(house, bytes=9 * MB)}/parts"

            async def cut_off() -> AsyncIterator[bytes]:
                yield b'--b\r\nContent-Disposition: form-data; name="data"; filename="x"\r\n\r\n'
                for _ in range(3):
                    yield b"x" * MB

            kind = {"content-type": "multipart/form-data; boundary=b"}
            answer = await house.client.post(path, headers=kind, content=cut_off())
            assert fault(answer)["code"] == "truncated_body"
            assert house.stored_bytes() == []

    run(main())


def test_parts_may_be_sent_twice_and_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            upload = await begin(house)
            first = await add_parts(house, upload, WHOLE, WHOLE)
            refused = await add(house, upload, b"x")
            assert refused.status_code == 400
            assert "too many parts" in fault(refused)["message"]
            assert (await complete(house, upload, first[1:])).status_code == 200

    run(main())


def test_a_part_needs_its_data(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            path = f"/v1/uploads/{await begin(house)}/parts"
            answer = await house.client.post(path, files={"file": ("a", b"x")})
            assert fault(answer)["message"] == "Missing required parameter: 'data'."
            assert house.stored_bytes() == []

    run(main())


@pytest.mark.parametrize(
    ("pick", "fields", "code"),
    [
        (lambda ids: ids[:1], {}, "size_mismatch"),
        (lambda _: [], {}, "size_mismatch"),
        (lambda ids: [*ids, "part_unknown"], {}, "invalid_value"),
        (lambda ids: [ids[0], ids[0]], {}, "invalid_value"),
        (lambda ids: ids, {"md5": "0" * 32}, "md5_mismatch"),
    ],
)
def test_a_completion_that_does_not_fit_is_refused_and_can_be_repaired(
    tmp_path: Path, pick: Any, fields: dict[str, Any], code: str
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            upload = await begin(house)
            ids = await add_parts(house, upload, WHOLE[:THIRD], WHOLE[THIRD:])
            answer = await complete(house, upload, pick(ids), **fields)
            assert answer.status_code == 400
            assert fault(answer)["code"] == code
            assert len(house.stored_bytes()) == 2
            assert (await complete(house, upload, ids)).status_code == 200

    run(main())


def test_what_is_no_batch_file_is_refused_at_completion(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            upload = await begin(house, bytes=4)
            answer = await complete(house, upload, await add_parts(house, upload, b"oops"))
            assert answer.status_code == 400
            assert "Must be .jsonl" in fault(answer)["message"]
            assert await state_of(house, upload) == "pending"

    run(main())


@pytest.mark.parametrize(("room", "status"), [(len(WHOLE), 200), (len(WHOLE) - 1, 429)])
def test_an_upload_takes_its_room_when_it_begins(tmp_path: Path, room: int, status: int) -> None:
    async def main() -> None:
        async with open_house(tmp_path, limits=Limits(max_total_bytes=room)) as house:
            answer = await house.client.post("/v1/uploads", json=announcement())
            assert answer.status_code == status
            if status == 429:
                assert fault(answer)["code"] == "file_quota_exceeded"
                return
            upload = as_object(answer)["id"]
            second = await house.client.post("/v1/uploads", json=announcement(bytes=1))
            assert second.status_code == 429
            done = await complete(house, upload, await add_parts(house, upload, WHOLE))
            assert done.status_code == 200

    run(main())


def test_results_that_came_meanwhile_count_when_an_upload_is_completed(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, limits=Limits(max_files=1)) as house:
            upload = await begin(house)
            ids = await add_parts(house, upload, WHOLE)
            result = File("f", "default", Purpose.BATCH_OUTPUT, "o", 1, "", "f", NOON)
            await house.store.files.add(result, Quota(9, 10**9))
            assert (await complete(house, upload, ids)).status_code == 429
            assert await state_of(house, upload) == "pending"
            assert len(house.stored_bytes()) == 1

    run(main())


def test_a_cancelled_upload_keeps_nothing_and_takes_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            upload = await begin(house)
            ids = await add_parts(house, upload, WHOLE)
            path = f"/v1/uploads/{upload}/cancel"
            first = as_object(await house.client.post(path))
            assert (first["status"], first["file"]) == ("cancelled", None)
            assert house.stored_bytes() == []
            assert as_object(await house.client.post(path)) == first
            for answer in (await add(house, upload, b"x"), await complete(house, upload, ids)):
                assert answer.status_code == 400
                assert fault(answer)["code"] == "upload_not_pending"
            assert house.stored_bytes() == []

    run(main())


def test_a_completed_upload_cannot_be_cancelled_or_added_to(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            upload = await begin(house)
            await complete(house, upload, await add_parts(house, upload, WHOLE))
            cancelled = await house.client.post(f"/v1/uploads/{upload}/cancel")
            for answer in (cancelled, await add(house, upload, b"x")):
                assert answer.status_code == 400
                assert "is completed" in fault(answer)["message"]

    run(main())


def test_an_upload_ends_with_its_hour(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            upload = await begin(house)
            house.clock.time = NOON + 3599.9
            ids = await add_parts(house, upload, WHOLE)
            house.clock.time = NOON + 3600
            cancelled = await house.client.post(f"/v1/uploads/{upload}/cancel")
            answers = (
                await add(house, upload, b"x"),
                await complete(house, upload, ids),
                cancelled,
            )
            for answer in answers:
                assert answer.status_code == 400
                assert "is expired" in fault(answer)["message"]

    run(main())


def before(house: House, monkeypatch: pytest.MonkeyPatch, name: str, first: Any) -> None:
    """Do ``first`` once, just before a step of the uploads' store."""
    step = getattr(house.store.uploads, name)

    async def both(*values: Any) -> Any:
        monkeypatch.setattr(house.store.uploads, name, step)
        await first()
        return await step(*values)

    monkeypatch.setattr(house.store.uploads, name, both)


@pytest.mark.parametrize("step", ["complete", "add_part"])
def test_an_upload_that_is_cancelled_meanwhile_takes_neither_part_nor_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            upload = await begin(house)
            ids = await add_parts(house, upload, WHOLE)
            path = f"/v1/uploads/{upload}/cancel"
            before(house, monkeypatch, step, lambda: house.client.post(path))
            answer = await (
                complete(house, upload, ids) if step == "complete" else add(house, upload, b"x")
            )
            assert answer.status_code == 400
            assert "is cancelled" in fault(answer)["message"]
            assert house.stored_bytes() == []

    run(main())


def test_an_upload_that_is_cancelled_while_its_parts_are_joined_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            upload = await begin(house)
            ids = await add_parts(house, upload, WHOLE)
            rows = house.store.uploads
            parts = rows.parts

            async def parts_then_cancel(upload_id: str) -> Any:
                found = await parts(upload_id)
                monkeypatch.setattr(rows, "parts", parts)
                await house.client.post(f"/v1/uploads/{upload}/cancel")
                return found

            monkeypatch.setattr(rows, "parts", parts_then_cancel)
            answer = await complete(house, upload, ids)
            assert answer.status_code == 400
            assert "is cancelled" in fault(answer)["message"]
            assert house.stored_bytes() == []

    run(main())


@pytest.mark.parametrize("step", ["complete", "parts"])
def test_two_completions_at_once_make_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            upload = await begin(house)
            ids = await add_parts(house, upload, WHOLE)
            done: list[Any] = []

            async def overtake() -> None:
                done.append(as_object(await complete(house, upload, ids)))

            before(house, monkeypatch, step, overtake)
            second = as_object(await complete(house, upload, ids))
            assert second == done[0]
            assert len(as_object(await house.client.get("/v1/files"))["data"]) == 1
            assert len(house.stored_bytes()) == 1

    run(main())


@pytest.mark.parametrize("path", ["parts", "complete", "cancel"])
def test_unknown_uploads_are_not_found(tmp_path: Path, path: str) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for name in ("upload_x", "%00"):
                url = f"/v1/uploads/{name}/{path}"
                if path == "parts":
                    answer = await house.client.post(url, files={"data": ("a", b"x")})
                else:
                    answer = await house.client.post(url, json={"part_ids": []})
                assert answer.status_code == 404
                assert fault(answer)["param"] == "upload_id"

    run(main())
