"""The list of files: what a row says, room, filters, paging, downloads, deleting, roles."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from api_house import LINE, run
from console_house import Visitor, open_console, text_of

from batchmill.console.pages.files import short
from batchmill.domain.account import Role
from batchmill.domain.batch import Event
from batchmill.domain.limits import Limits
from batchmill.service.caller import Caller

EVIL = "<script>window.evil=1</script><img src=x onerror=alert(1)>.jsonl"


async def put(
    visitor: Visitor, name: str = "in.jsonl", fields: Mapping[str, str] | None = None
) -> str:
    """An uploaded file; its id."""
    answer = await visitor.house.client.post(
        "/v1/files", data={"purpose": "batch", **(fields or {})}, files={"file": (name, LINE)}
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def test_an_empty_list_says_what_to_do(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            page = await visitor.get("/files")
            assert page.status_code == 200
            assert "There are no files yet." in text_of(page)
            assert "No file fits." in text_of(await visitor.get("/files?search=x"))

    run(main())


def test_a_row_says_what_a_file_is_and_until_when(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            life = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
            file_id = await put(visitor, "short-lived.jsonl", life)
            said = text_of(await visitor.get("/files"))
            for word in ("short-lived.jsonl", "batch", f"{len(LINE)} bytes", "in 1 h", "No batch"):
                assert word in said, word
            assert f'data-copy="{file_id}"' in (await visitor.get("/files")).text
            visitor.house.clock.time += 3_600
            assert "expired" in text_of(await visitor.get("/files"))

    run(main())


def test_a_row_names_the_batches_that_use_a_file_and_as_what(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            file_id = await put(visitor)
            for number in range(4):
                metadata = {"ds_name": f"Run {number}"}
                await visitor.house.create_batch(input_file_id=file_id, metadata=metadata)
            page = await visitor.get("/files")
            said = text_of(page)
            assert "2 more" in said
            assert said.count("input, validating") == 4
            for number in range(4):
                assert f"Run {number}" in said

    run(main())


def test_the_room_that_is_left_is_shown_and_little_of_it_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, limits=Limits(max_files=10)) as visitor:
            for _ in range(8):
                await put(visitor)
            said = text_of(await visitor.get("/files"))
            assert "8 of 10 files" in said
            assert "Little space is left." not in said
            await put(visitor)
            said = text_of(await visitor.get("/files"))
            assert "9 of 10 files" in said
            assert "Little space is left." in said

    run(main())


def test_filters_stand_in_the_address(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            first = await put(visitor, "Evaluation.jsonl")
            second = await put(visitor, "other.jsonl")
            for query, wanted in (
                ("search=EVAL", {first}),
                (f"search={second[-8:]}", {second}),
                ("purpose=batch", {first, second}),
                ("purpose=batch_output", set()),
                ("purpose=nonsense", {first, second}),
                ("after=file-batch-0", {first, second}),
                ("after=%00", {first, second}),
            ):
                page = await visitor.get(f"/files?{query}")
                assert page.status_code == 200, query
                found = {
                    file_id for file_id in (first, second) if f'id="row-{file_id}"' in page.text
                }
                assert found == wanted, query

    run(main())


@pytest.mark.parametrize(("count", "has_more"), [(50, False), (51, True)])
def test_fifty_rows_are_a_page(tmp_path: Path, count: int, has_more: bool) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            for number in range(count):
                await put(visitor, f"{number}.jsonl")
                visitor.house.clock.time += 1
            page = await visitor.get("/files?purpose=batch")
            assert page.text.count('id="row-') == 50
            assert ("Older" in text_of(page)) is has_more
            if has_more:
                path = page.text.partition('rel="next"')[0].rpartition('href="/console')[2]
                older = await visitor.get(path.partition('"')[0].replace("&amp;", "&"))
                assert older.text.count('id="row-') == 1
                assert "0.jsonl" in older.text
                assert "Newest" in text_of(older)
                assert "purpose=batch" in str(older.request.url)

    run(main())


def test_hostile_names_are_shown_and_not_run(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            file_id = await put(visitor, EVIL)
            metadata = {"ds_name": EVIL}
            await visitor.house.create_batch(input_file_id=file_id, metadata=metadata)
            page = await visitor.get("/files")
            assert text_of(page).count(EVIL) == 2
            assert "<script>window" not in page.text
            assert "<img src=x" not in page.text

    run(main())


def test_a_long_name_is_cut_in_its_middle() -> None:
    assert short("a" * 120) == "a" * 120
    cut = short("a" * 100 + ".jsonl" * 5)
    assert len(cut) == 121
    assert cut.startswith("aaa")
    assert cut.endswith(".jsonl" * 5)
    assert "…" in cut


def test_a_file_is_downloaded_whole_in_part_and_not_twice(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            path = f"/files/{await put(visitor, 'é.jsonl')}/content"
            whole = await visitor.get(path)
            assert (whole.status_code, whole.content) == (200, LINE)
            assert "filename*=UTF-8''%C3%A9.jsonl" in whole.headers["content-disposition"]
            assert whole.headers["content-disposition"].startswith("attachment")
            assert "sandbox" in whole.headers["content-security-policy"]
            assert whole.headers["cache-control"] == "private, no-cache"
            etag = whole.headers["etag"]
            part = await visitor.get(path, range="bytes=2-5")
            assert (part.status_code, part.content) == (206, LINE[2:6])
            assert (await visitor.get(path, **{"if-none-match": etag})).status_code == 304
            last = len(LINE) - 1
            assert (await visitor.get(path, range=f"bytes={last}-")).content == LINE[last:]
            behind = await visitor.get(path, range=f"bytes={len(LINE)}-")
            assert behind.status_code == 416
            assert behind.headers["content-range"] == f"bytes */{len(LINE)}"
            gone = await visitor.get("/files/file-batch-0/content")
            assert gone.status_code == 404
            assert "No such File object" in text_of(gone)

    run(main())


def test_files_of_another_account_are_not_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            file_id = await put(visitor)
            other = await visitor.house.services.admin.accounts.create(Caller(), "Other")
            await visitor.sign_in(await visitor.make_key(account=other.id))
            page = await visitor.get("/files")
            assert "There are no files yet." in text_of(page)
            assert (await visitor.get(f"/files/{file_id}/content")).status_code == 404
            await visitor.act(f"/files/{file_id}/delete")
            assert await visitor.house.services.files.retrieve(Caller(), file_id)

    run(main())


def test_deleting_a_file_shows_the_list_and_the_room_without_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            gone, kept = await put(visitor, "gone.jsonl"), await put(visitor, "kept.jsonl")
            done = await visitor.act(f"/files/{gone}/delete", {}, **{"hx-target": "files"})
            assert done.status_code == 200
            assert "gone.jsonl was deleted." in text_of(done)
            assert f'id="row-{gone}"' not in done.text
            assert f'id="row-{kept}"' in done.text
            assert 'hx-swap-oob="true"' in done.text
            assert "1 of 10,000 files" in text_of(done)
            assert "<html" not in done.text

    run(main())


def test_of_many_files_each_that_cannot_be_deleted_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            used, free, other = [await put(visitor, f"{name}.jsonl") for name in ("u", "f", "o")]
            batch = await visitor.house.create_batch(input_file_id=used)
            fields = {"file": [used, free, "file-batch-missing", other]}
            done = await visitor.act("/files/delete", fields, **{"hx-target": "files"})
            said = text_of(done)
            assert "2 files were deleted." in said
            assert f"u.jsonl was not deleted. File '{used}' is the input of batch" in said
            assert "file-batch-missing was not deleted." in said
            assert f'id="row-{used}"' in done.text
            assert f'id="row-{free}"' not in done.text
            await visitor.house.move(batch["id"], Event.REJECTED)
            done = await visitor.act("/files/delete", {"file": [used]}, **{"hx-target": "files"})
            assert "u.jsonl was deleted." in text_of(done)
            assert "There are no files yet." in text_of(done)

    run(main())


@pytest.mark.parametrize(("count", "status"), [(0, 400), (1, 200), (50, 200), (51, 400)])
def test_one_to_fifty_files_are_deleted_at_once(tmp_path: Path, count: int, status: int) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            fields = {"file": [f"file-batch-{number}" for number in range(count)]}
            done = await visitor.act("/files/delete", fields, **{"hx-target": "files"})
            assert done.status_code == status

    run(main())


def test_who_may_only_read_downloads_and_neither_uploads_nor_deletes(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            file_id = await put(visitor)
            await visitor.sign_in(await visitor.make_key(Role.READ_ONLY))
            page = await visitor.get("/files")
            said = text_of(page)
            assert "Download" in said
            for word in ("Upload", "Delete", "Create batch", "Select"):
                assert word not in said, word
            assert (await visitor.get(f"/files/{file_id}/content")).content == LINE
            assert (await visitor.act(f"/files/{file_id}/delete")).status_code == 403
            assert (await visitor.act("/files/delete", {"file": file_id})).status_code == 403
            await visitor.sign_in(await visitor.make_key(Role.MEMBER))
            said = text_of(await visitor.get("/files"))
            for word in ("Upload file", "Delete", "Create batch", "Select all on this page"):
                assert word in said, word
            done = await visitor.act(f"/files/{file_id}/delete")
            assert done.status_code == 200

    run(main())
