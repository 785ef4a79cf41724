"""Creating a batch: sending a file, what the check says of it, and what becomes of it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
import pytest
from api_house import CHAT, LINE, NOON, run
from console_house import Visitor, open_console, text_of
from starlette.requests import ClientDisconnect

from batchmill.domain.account import Role
from batchmill.domain.batch import Event
from batchmill.domain.catalog import TEST_ENDPOINT, TEST_MODEL, Catalog
from batchmill.domain.convert import CsvRules, csv_to_requests
from batchmill.domain.limits import Limits, Profile
from batchmill.ports import BatchQuery, FileQuery, Progress
from batchmill.service.caller import Caller

EVIL = "<script>window.evil=1</script><img src=x onerror=alert(1)>\u202e"
TRIABLE = LINE.replace(b'"messages":[]', b'"messages":[{"role":"user","content":"Hi"}]')
GOOD = b"".join(TRIABLE.replace(b'"1"', b'"%d"' % number) for number in range(3))


async def send(
    visitor: Visitor, body: Any, *, system: str | None = None, **query: str
) -> httpx2.Response:
    """Send a file as the page's script does."""
    headers = {"hx-request": "true", "x-form-token": await visitor.token()}
    if system is not None:
        headers["x-table-system"] = quote(system, safe="")
    address = f"/console/uploads?{urlencode({'filename': 'in.jsonl', **query})}"
    return await visitor.client.post(address, content=body, headers=headers)


async def sent(visitor: Visitor, body: Any = GOOD, **query: str) -> str:
    """The id of a file that was sent."""
    answer = await send(visitor, body, **query)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def files(visitor: Visitor) -> list[Any]:
    found = await visitor.house.services.files.list(Caller(), FileQuery(limit=100))
    return list(found.items)


async def batches(visitor: Visitor) -> list[Any]:
    found = await visitor.house.services.batches.list(Caller(), BatchQuery(limit=100))
    return [state.batch for state in found.items]


async def content(visitor: Visitor, file_id: str) -> bytes:
    answer = await visitor.house.client.get(f"/v1/files/{file_id}/content")
    return bytes(answer.content)


# --- sending a file ---


@pytest.mark.parametrize("size", [1, 3, 64, 100_000])
def test_a_file_is_kept_as_it_came_however_it_was_cut(tmp_path: Path, size: int) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            answer = await send(visitor, pieces(GOOD, size), filename="mine 🙂.jsonl")
            told = answer.json()
            assert (told["filename"], told["bytes"]) == ("mine 🙂.jsonl", len(GOOD))
            assert await content(visitor, told["id"]) == GOOD

    run(main())


def test_a_file_may_be_as_large_as_the_limit_and_no_larger(tmp_path: Path) -> None:
    async def main() -> None:
        limits = Limits(max_file_bytes=len(GOOD))
        async with open_console(tmp_path, limits=limits) as visitor:
            assert (await send(visitor, GOOD)).status_code == 201
            for body in (GOOD + b"\n", pieces(GOOD + b"\n", 50)):
                refused = await send(visitor, body)
                assert refused.status_code == 400
                assert "File is too large" in refused.json()["message"]
            assert len(await files(visitor)) == 1
            assert len(visitor.house.stored_bytes()) == 1

    run(main())


def test_what_is_announced_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    read: list[bytes] = []

    async def noted() -> AsyncIterator[bytes]:
        read.append(LINE)
        yield LINE

    async def main() -> None:
        async with open_console(tmp_path, limits=Limits(max_file_bytes=9)) as visitor:
            headers = {"x-form-token": await visitor.token(), "content-length": "10"}
            refused = await visitor.client.post(
                "/console/uploads", content=noted(), headers=headers
            )
            assert refused.status_code == 400
            assert read == []

    run(main())


@pytest.mark.parametrize(
    ("body", "query", "words"),
    [
        (b"", {}, "The file is empty"),
        (b"no json\n", {}, "first line is not JSON"),
        (b'{"a":"\xff"}', {}, "not UTF-8"),
        (GOOD, {"kind": "pdf"}, "Invalid value: 'pdf'"),
        (b"a,b\n", {"kind": "csv"}, "Name the model"),
        (b"a,b\n", {"kind": "csv", "model": "m", "delimiter": "x"}, "Invalid value: 'x'"),
        (b"a,b\n", {"kind": "csv", "model": "m", "endpoint": "/v1/score"}, "cannot be made"),
        (b"a,b\nc\n", {"kind": "csv", "model": "m"}, "Row 2 has 1 columns"),
        (b'a,"b\n', {"kind": "csv", "model": "m"}, "Row 1 (up to line 1) is not valid CSV"),
        (
            b"a,b\na,c\n",
            {"kind": "csv", "model": "m", "id_column": "1"},
            "Row 2 has the same id as row 1",
        ),
        (b"a,b\n", {"kind": "csv", "model": "m", "prompt_column": "q"}, "no column 'q'"),
        (b"", {"kind": "csv", "model": "m"}, "The file is empty"),
    ],
)
def test_what_cannot_be_taken_is_told_and_leaves_nothing(
    tmp_path: Path, body: bytes, query: dict[str, str], words: str
) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            refused = await send(visitor, body, **query)
            assert refused.status_code == 400
            assert words in refused.json()["message"]
            assert await files(visitor) == []
            assert visitor.house.stored_bytes() == []

    run(main())


def test_an_upload_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    left: list[bytes] = []

    async def broken() -> AsyncIterator[bytes]:
        yield GOOD
        left.append(GOOD)
        raise ClientDisconnect

    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            for query in ({}, {"kind": "csv", "model": "m"}):
                await send(visitor, broken(), **query)
            assert len(left) == 2
            assert await files(visitor) == []
            assert visitor.house.stored_bytes() == []

    run(main())


def test_a_table_becomes_what_the_command_line_makes_of_it(tmp_path: Path) -> None:
    text = 'id;prompt\r\nx;"Two\r\nlines"\r\ny;Zwölf?\r\n'
    rules = CsvRules(model="qwen-plus", system="Sei knapp: ü", id_column=None,
                     prompt_column="prompt", header=True, delimiter=";")  # fmt: skip

    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            answer = await send(
                visitor,
                pieces(text.encode(), 5),
                kind="csv",
                filename="rows.v1.csv",
                model="qwen-plus",
                prompt_column="prompt",
                id_column="",
                header="1",
                delimiter="semicolon",
                system="Sei knapp: ü",
            )
            told = answer.json()
            assert told["filename"] == "rows.v1.jsonl"
            made = b"".join(csv_to_requests(text.splitlines(keepends=True), rules))
            assert await content(visitor, told["id"]) == made

    run(main())


# --- the form ---


def test_the_form_stands_on_a_page_and_in_a_dialog(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            whole = await visitor.get("/batches/new")
            assert "<h1>Create batch</h1>" in whole.text
            assert 'id="dialog-title"' not in whole.text
            part = await visitor.renew("/batches/new", "dialog-body")
            assert 'id="dialog-title"' in part.text
            assert "<html" not in part.text
            assert '<option value="24h" selected>1 day' in part.text
            assert '<option value="14d">14 days' in part.text
            assert "15 days" not in part.text
            again = await visitor.act("/batches/new/settings", {"in_dialog": "1"})
            assert 'name="in_dialog"' in again.text

    run(main())


def test_an_address_fills_the_form(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            query = urlencode({"name": EVIL, "description": "Once more", "window": "36h"})
            page = await visitor.get(f"/batches/new?{query}")
            assert EVIL not in page.text
            assert 'value="Once more"' in page.text
            assert '<option value="36h" selected>1 d 12 h' in page.text

    run(main())


def test_an_address_that_names_a_file_begins_with_its_check(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            file_id = await sent(visitor, filename=EVIL)
            page = await visitor.get(f"/batches/new?file={file_id}&name=Again&window=2d")
            assert 'hx-trigger="load"' in page.text
            assert 'name="window" value="2d"' in page.text
            assert 'name="is_sent"' not in page.text
            assert EVIL not in page.text
            assert (await visitor.get("/batches/new?file=file-batch-none")).status_code == 404

    run(main())


def test_of_the_openai_profile_only_a_day_is_offered(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, profile=Profile.OPENAI) as visitor:
            page = await visitor.get("/batches/new")
            assert '<option value="24h" selected>1 day' in page.text
            assert "2 days" not in page.text

    run(main())


def test_who_may_only_read_is_neither_shown_nor_served_any_of_it(tmp_path: Path) -> None:
    actions = ("/uploads", "/batches", "/batches/trial", "/batches/new/check",
               "/batches/new/settings", "/batches/new/discard")  # fmt: skip

    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            for role, served in ((Role.READ_ONLY, False), (Role.MEMBER, True), (Role.ADMIN, True)):
                await visitor.sign_in(await visitor.make_key(role))
                shown = (await visitor.get("/batches")).text
                assert ("/batches/new" in shown, "create.js" in shown) == (served, served)
                for path in ("/batches/new", "/sample.jsonl"):
                    page = await visitor.get(path)
                    assert page.status_code == (200 if served else 403), (role, path)
                for path in actions:
                    assert ((await visitor.act(path)).status_code != 403) is served, (role, path)

    run(main())


# --- the check ---


def test_a_good_file_is_priced_and_shown_before_it_is_paid_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            file_id = await sent(visitor)
            page = await visitor.act("/batches/new/check", {"file": file_id, "is_sent": "1"})
            said = text_of(page)
            assert "The file is good: 3 lines for /v1/chat/completions." in said
            assert "Price in USD" in said
            assert "a quarter of the bytes of the text" in said
            assert "Nothing of qwen-plus runs now" in said
            assert '"content":"Hi"' in said
            assert 'value="24h"' in page.text
            for button in ("Create batch", "Try it free", "Back", "Delete file"):
                assert button in said
            assert await batches(visitor) == []

    run(main())


def test_every_fault_is_told_with_its_line_and_nothing_can_be_confirmed(tmp_path: Path) -> None:
    bad = LINE + b'{"custom_id":"2"}\n{"nope\n' + LINE.replace(b"chat/c", b"x/c")

    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            file_id = await sent(visitor, bad)
            page = await visitor.act("/batches/new/check", {"file": file_id})
            said = text_of(page)
            assert "The file has 3 faults" in said
            for words in ("2 Missing required parameter", "3 This line is not parseable", "4 "):
                assert words in said, words
            assert "Choose another file" in said
            for button in ("Create batch", "Try it free", "Delete file"):
                assert button not in said

    run(main())


def test_no_more_faults_are_listed_than_the_limit_and_all_are_counted(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, limits=Limits(max_errors=2)) as visitor:
            for count in (2, 3):
                file_id = await sent(visitor, b'{"custom_id":"2"}\n' * count)
                page = await visitor.act("/batches/new/check", {"file": file_id})
                assert f"has {count} faults" in text_of(page)
                assert ("too_many_errors" in page.text) is (count == 3)

    run(main())


def test_long_and_hostile_lines_are_cut_and_shown_as_text(tmp_path: Path) -> None:
    evil = TRIABLE.replace(b"Hi", EVIL.encode())
    long = TRIABLE.replace(b'"1"', b'"2"').replace(b"Hi", "ü".encode() * 5_000)

    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            file_id = await sent(visitor, evil + long, filename=EVIL)
            page = await visitor.act("/batches/new/check", {"file": file_id, "name": EVIL})
            assert EVIL not in page.text
            assert EVIL in text_of(page)
            assert "üüü" in page.text
            assert page.text.count("ü") < 2_000
            assert "ü…</pre>" in page.text

    run(main())


def test_what_cannot_be_asked_for_is_told_on_the_form_with_what_was_typed(tmp_path: Path) -> None:
    wrong = (
        ({"window": "99d"}, "Invalid 'completion_window'"),
        ({"budget": "much"}, "Invalid 'batchmill.budget'"),
        ({"name": "x" * 101}, "metadata.ds_name"),
        ({"description": "x" * 201}, "metadata.ds_description"),
        ({"metadata": "team search"}, "team=search"),
        ({"metadata": "=search"}, "team=search"),
        ({"metadata": "ds_batch_finish_callback=ftp://x"}, "ds_batch_finish_callback"),
    )

    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            file_id = await sent(visitor)
            for fields, words in wrong:
                page = await visitor.act("/batches/new/check", {"file": file_id, **fields})
                assert page.status_code == 400, fields
                assert words in text_of(page)
                assert "Choose another file" in page.text
                assert next(iter(fields.values())) in page.text
            right = {"name": "x" * 100, "description": "x" * 200, "window": "14d"}
            page = await visitor.act("/batches/new/check", {"file": file_id, **right})
            assert page.status_code == 200
            gone = await visitor.act("/batches/new/check", {"file": "file-batch-none"})
            assert gone.status_code == 404
            assert 'id="create-drop"' in gone.text

    run(main())


def test_it_is_told_when_time_or_budget_will_not_do(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            file_id = await sent(visitor)
            fields = {"file": file_id, "budget": "1000"}
            fine = text_of(await visitor.act("/batches/new/check", fields))
            other = await visitor.house.create_batch(input_file_id=file_id)
            await visitor.house.move(other["id"], Event.PLANNED, model="qwen-plus")
            visitor.house.progress[other["id"]] = Progress(None, 0.00001)
            late = text_of(await visitor.act("/batches/new/check", fields))
            dear = await visitor.act("/batches/new/check", {**fields, "budget": "0.000001"})
            assert "longer than the maximum waiting time" in late
            assert "lines/s now" in late
            assert "more than its budget" in text_of(dear)
            assert "waiting time:" not in fine
            assert "more than its budget" not in fine

    run(main())


# --- what becomes of it ---


def test_a_confirmed_check_is_a_batch_and_twice_the_same_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            fields = {
                "file": await sent(visitor),
                "endpoint": CHAT,
                "window": "3d",
                "name": "Stars",
                "description": "All of them",
                "budget": "2.50",
                "metadata": "team = search\n\nurl=https://x.example/?a=b",
                "key": "k" * 32,
            }
            first = await visitor.act("/batches", fields)
            second = await visitor.act("/batches", fields)
            (batch,) = await batches(visitor)
            for answer in (first, second):
                assert answer.status_code == 204
                assert answer.headers["hx-redirect"] == f"/console/batches/{batch.id}"
            assert batch.metadata == {
                "ds_name": "Stars",
                "ds_description": "All of them",
                "team": "search",
                "url": "https://x.example/?a=b",
            }
            assert (batch.completion_window, batch.endpoint) == ("3d", CHAT)
            assert batch.expires_at == NOON + 3 * 86_400
            assert batch.budget == 2_500_000_000_000_000

    run(main())


def test_every_check_has_a_key_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            file_id = await sent(visitor)
            keys = set()
            for _ in range(2):
                page = await visitor.act("/batches/new/check", {"file": file_id})
                keys.add(page.text.partition('name="key" value="')[2][:32])
            assert len(keys) == 2
            assert all(len(key) == 32 for key in keys)

    run(main())


def test_what_refuses_a_batch_is_told_where_it_was_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        limits = Limits(max_unfinished_batches=1)
        async with open_console(tmp_path, limits=limits) as visitor:
            fields = {"file": await sent(visitor), "endpoint": CHAT, "window": "24h"}
            assert (await visitor.act("/batches", fields)).status_code == 204
            refused = await visitor.act("/batches", fields)
            assert refused.status_code == 429
            assert "Too many unfinished batches" in refused.text
            assert "hx-retarget" not in refused.headers
            nowhere = await visitor.act("/batches", {**fields, "endpoint": "/v1/elsewhere"})
            assert nowhere.status_code == 400

    run(main())


def test_trying_runs_the_first_lines_on_the_test_model(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            file_id = await sent(visitor)
            done = await visitor.act("/batches/trial", {"file": file_id, "name": "x" * 100})
            (batch,) = await batches(visitor)
            assert done.headers["hx-redirect"] == f"/console/batches/{batch.id}"
            assert batch.endpoint == TEST_ENDPOINT
            assert batch.metadata == {"ds_name": f"Trial of {'x' * 91}"}
            lines = (await content(visitor, batch.input_file_id)).splitlines()
            assert [json.loads(line)["body"]["model"] for line in lines] == [TEST_MODEL] * 3
            assert len(await files(visitor)) == 2

    run(main())


def test_a_trial_that_is_refused_leaves_no_file(tmp_path: Path) -> None:
    async def main() -> None:
        limits = Limits(test_model_max_unfinished=1)
        async with open_console(tmp_path, limits=limits) as visitor:
            file_id = await sent(visitor)
            assert (await visitor.act("/batches/trial", {"file": file_id})).status_code == 204
            kept = len(await files(visitor))
            refused = await visitor.act("/batches/trial", {"file": file_id})
            assert refused.status_code == 429
            assert len(await files(visitor)) == kept
            nothing = await sent(visitor, b'{"custom_id":"1"}\n')
            refused = await visitor.act("/batches/trial", {"file": nothing})
            assert "cannot be tried" in refused.text

    run(main())


@pytest.mark.parametrize("path", ["/batches/new/discard", "/batches/new/settings"])
def test_only_a_file_that_this_form_sent_is_deleted(tmp_path: Path, path: str) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            fields = {"file": await sent(visitor), "another": "1", "name": "Kept name"}
            await visitor.act(path, fields)
            assert len(await files(visitor)) == 1
            done = await visitor.act(path, {**fields, "is_sent": "1"})
            assert await files(visitor) == []
            assert visitor.house.stored_bytes() == []
            again = await visitor.act(path, {**fields, "is_sent": "1"})
            assert again.status_code == done.status_code
            if path.endswith("settings"):
                assert 'id="create-drop"' in done.text
                assert 'value="Kept name"' in done.text

    run(main())


def test_a_file_that_a_batch_uses_is_not_deleted(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            fields = {"file": await sent(visitor), "endpoint": CHAT, "window": "24h"}
            await visitor.act("/batches", fields)
            refused = await visitor.act("/batches/new/discard", {**fields, "is_sent": "1"})
            assert refused.status_code == 409
            assert len(await files(visitor)) == 1

    run(main())


def test_going_back_keeps_the_file_and_what_was_typed(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            fields = {
                "file": await sent(visitor),
                "is_sent": "1",
                "window": "5d",
                "metadata": "a=b",
            }
            page = await visitor.act("/batches/new/settings", fields)
            assert f'name="file" value="{fields["file"]}"' in page.text
            assert 'name="is_sent" value="1"' in page.text
            assert '<option value="5d" selected>' in page.text
            assert ">a=b</textarea>" in page.text
            assert 'id="create-drop"' not in page.text

    run(main())


# --- the sample ---


@pytest.mark.parametrize(
    ("offers", "model"),
    [
        ({"qwen-plus": {CHAT}, TEST_MODEL: {TEST_ENDPOINT}}, "qwen-plus"),
        ({"a-embed": {"/v1/embeddings"}, "b-chat": {CHAT}}, "b-chat"),
        ({"a-embed": {"/v1/embeddings"}, "a-rank": {"/v1/rerank"}}, "a-embed"),
        ({"a-rank": {"/v1/rerank"}, TEST_MODEL: {TEST_ENDPOINT}}, TEST_MODEL),
    ],
)
def test_the_sample_file_runs_on_what_is_served_here(
    tmp_path: Path, offers: dict[str, set[str]], model: str
) -> None:
    catalog = Catalog({name: frozenset(on) for name, on in offers.items()})

    async def main() -> None:
        async with open_console(tmp_path, catalog=catalog) as visitor:
            sample = await visitor.get("/sample.jsonl")
            assert "attachment" in sample.headers["content-disposition"]
            lines = [json.loads(line) for line in sample.content.splitlines()]
            assert [line["body"]["model"] for line in lines] == [model] * 2
            file_id = await sent(visitor, sample.content)
            page = await visitor.act("/batches/new/check", {"file": file_id})
            assert "The file is good: 2 lines" in text_of(page)

    run(main())
