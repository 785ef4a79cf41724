"""The verbs that work on files, run as a person runs them."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from batchmill.cli import check as check_verb
from batchmill.cli.files_local import register
from batchmill.domain.catalog import Catalog
from batchmill.domain.limits import PROFILES, Profile
from batchmill.domain.lines import LineRules

RULES = LineRules("", Catalog(accepts_any=True), Profile.QWEN, PROFILES[Profile.QWEN])
app = typer.Typer()
register(app)
runner = CliRunner()


def request(custom_id: str, **body: Any) -> str:
    members = {"model": "qwen-plus", "messages": [{"role": "user", "content": "hi"}]} | body
    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions"}
    return json.dumps(line | {"body": members}) + "\n"


def run(*args: str | Path, stdin: str | bytes | None = None) -> tuple[int, str, str]:
    result = runner.invoke(app, [str(arg) for arg in args], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(lines), encoding="utf-8")
    return path


# --- check ---


def test_a_good_file_is_summed_up_and_ends_with_0(tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl", request("1"), request("22"))
    code, out, err = run("check", file)
    size = file.stat().st_size
    assert (code, err) == (0, "")
    assert out == (
        f"{file}: good; 2 requests, {size} bytes, model qwen-plus, "
        f"endpoint /v1/chat/completions, longest line 2: {len(request('22')) - 1} bytes\n"
    )


def test_every_fault_is_a_line_and_ends_with_1(tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl", request("1"), "\n", request("1"), "nonsense\n")
    code, out, _ = run("check", file)
    lines = out.splitlines()
    assert code == 1
    assert lines[0].startswith(f"{file}:3: duplicate_custom_id: The custom_id '1'")
    assert lines[1] == f"{file}:4: invalid_json_line: This line is not parseable as valid JSON."
    assert lines[2].startswith(f"{file}: 2 bad lines; 3 requests, ")


def test_an_empty_file_is_refused_as_a_whole(tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl", "\n")
    code, out, _ = run("check", file)
    assert code == 1
    assert out.startswith(f"{file}: empty_file: ")
    assert f"{file}: refused as a whole; 0 requests, 1 byte" in out


def test_a_file_that_cannot_be_read_is_one_sentence_and_ends_with_2(tmp_path: Path) -> None:
    for name in ("none.jsonl", ""):
        code, out, err = run("check", tmp_path / name)
        assert (code, out) == (2, "")
        assert err.startswith(f"batchmill: {tmp_path}")
        assert err.count("\n") == 1
    assert run("check")[0] == 2


def test_the_list_of_faults_can_be_cut_short() -> None:
    code, out, _ = run("check", "-", "--max-faults", "2", stdin="x\n" * 5)
    assert code == 1
    assert out.count("invalid_json_line") == 2
    assert "3 more lines have errors" in out
    assert "5 bad lines" in out


def test_a_script_gets_one_json_object() -> None:
    code, out, _ = run("check", "-", "--json", stdin="x\n" + request("1"))
    report = json.loads(out)
    assert code == 1
    assert report == {
        "good": False,
        "file": "-",
        "endpoint": "/v1/chat/completions",
        "bytes": 2 + len(request("1")),
        "lines": 2,
        "bad_lines": 1,
        "models": ["qwen-plus"],
        "longest_line": {"line": 2, "bytes": len(request("1")) - 1},
        "errors": [
            {
                "code": "invalid_json_line",
                "message": "This line is not parseable as valid JSON.",
                "param": None,
                "line": 1,
            }
        ],
    }


def test_the_endpoint_is_that_of_the_first_line_unless_given() -> None:
    line = {"custom_id": "1", "method": "POST", "url": "/v1/embeddings"}
    text = json.dumps(line | {"body": {"model": "e", "input": "x"}})
    assert run("check", "-", stdin=text)[0] == 0
    code, out, _ = run("check", "-", "--endpoint", "/v1/chat/completions", stdin=text)
    assert code == 1
    assert "invalid_url" in out


def test_models_profile_and_mixing_are_options() -> None:
    text = request("1") + request("2", model="qwen-max")
    assert "mismatched_model" in run("check", "-", stdin=text)[1]
    assert run("check", "-", "--mixed-models", stdin=text)[0] == 0
    out = run("check", "-", "--model", "qwen-max", "-m", "other", stdin=request("1"))[1]
    assert "model_not_found" in out
    assert run("check", "-", "-m", "qwen-plus", stdin=request("1"))[0] == 0
    streamed = request("1", stream=True)
    assert run("check", "-", stdin=streamed)[0] == 0
    assert "streaming_unsupported" in run("check", "-", "--profile", "openai", stdin=streamed)[1]


def test_a_person_sees_a_table(tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl", request("[red]x"), request("[red]x"))
    with file.open("rb") as stream:
        report = check_verb.examine(stream, "in.jsonl", RULES)
    console = Console(width=120, record=True, file=StringIO())
    check_verb._print_rich(report, console)
    shown = console.export_text()
    assert "duplicate_custom_id" in shown
    assert "'[red]x'" in shown
    assert "in.jsonl: 1 bad line" in shown
    assert "2 requests" in shown


def test_a_file_with_too_many_requests_is_not_read_to_its_end() -> None:
    class Endless:
        def __init__(self) -> None:
            self.reads = 0

        def read(self, size: int) -> bytes:
            self.reads += 1
            return b"x\n" * (size // 2)

    stream = Endless()
    report = check_verb.examine(stream, "endless", RULES)  # type: ignore[arg-type]
    assert stream.reads == 1
    assert report.errors[0].code == "too_many_requests_in_file"


# --- csv-to-jsonl ---


def test_a_table_becomes_a_file_that_checks(tmp_path: Path) -> None:
    table = write(tmp_path / "in.csv", "\ufeffid,question\n", 'a,"Hi, ""you"""\n', "b,你好\n")
    out = tmp_path / "out.jsonl"
    args = ("--id-column", "id", "--prompt-column", "question", "--system", "S", "-m", "qwen-max")
    code, stdout, stderr = run("csv-to-jsonl", table, "-o", out, *args)
    assert (code, stdout, stderr) == (0, "", f"Wrote 2 requests to {out}.\n")
    first, second = map(json.loads, out.read_text(encoding="utf-8").splitlines())
    assert first["body"] == {
        "model": "qwen-max",
        "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": 'Hi, "you"'}],
    }
    assert second["custom_id"] == "b"
    assert run("check", out)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.jsonl"]


def test_a_table_can_come_from_stdin_in_another_encoding_and_go_to_stdout() -> None:
    args = ("--encoding", "gbk", "--delimiter", "\\t", "--number-rows", "--prompt-column", "1")
    code, out, err = run("csv-to-jsonl", "-", *args, stdin="你好\tx\n".encode("gbk"))
    assert (code, err) == (0, "")
    line = json.loads(out)
    assert line["custom_id"] == "request-1"
    assert line["body"]["messages"][0]["content"] == "你好"


def test_a_body_may_have_more() -> None:
    code, out, _ = run("csv-to-jsonl", "-", "--body", '{"max_tokens":5}', stdin="1,x\n")
    assert code == 0
    assert json.loads(out)["body"]["max_tokens"] == 5


@pytest.mark.parametrize(
    ("args", "stdin", "words"),
    [
        ((), b"1,a\n1,b\n", "Row 2 has the same id as row 1"),
        ((), "1,你好\n".encode("gbk"), "not valid utf-8"),
        (("--encoding", "klingon"), b"", "no encoding 'klingon'"),
        (("--encoding", "utf-16"), b"1,a\n", "not valid text of its encoding"),
        (("--delimiter", ",,"), b"", "--delimiter is one character"),
        (("--body", "[]"), b"", "--body takes a JSON object"),
        (("--body", "{"), b"", "--body takes a JSON object"),
        (("--prompt-column", "q"), b"a,b\n", "no column 'q'"),
        (("--endpoint", "/v1/score"), b"1,a\n", "/v1/score"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_the_output_as_it_was(
    tmp_path: Path, args: tuple[str, ...], stdin: bytes, words: str
) -> None:
    out = write(tmp_path / "out.jsonl", "before")
    code, stdout, stderr = run("csv-to-jsonl", "-", "-o", out, *args, stdin=stdin)
    assert (code, stdout) == (2, "")
    assert stderr.startswith("batchmill: ")
    assert words in stderr
    assert stderr.count("\n") == 1
    assert out.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    code, _, stderr = run("csv-to-jsonl", "-", "-o", tmp_path / "no" / "out", stdin="1,a\n")
    assert code == 2
    assert "No such file or directory" in stderr


def test_what_is_no_plain_file_is_written_and_not_replaced(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(write(tmp_path / "target", ""))
    assert run("csv-to-jsonl", "-", "-o", link, stdin="1,a\n")[0] == 0
    assert link.is_symlink()
    assert json.loads((tmp_path / "target").read_text())["custom_id"] == "1"
    assert run("csv-to-jsonl", "-", "-o", "/dev/null", stdin="1,a\n")[0] == 0
    assert not Path("/dev/null").is_file()


# --- results-to-csv ---


def test_output_and_error_files_become_one_table(tmp_path: Path) -> None:
    body = {"model": "m", "choices": [{"message": {"content": "yes, 你好"}}]}
    response = {"status_code": 200, "request_id": "r", "body": body}
    output = {"id": "r", "custom_id": "1", "response": response, "error": None}
    error = {"code": "batch_expired", "message": "Late."}
    good = write(tmp_path / "out.jsonl", json.dumps(output) + "\n")
    bad = write(
        tmp_path / "err.jsonl", json.dumps({"custom_id": "2", "response": None, "error": error})
    )
    table = tmp_path / "out.csv"
    code, _, stderr = run("results-to-csv", good, bad, "-o", table)
    assert (code, stderr) == (0, f"Wrote 2 rows to {table}.\n")
    assert table.read_bytes().decode() == (
        "\ufeffcustom_id,model,request_id,status_code,error_code,error_message,created,content,usage"
        '\r\n1,m,r,200,,,,"yes, 你好",\r\n2,,,,batch_expired,Late.,,,\r\n'
    )
    code, out, _ = run("results-to-csv", "-", "--no-bom", stdin=good.read_bytes())
    assert (code, out.splitlines()[0][:9]) == (0, "custom_id")


def test_a_bad_result_file_is_named_with_its_line(tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.jsonl", "{}\nnope\n")
    table = tmp_path / "out.csv"
    code, _, stderr = run("results-to-csv", bad, "-o", table)
    assert code == 2
    assert stderr.startswith(f"batchmill: {bad}: Line 2 is not a JSON object")
    assert not table.exists()


# --- generate ---


def test_prompts_become_requests(tmp_path: Path) -> None:
    text = write(tmp_path / "prompts.txt", "One\n\nTwo\n")
    out = tmp_path / "batch_input.jsonl"
    code, _, stderr = run("generate", text, "-o", out, "--thinking")
    assert (code, stderr) == (0, f"Wrote 2 requests to {out}.\n")
    first, second = map(json.loads, out.read_text().splitlines())
    assert [first["custom_id"], second["custom_id"]] == ["request-1", "request-2"]
    assert first["body"]["thinking_budget"] == 50
    assert first["body"]["messages"][0]["role"] == "system"
    assert run("check", out)[0] == 0


def test_media_and_embeddings_are_generated_too(tmp_path: Path) -> None:
    urls = write(tmp_path / "urls.txt", "https://a/b.png\nhttps://a/c.mp4\n")
    args = ("generate", "-", "--media", urls, "-m", "qwen3-vl-plus", "--no-thinking")
    code, out, _ = run(*args, stdin="What is this?\n")
    first, second = map(json.loads, out.splitlines())
    assert code == 0
    assert [part["type"] for part in first["body"]["messages"][0]["content"]] == [
        "image_url",
        "text",
    ]
    assert second["body"]["messages"][0]["content"][0]["type"] == "video_url"
    assert second["body"]["enable_thinking"] is False
    code, out, _ = run("generate", "-", "--embeddings", stdin="a\nb\n")
    assert [json.loads(line)["custom_id"] for line in out.splitlines()] == ["emb-1", "emb-2"]
    assert run("generate", "-", "--embeddings", "--media", urls, stdin="a\n")[0] == 2


def test_a_system_message_can_be_left_out() -> None:
    _, out, _ = run("generate", "-", "--system", "", stdin="a\n")
    assert [message["role"] for message in json.loads(out)["body"]["messages"]] == ["user"]
