"""Tables to requests, results to tables, and the generator."""

import csv
import json
from collections.abc import Iterable
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.domain.catalog import Catalog
from batchmill.domain.convert import (
    BOM,
    COLUMNS,
    CsvRules,
    GenerateRules,
    csv_to_requests,
    generate_embeddings,
    generate_media,
    generate_text,
    results_to_rows,
    rows_to_csv,
)
from batchmill.domain.errors import InvalidRequest
from batchmill.domain.limits import Limits, Profile
from batchmill.domain.lines import FileCheck, LineCutter, LineRules

CHAT = "/v1/chat/completions"


def requests(text: str, rules: CsvRules | None = None) -> list[dict[str, Any]]:
    rows = csv_to_requests(StringIO(text, newline=""), rules or CsvRules())
    return [json.loads(line) for line in rows]


def prompts(text: str, rules: CsvRules | None = None) -> list[tuple[str, str]]:
    made = requests(text, rules)
    return [(line["custom_id"], line["body"]["messages"][-1]["content"]) for line in made]


def refusal(text: str, rules: CsvRules | None = None) -> str:
    with pytest.raises(InvalidRequest) as caught:
        requests(text, rules)
    return caught.value.message


def faults(lines: Iterable[bytes], endpoint: str = CHAT) -> list[str]:
    """What validation says of generated lines."""
    cutter = LineCutter(Limits().max_line_bytes)
    rules = LineRules(endpoint, Catalog(accepts_any=True), Profile.QWEN, Limits())
    check = FileCheck(rules)
    for raw in cutter.feed(b"".join(lines)) + cutter.finish():
        check.check(raw)
    return [error.code for error in check.finish()]


# --- CSV to requests ---


def test_the_guide_s_script_is_the_default_flavour() -> None:
    (line,) = csv_to_requests(["1,Hello 你好\r\n"], CsvRules())
    assert line.decode() == (
        '{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":'
        '{"model":"qwen-plus","messages":[{"role":"user","content":"Hello 你好"}]}}\n'
    )


def test_the_console_s_script_adds_a_system_message() -> None:
    rules = CsvRules(model="qwen-turbo", system="You are a helpful assistant.")
    (line,) = requests("1,Hi\n", rules)
    assert line["body"] == {
        "model": "qwen-turbo",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Hi"},
        ],
    }


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/embeddings", {"model": "m", "input": "Hi", "encoding_format": "float"}),
        ("/v1/completions", {"model": "m", "prompt": "Hi"}),
        ("/v1/responses", {"model": "m", "input": "Hi", "instructions": "S"}),
        ("/v1/moderations", {"model": "m", "input": "Hi"}),
    ],
)
def test_each_endpoint_gets_a_body_that_validates(endpoint: str, body: dict[str, Any]) -> None:
    rules = CsvRules(model="m", endpoint=endpoint, system="S")
    (line,) = requests("1,Hi\n", rules)
    assert (line["url"], line["body"]) == (endpoint, body)
    assert faults(csv_to_requests(["1,Hi\n"], rules), endpoint) == []


def test_an_endpoint_that_needs_more_than_a_prompt_is_refused() -> None:
    assert "/v1/rerank" in refusal("1,Hi\n", CsvRules(endpoint="/v1/rerank"))


def test_columns_go_by_position_or_by_name() -> None:
    text = "lang, Question ,key\nde,Was?,a\nfr,Quoi?,b\n"
    want = [("a", "Was?"), ("b", "Quoi?")]
    assert prompts(text, CsvRules(id_column="key", prompt_column="Question")) == want
    assert prompts(text, CsvRules(id_column="3", prompt_column="2", header=True)) == want
    assert prompts(text, CsvRules(id_column="3", prompt_column="Question")) == want
    without = CsvRules(id_column="3", prompt_column="2")
    assert prompts(text, without) == [("key", " Question "), *want]


def test_a_header_name_beats_a_position() -> None:
    rules = CsvRules(id_column="2", prompt_column="1", header=True)
    assert prompts("2,1\nid,prompt\n", rules) == [("id", "prompt")]


def test_a_column_that_is_not_there_is_named() -> None:
    message = refusal("a,b\n1,2\n", CsvRules(prompt_column="c"))
    assert message == "There is no column 'c': the header has 'a', 'b'."
    message = refusal("1,2\n", CsvRules(prompt_column="c", header=False))
    assert message == "There is no column 'c': there is no header."
    assert "'0'" in refusal("1,2\n", CsvRules(prompt_column="0"))


def test_rows_are_numbered_where_no_column_is_the_id() -> None:
    rules = CsvRules(id_column=None, prompt_column="1")
    assert prompts("a\n\nb\n", rules) == [("request-1", "a"), ("request-2", "b")]


def test_bom_quotes_newlines_and_empty_rows_are_read_as_a_spreadsheet_writes_them() -> None:
    text = BOM + '"1","He said ""hi"",\r\ntwice"\r\n\r\n,\r\n2,  x \r\n'
    assert prompts(text) == [("1", 'He said "hi",\r\ntwice'), ("2", "  x ")]
    assert prompts("1;a,b\n2;c\n", CsvRules(delimiter=";")) == [("1", "a,b"), ("2", "c")]


def test_a_cell_may_be_as_long_as_a_line() -> None:
    assert prompts(f'1,"{"x" * 5_000_000}"\n')[0][1] == "x" * 5_000_000


def test_faults_name_the_row_as_a_spreadsheet_counts_it() -> None:
    message = refusal('1,"a\nb"\n\n2,x\n1,y\n')
    assert message.startswith("Row 4 has the same id as row 1: '1'.")
    assert refusal("id,q\n1\n", CsvRules(header=True)).startswith("Row 2 has 1 columns")
    assert refusal("1,a\n2, \n") == "Row 2 has no prompt in column 2."
    assert refusal("1,a\n ,b\n") == "Row 2 has no id in column 1."


@pytest.mark.parametrize("text", ['1,"never closed\n2,b\n', '1,"a"b\n'])
def test_a_stray_quote_does_not_swallow_the_file(text: str) -> None:
    assert refusal("0,ok\n" + text).startswith("Row 2 (up to line ")


def test_more_members_go_into_each_body() -> None:
    (line,) = requests("1,Hi\n", CsvRules(extra={"max_tokens": 9, "model": "other"}))
    assert (line["body"]["max_tokens"], line["body"]["model"]) == (9, "other")


def test_an_empty_table_is_no_request() -> None:
    assert requests("") == requests("\n\n") == requests("id,q\n", CsvRules(header=True)) == []


cells = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
filled = cells.filter(lambda cell: bool(cell.strip()))


@given(st.dictionaries(filled, filled, max_size=6))
def test_any_table_becomes_its_own_requests(table: dict[str, str]) -> None:
    text = StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(table.items())
    assert dict(prompts(text.getvalue())) == table


# --- results to CSV ---


def row(result: dict[str, Any] | str) -> dict[str, str]:
    data = result if isinstance(result, str) else json.dumps(result)
    ((*cells,),) = results_to_rows([data.encode()])
    return {name: cell for name, cell in zip(COLUMNS, cells, strict=True) if cell}


def answered(body: Any, status: int = 200, **changes: Any) -> dict[str, Any]:
    response = {"status_code": status, "request_id": "r", "body": body}
    return {"id": "r", "custom_id": "1", "response": response, "error": None} | changes


def content(**body: Any) -> str | None:
    return row(answered(body)).get("content")


def test_an_answer_fills_every_column_but_those_of_the_error() -> None:
    body = {
        "created": 1700000000,
        "usage": {"total_tokens": 26},
        "model": "qwen-plus",
        "choices": [{"message": {"content": 'a, "b"\n你好'}}],
    }
    assert row(answered(body)) == {
        "custom_id": "1",
        "model": "qwen-plus",
        "request_id": "r",
        "status_code": "200",
        "created": "1700000000",
        "content": 'a, "b"\n你好',
        "usage": '{"total_tokens":26}',
    }


def test_the_error_of_a_line_fills_code_and_message() -> None:
    error = {"code": "batch_expired", "message": "Too late."}
    assert row({"custom_id": "1", "response": None, "error": error}) == {
        "custom_id": "1",
        "error_code": "batch_expired",
        "error_message": "Too late.",
    }


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error": {"message": "m", "code": "c", "type": "t"}}, "c", "m"),
        ({"error": {"message": "m", "code": None, "type": "t"}}, "t", "m"),
        ({"error": "m"}, None, "m"),
        ({"object": "error", "message": "m", "code": 400}, "400", "m"),
        ({"detail": [{"msg": "m"}]}, None, '[{"msg":"m"}]'),
        ("plain words", None, "plain words"),
        (None, None, None),
    ],
)
def test_the_error_of_an_answer_is_found_in_every_shape(
    body: Any, code: str | None, message: str | None
) -> None:
    cells = row(answered(body, status=400))
    assert (cells.get("error_code"), cells.get("error_message")) == (code, message)
    assert cells["status_code"] == "400"


def test_content_is_found_for_each_endpoint() -> None:
    tools = [{"id": "t", "function": {"name": "f"}}]
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    said = [{"type": "reasoning"}, {"type": "message", "content": [{"text": "x"}, {"text": "y"}]}]
    called = [{"type": "function_call", "name": "f"}]
    assert content(choices=[{"text": "done"}]) == "done"
    assert content(choices=[{"message": {"content": parts}}]) == "ab"
    assert content(choices=[{"message": {"content": None, "refusal": "no"}}]) == "no"
    called_tools = content(choices=[{"message": {"content": "", "tool_calls": tools}}])
    assert json.loads(called_tools or "") == tools
    assert content(choices=[{"message": {"content": t}} for t in "ab"]) == '["a","b"]'
    assert content(data=[{"embedding": [0.5, 1]}]) == "[0.5,1]"
    assert content(data=[{"embedding": [1]}, {"embedding": "AAA="}]) == '[[1],"AAA="]'
    assert content(data=[{"index": 0, "score": 0.5}]) == '{"index":0,"score":0.5}'
    assert content(object="response", output=said) == "xy"
    assert json.loads(content(object="response", output=called) or "") == called
    assert content(results=[{"flagged": False}]) == '[{"flagged":false}]'
    assert content(choices=[]) is content(choices=None) is content() is None
    assert content(choices=5) is content(choices=[5]) is content(data="x") is None


def test_a_response_s_creation_time_counts_too() -> None:
    assert row(answered({"created_at": 17}))["created"] == "17"


def test_blank_lines_boms_and_lone_surrogates_are_no_obstacle() -> None:
    lines = [BOM.encode() + b'{"custom_id":"a"}\n', b"\r\n", b'{"custom_id":"\\ud83d"}']
    assert [cells[0] for cells in results_to_rows(lines)] == ["a", "\ufffd"]


@pytest.mark.parametrize("line", [b"x", b"[]", b'{"custom_id":"\xff"}', b'{"a":' * 99_999])
def test_a_line_that_is_no_result_is_named(line: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^Line 2 is not a JSON object"):
        list(results_to_rows([b"{}", line]))


def test_the_table_begins_with_a_bom_unless_told_otherwise() -> None:
    rows = [("=1+1", 'a "b"', "c\nd")]
    text = "".join(rows_to_csv(rows))
    assert text == BOM + ",".join(COLUMNS) + '\r\n=1+1,"a ""b""","c\nd"\r\n'
    assert "".join(rows_to_csv(rows, bom=False)) == text.removeprefix(BOM)


@given(st.lists(st.tuples(*[cells] * len(COLUMNS)), max_size=4))
def test_any_cells_are_read_back_as_they_were(rows: list[tuple[str, ...]]) -> None:
    text = StringIO("".join(rows_to_csv(rows, bom=False)), newline="")
    assert [tuple(cells) for cells in csv.reader(text)] == [COLUMNS, *rows]


members = st.sampled_from(
    ["response", "error", "body", "choices", "message", "content", "output", "data", "type", "text"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(members, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(members, json_values, max_size=4))
def test_any_json_object_is_a_row_of_text(result: dict[str, Any]) -> None:
    (cells,) = results_to_rows([json.dumps(result).encode()])
    assert len(cells) == len(COLUMNS)
    assert all(isinstance(cell, str) for cell in cells)


# --- the generator ---


def generated(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_text_requests_are_numbered_and_carry_the_default_system_message() -> None:
    text = [BOM + "Hi\n", "\n", "  Ho  \n"]
    first, second = generated(generate_text(text, GenerateRules()))
    assert (first["custom_id"], second["custom_id"]) == ("request-1", "request-2")
    assert first["body"] == {
        "model": "qwen-plus",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Hi"},
        ],
    }
    assert second["body"]["messages"][1]["content"] == "Ho"
    assert faults(generate_text(text, GenerateRules())) == []


@pytest.mark.parametrize(
    ("model", "budget"), [("qwen-plus", 50), ("qwen3-vl-plus", 500), ("qwen3-vl-flash-2026", 500)]
)
def test_thinking_adds_a_budget_and_a_stream(model: str, budget: int) -> None:
    (line,) = generated(generate_text(["x"], GenerateRules(model=model, thinking=True)))
    body = line["body"]
    assert (body["enable_thinking"], body["thinking_budget"]) == (True, budget)
    assert body["stream"] is True


def test_a_thinking_budget_of_one_s_own_and_the_other_modes() -> None:
    own = GenerateRules(thinking=True, thinking_budget=7)
    (line,) = generated(generate_text(["x"], own))
    assert line["body"]["thinking_budget"] == 7
    (line,) = generated(generate_text(["x"], GenerateRules(thinking=False)))
    assert line["body"]["enable_thinking"] is False
    assert "stream" not in line["body"]
    (line,) = generated(generate_text(["x"], GenerateRules()))
    assert "enable_thinking" not in line["body"]


def test_qwen3_vl_and_who_wants_none_get_no_system_message() -> None:
    for rules in (GenerateRules(model="qwen3-vl-plus"), GenerateRules(system=None)):
        (line,) = generated(generate_text(["x"], rules))
        assert [message["role"] for message in line["body"]["messages"]] == ["user"]


def parts(media: list[str], questions: list[str]) -> list[list[dict[str, Any]]]:
    lines = list(generate_media(media, questions, GenerateRules(model="qwen3-vl-plus")))
    assert faults(lines) == []
    return [line["body"]["messages"][0]["content"] for line in generated(lines)]


def test_media_become_parts_by_their_kind_before_the_question() -> None:
    urls = "https://a/b.PNG?x=1,2, http://a/c.mp4 ,https://a/d.mp3,data:audio/mpeg;base64,AA=="
    assert parts([urls], ["What?"]) == [
        [
            {"type": "image_url", "image_url": {"url": "https://a/b.PNG?x=1,2"}},
            {"type": "video_url", "video_url": {"url": "http://a/c.mp4"}},
            {"type": "input_audio", "input_audio": {"data": "https://a/d.mp3", "format": "mp3"}},
            {
                "type": "input_audio",
                "input_audio": {"data": "data:audio/mpeg;base64,AA==", "format": "mp3"},
            },
            {"type": "text", "text": "What?"},
        ]
    ]


def test_each_line_of_media_has_its_question_or_all_have_one() -> None:
    media = ["https://a/1", "https://a/2"]
    for asked, want in ((["q"], ["q", "q"]), (["q", "r"], ["q", "r"])):
        assert [content[-1]["text"] for content in parts(media, asked)] == want
    for asked in ([], ["q", "r", "s"]):
        with pytest.raises(InvalidRequest, match="2 lines of media"):
            parts(media, asked)


def test_media_that_no_server_can_fetch_are_refused() -> None:
    for url in ("/tmp/a.png", "a.png", "file:///tmp/a.png", "C:\\a.png"):
        with pytest.raises(InvalidRequest, match="Line 1 of the media"):
            parts([url], ["q"])


def test_embedding_requests_are_numbered_in_their_own_way() -> None:
    lines = list(generate_embeddings(["a\n", "", "b"]))
    assert faults(lines, "/v1/embeddings") == []
    first, second = generated(lines)
    assert (first["custom_id"], second["custom_id"]) == ("emb-1", "emb-2")
    assert first["url"] == "/v1/embeddings"
    assert first["body"] == {
        "model": "text-embedding-v4",
        "input": "a",
        "encoding_format": "float",
    }
