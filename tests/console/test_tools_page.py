"""The tools: byte for byte what the command line makes, in odd chunks; faults, limits, roles."""

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
import pytest
import typer
from api_house import run
from console_house import Visitor, open_console, text_of
from typer.testing import CliRunner

from batchmill.cli.files_local import register
from batchmill.console import BASE
from batchmill.domain.account import Role
from batchmill.domain.catalog import TEST_ENDPOINT, TEST_MODEL, Catalog
from batchmill.domain.convert import CHAT
from batchmill.domain.limits import Limits

TABLE = 'id,question\n1,"What is a ""star""?\nAnd a planet?"\n\n2,Grüße 😀\n'
RESULTS = (
    '{"custom_id":"1","response":{"status_code":200,"request_id":"r","body":{"model":"m",'
    '"choices":[{"message":{"content":"=1+1, \\"é\\""}}],"usage":{"total_tokens":3}}}}\n'
)
ERRORS = '{"custom_id":"2","response":null,"error":{"code":"batch_expired","message":"Late."}}'

app = typer.Typer()
register(app)


def by_command(*args: str | Path) -> bytes:
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    assert done.exit_code == 0, done.stderr
    return done.stdout_bytes


async def pieces(body: bytes, size: int = 7) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def convert(
    visitor: Visitor,
    tool: str,
    body: bytes,
    fields: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx2.Response:
    """What the page's script sends, in pieces and without a length unless a header says it."""
    sent = {"hx-request": "true", "x-form-token": await visitor.token(), **(headers or {})}
    address = f"{BASE}/tools/{tool}?{urlencode(fields or {}, doseq=True)}"
    return await visitor.client.post(address, content=pieces(body), headers=sent)


def put(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("args", "fields", "headers"),
    [
        (["--header"], {"header": "1", "id_column": "1", "prompt_column": "2"}, {}),
        (
            ["--id-column", "id", "--prompt-column", "question", "--system", "Be brief: ä."],
            {"id_column": "id", "prompt_column": "question"},
            {"x-table-system": quote("Be brief: ä.")},
        ),
        (
            ["--number-rows", "--prompt-column", "question", "--body", '{"max_tokens": 5}'],
            {"prompt_column": "question"},
            {"x-table-body": quote('{"max_tokens": 5}')},
        ),
        (
            ["--header", "--endpoint", "/v1/embeddings"],
            {"header": "1", "endpoint": "/v1/embeddings", "id_column": "1"},
            {},
        ),
    ],
)
def test_a_table_becomes_what_the_command_makes(
    tmp_path: Path, args: list[str], fields: dict[str, str], headers: dict[str, str]
) -> None:
    wanted = by_command("csv-to-jsonl", put(tmp_path / "t.csv", TABLE), "--model", "qwen-x", *args)

    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            asked = {**fields, "model": "qwen-x", "filename": "my table.csv"}
            made = await convert(visitor, "csv-to-jsonl", TABLE.encode(), asked, headers)
            assert (made.status_code, made.content) == (200, wanted)
            assert made.headers["x-count"] == "2"
            assert made.headers["content-length"] == str(len(wanted))
            assert 'attachment; filename="my table.jsonl"' in made.headers["content-disposition"]
            assert made.headers["cache-control"] == "no-store"
            assert "sandbox" in made.headers["content-security-policy"]

    run(main())


@pytest.mark.parametrize(
    ("encoding", "delimiter", "text"),
    [
        ("gbk", ";", "1;你好\n2;再见\n"),
        ("utf-16", "\t", "1\t你好\n"),
        ("cp1252", ",", "1,Grüße\n"),
        ("shift_jis", ",", "1,こんにちは\n"),
    ],
)
def test_tables_of_other_encodings_and_delimiters(
    tmp_path: Path, encoding: str, delimiter: str, text: str
) -> None:
    data = text.encode(encoding)
    file = tmp_path / "t.csv"
    file.write_bytes(data)
    args = ["--encoding", encoding, "--delimiter", delimiter, "--model", "m"]
    wanted = by_command("csv-to-jsonl", file, *args)
    names = {",": "comma", ";": "semicolon", "\t": "tab"}

    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            asked = {
                "encoding": encoding,
                "delimiter": names[delimiter],
                "model": "m",
                "id_column": "1",
            }
            made = await convert(visitor, "csv-to-jsonl", data, asked)
            assert (made.status_code, made.content) == (200, wanted)

    run(main())


@pytest.mark.parametrize(("bom", "args"), [("1", ["--bom"]), ("", ["--no-bom"])])
def test_results_become_what_the_command_makes(tmp_path: Path, bom: str, args: list[str]) -> None:
    first, second = put(tmp_path / "o.jsonl", RESULTS), put(tmp_path / "e.jsonl", ERRORS)
    wanted = by_command("results-to-csv", first, second, *args)

    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            body = RESULTS.encode() + ERRORS.encode()
            sizes = [len(RESULTS.encode()), len(ERRORS.encode())]
            asked = {"name": ["o.jsonl", "e.jsonl"], "size": sizes, "bom": bom, "filename": "o.x"}
            made = await convert(visitor, "results-to-csv", body, asked)
            assert (made.status_code, made.content) == (200, wanted)
            assert made.headers["x-count"] == "2"
            assert made.headers["content-type"] == "text/csv; charset=utf-8"
            assert 'filename="o.csv"' in made.headers["content-disposition"]

    run(main())


PROMPTS = "One?\r\n\n  Two ä?  \n"


@pytest.mark.parametrize(
    ("args", "fields", "headers"),
    [
        (["--system", ""], {"kind": "text"}, {}),
        (["--system", "Ä"], {"kind": "text"}, {"x-table-system": quote("Ä")}),
        (
            ["--system", "", "--thinking", "--thinking-budget", "7"],
            {"kind": "text", "thinking": "on", "thinking_budget": "7"},
            {},
        ),
        (["--system", "", "--thinking"], {"kind": "text", "thinking": "on"}, {}),
        (["--system", "", "--no-thinking"], {"kind": "text", "thinking": "off"}, {}),
        (["--embeddings"], {"kind": "embedding"}, {}),
    ],
)
def test_prompts_become_what_the_command_makes(
    tmp_path: Path, args: list[str], fields: dict[str, str], headers: dict[str, str]
) -> None:
    wanted = by_command("generate", put(tmp_path / "p.txt", PROMPTS), "--model", "m", *args)

    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            body = PROMPTS.encode()
            asked = {**fields, "model": "m", "name": "p.txt", "size": len(body)}
            made = await convert(visitor, "generate", body, asked, headers)
            assert (made.status_code, made.content) == (200, wanted)
            assert made.headers["x-count"] == "2"

    run(main())


@pytest.mark.parametrize("questions", ["What?", "What?\nWho?"])
def test_media_become_what_the_command_makes(tmp_path: Path, questions: str) -> None:
    media = "https://a/1.png, https://a/2.mp4\nhttps://b/3.mp3\n"
    written = put(tmp_path / "q.txt", questions)
    pictures = put(tmp_path / "m.txt", media)
    wanted = by_command(
        "generate", written, "--media", pictures, "--model", "m", "--system", "", "--thinking"
    )

    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            sizes = [len(media.encode()), len(questions.encode())]
            asked = {"kind": "media", "model": "m", "name": ["m", "q"], "size": sizes}
            body = (media + questions).encode()
            made = await convert(visitor, "generate", body, {**asked, "thinking": "on"})
            assert (made.status_code, made.content) == (200, wanted)

    run(main())


TEXT = {"kind": "text", "model": "m", "name": "p", "size": "1"}
COLUMNS = {"model": "m", "id_column": "1"}


@pytest.mark.parametrize(
    ("tool", "body", "fields", "said"),
    [
        ("csv-to-jsonl", "1,a\n2\n", COLUMNS, "Row 2 has 1 columns"),
        ("csv-to-jsonl", "1,a\n1,b\n", COLUMNS, "Row 2 has the same id as row 1: '1'"),
        ("csv-to-jsonl", '1,"a\n', COLUMNS, "is not valid CSV"),
        ("csv-to-jsonl", "1,a\n", {"id_column": "1"}, "Name the model"),
        ("csv-to-jsonl", "1,a\n", {**COLUMNS, "delimiter": "x"}, "'comma', 'semicolon'"),
        ("csv-to-jsonl", "1,a\n", {**COLUMNS, "encoding": "zip"}, "'utf-8', 'utf-16'"),
        ("csv-to-jsonl", "1,a\n", {**COLUMNS, "encoding": "utf-16"}, "not valid UTF-16"),
        ("csv-to-jsonl", "1,a\n", {**COLUMNS, "endpoint": "/v1/rerank"}, "cannot be made from"),
        ("results-to-csv", "{}\nno\n", {"name": "o", "size": "6"}, "o: Line 2 is not a JSON"),
        ("results-to-csv", "{}\n", {}, "1 to 20 files"),
        ("results-to-csv", "{}\n", {"name": ["a"] * 21, "size": ["1"] * 21}, "1 to 20 files"),
        ("results-to-csv", "{}\n", {"name": "a", "size": "-1"}, "1 to 20 files"),
        ("results-to-csv", "{}\n", {"name": "a", "size": ["1", "2"]}, "1 to 20 files"),
        ("generate", "x", {**TEXT, "kind": "y"}, "'text', 'media', and 'embedding'"),
        ("generate", "x", {**TEXT, "model": ""}, "Name the model"),
        ("generate", "x", {**TEXT, "thinking": "maybe"}, "'on', and 'off'"),
        ("generate", "x", {**TEXT, "thinking_budget": "0"}, "above zero"),
        ("generate", "x", {**TEXT, "thinking_budget": "1.5"}, "above zero"),
        ("generate", "a\nbc", {**TEXT, "kind": "media", "size": "1"}, "'a', which is not a URL"),
        ("generate", "a", {**TEXT, "kind": "media"}, "1 lines of media and 0 questions"),
    ],
)
def test_faults_are_told_as_messages(
    tmp_path: Path, tool: str, body: str, fields: dict[str, Any], said: str
) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            refused = await convert(visitor, tool, body.encode(), fields)
            assert refused.status_code == 400
            assert said in text_of(refused)
            assert 'class="message bad"' in refused.text

    run(main())


def test_more_members_are_a_json_object(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            for text in ("[1]", "{", "nul", "[" * 5_000):
                headers = {"x-table-body": quote(text)}
                refused = await convert(visitor, "csv-to-jsonl", b"1,a\n", COLUMNS, headers)
                assert refused.status_code == 400, text
                assert "given as a JSON object" in text_of(refused)

    run(main())


def test_a_body_has_a_size_that_may_be_and_not_a_byte_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, limits=Limits(max_file_bytes=1_000)) as visitor:
            body = b"1,a\n" + b"\n" * 996
            assert (await convert(visitor, "csv-to-jsonl", body, COLUMNS)).status_code == 200
            refused = await convert(visitor, "csv-to-jsonl", body + b"\n", COLUMNS)
            assert refused.status_code == 400
            assert "File is too large." in text_of(refused)

    run(main())


def test_what_is_announced_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, limits=Limits(max_file_bytes=1_000)) as visitor:
            read: list[bytes] = []

            async def watched() -> AsyncIterator[bytes]:
                read.append(b"1,a\n")
                yield b"1,a\n"

            sent = {"x-form-token": await visitor.token(), "content-length": "1001"}
            address = f"{BASE}/tools/csv-to-jsonl?{urlencode(COLUMNS)}"
            refused = await visitor.client.post(address, content=watched(), headers=sent)
            assert refused.status_code == 400
            assert not read

    run(main())


def test_what_comes_out_has_a_bound_too(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, limits=Limits(max_file_bytes=1_000)) as visitor:
            rows = b"".join(b"%d,a\n" % number for number in range(8))
            one = len((await convert(visitor, "csv-to-jsonl", rows[:4], COLUMNS)).content)
            fitting = 1_000 // one
            assert (await convert(visitor, "csv-to-jsonl", rows[: 4 * fitting], COLUMNS)).content
            refused = await convert(visitor, "csv-to-jsonl", rows[: 4 * fitting + 4], COLUMNS)
            assert refused.status_code == 400
            assert "What comes out is larger than 1000 bytes" in text_of(refused)

    run(main())


def test_after_a_fault_the_rest_is_read_for_a_browser_hears_nothing_while_it_sends(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            ends: list[bool] = []

            async def watched() -> AsyncIterator[bytes]:
                yield b"1,a\n1,b\n" * 100_000
                for _ in range(20):
                    yield b"1,a\n"
                ends.append(True)

            sent = {"x-form-token": await visitor.token()}
            address = f"{BASE}/tools/csv-to-jsonl?{urlencode(COLUMNS)}"
            refused = await visitor.client.post(address, content=watched(), headers=sent)
            assert refused.status_code == 400
            assert "Row 2 has the same id" in text_of(refused)
            assert ends == [True]

    run(main())


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()

    async def main() -> None:
        async with open_console(folder) as visitor:
            assert (await convert(visitor, "csv-to-jsonl", b"1,a\n", COLUMNS)).content
            assert (await convert(visitor, "csv-to-jsonl", b"1\n", COLUMNS)).status_code == 400

    run(main())
    assert not [path for path in folder.iterdir() if not path.name.startswith("house.db")]


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("batchmill.console.transfer.workshop.TemporaryFile", full)

    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            refused = await convert(visitor, "csv-to-jsonl", b"1,a\n", COLUMNS)
            assert refused.status_code == 507
            assert "The disk is full" in text_of(refused)

    run(main())


def test_pages_show_their_tool_and_offer_the_models(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            for path, title in (
                ("/tools", "CSV to JSONL"),
                ("/tools/csv-to-jsonl", "CSV to JSONL"),
                ("/tools/results-to-csv", "Results to CSV"),
                ("/tools/generate", "Request generator"),
            ):
                page = await visitor.get(path)
                assert page.status_code == 200
                assert f"<h2>{title}</h2>" in page.text
                assert page.text.count('aria-current="page"') == 2
            assert '<option value="qwen-plus"></option>' in page.text
            assert (await visitor.get("/tools/other")).status_code == 404

    run(main())


def test_who_may_only_read_converts_but_creates_no_batch(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            await visitor.sign_in(await visitor.make_key(Role.READ_ONLY))
            assert "data-uploads" not in (await visitor.get("/tools/generate")).text
            assert (await convert(visitor, "csv-to-jsonl", b"1,a\n", COLUMNS)).status_code == 200
            await visitor.sign_in(await visitor.make_key(Role.MEMBER))
            assert "data-uploads" in (await visitor.get("/tools/generate")).text
            assert "data-uploads" not in (await visitor.get("/tools/results-to-csv")).text
            headers = {"x-form-token": "0"}
            refused = await convert(visitor, "csv-to-jsonl", b"1,a\n", COLUMNS, headers)
            assert refused.status_code == 403

    run(main())


def test_the_test_model_is_offered_last(tmp_path: Path) -> None:
    async def main() -> None:
        catalog = Catalog({TEST_MODEL: frozenset({TEST_ENDPOINT}), "zephyr": frozenset({CHAT})})
        async with open_console(tmp_path, catalog=catalog) as visitor:
            page = await visitor.get("/tools/csv-to-jsonl")
            assert re.search(r'id="tool-model"[^>]* value="zephyr"', page.text)

    run(main())
