"""``batchmill submit``: what it uploads, what it creates, and what it says."""

import io
import json
from pathlib import Path

import pytest
from client_fake import BATCH_ID, CHAT, Desk, cut_off, fault, refuse_connection, request_line, state


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    file = tmp_path / "in.jsonl"
    file.write_text(request_line("1") + request_line("2"))
    return file


def test_a_file_becomes_a_batch_and_its_id_is_all_of_stdout(inputs: Path) -> None:
    desk = Desk()
    ran = desk.run("submit", inputs)
    assert (ran.code, ran.out, ran.err) == (0, f"{BATCH_ID}\n", "")
    assert desk.server.files["file-batch-1"] == inputs.read_bytes()
    assert desk.server.created == [
        {
            "input_file_id": "file-batch-1",
            "endpoint": CHAT,
            "completion_window": "24h",
            "metadata": None,
        }
    ]


def test_the_form_names_the_file_and_has_the_length_it_says(inputs: Path) -> None:
    odd = inputs.rename(inputs.with_name('a"b\nä.jsonl'))
    desk = Desk()
    assert desk.run("submit", odd).code == 0
    form = desk.server.forms[0]
    upload = desk.server.asked[0]
    assert upload.headers["content-length"] == str(len(form))
    assert b'name="purpose"\r\n\r\nbatch\r\n' in form
    assert 'name="file"; filename="a_b_ä.jsonl"\r\n'.encode() in form


def test_options_go_into_the_batch(inputs: Path) -> None:
    desk = Desk()
    args = ("--endpoint", "/v1/embeddings", "--window", "7d", "--name", "nightly")
    more = ("--description", "all of it", "--metadata", "a=1", "--metadata", "b=x=y")
    assert desk.run("submit", inputs, *args, *more).code == 0
    assert desk.server.created[0] == {
        "input_file_id": "file-batch-1",
        "endpoint": "/v1/embeddings",
        "completion_window": "7d",
        "metadata": {"a": "1", "b": "x=y", "ds_name": "nightly", "ds_description": "all of it"},
    }


def test_a_budget_goes_into_the_batch(inputs: Path) -> None:
    desk = Desk()
    assert desk.run("submit", inputs, "--budget", "20.00").code == 0
    assert desk.server.created[0]["batchmill"] == {"budget": "20.00"}


def test_the_endpoint_is_the_url_of_the_first_line_that_is_not_blank(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    content = "\ufeff\n  \n" + request_line("1", "/v1/embeddings") + request_line("2")
    file.write_text(content, encoding="utf-8")
    desk = Desk()
    assert desk.run("submit", file).code == 0
    assert desk.server.created[0]["endpoint"] == "/v1/embeddings"
    assert desk.server.files["file-batch-1"] == content.encode()


@pytest.mark.parametrize("content", ["", "\n\n", "nonsense\n", "{}\n"])
def test_without_a_url_nothing_is_uploaded_unless_the_endpoint_is_given(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(content)
    desk = Desk()
    ran = desk.run("submit", file)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"batchmill: {file} does not begin with a request")
    assert desk.server.asked == []
    assert desk.run("submit", file, "--endpoint", CHAT).code == 0


def test_stdin_is_uploaded_without_a_length() -> None:
    desk = Desk()
    assert desk.run("submit", "-", stdin=request_line("1")).code == 0
    assert desk.server.files["file-batch-1"] == request_line("1").encode()
    assert "content-length" not in desk.server.asked[0].headers
    assert b'filename="stdin.jsonl"' in desk.server.forms[0]


def test_a_table_is_turned_into_requests_on_its_way(tmp_path: Path) -> None:
    table = tmp_path / "in.CSV"
    table.write_text("id,question\na,Hi?\nb,Ho?\n")
    desk = Desk()
    args = ("--model", "qwen-plus", "--prompt-column", "question", "--system", "Be brief.")
    assert desk.run("submit", table, *args).code == 0
    first, second = map(json.loads, desk.server.files["file-batch-1"].splitlines())
    assert first["custom_id"] == "a"
    assert first["body"]["model"] == "qwen-plus"
    assert [one["content"] for one in first["body"]["messages"]] == ["Be brief.", "Hi?"]
    assert second["custom_id"] == "b"
    assert b'filename="in.jsonl"' in desk.server.forms[0]
    assert desk.server.created[0]["endpoint"] == CHAT


def test_a_table_can_come_from_stdin_with_numbered_rows_for_another_endpoint() -> None:
    desk = Desk()
    args = ("-m", "e", "--number-rows", "--prompt-column", "1", "--endpoint", "/v1/embeddings")
    assert desk.run("submit", "-", *args, stdin="x\n").code == 0
    line = json.loads(desk.server.files["file-batch-1"])
    assert (line["custom_id"], line["body"]["input"]) == ("request-1", "x")
    assert desk.server.created[0]["endpoint"] == "/v1/embeddings"


def test_a_bad_table_is_one_sentence_and_makes_no_batch(tmp_path: Path) -> None:
    table = tmp_path / "in.csv"
    table.write_text("1,a\n1,b\n")
    desk = Desk()
    ran = desk.run("submit", table)
    assert ran.code == 2
    assert "--model" in ran.err
    ran = desk.run("submit", table, "--model", "m")
    assert ran.code == 2
    assert ran.err.startswith("batchmill: Row 2 has the same id as row 1")
    assert desk.server.files == {}
    assert desk.server.created == []


def test_a_file_on_the_server_is_not_uploaded_again() -> None:
    desk = Desk()
    desk.server.files["file-batch-7"] = request_line("1", "/v1/embeddings").encode() * 3
    assert desk.run("submit", "file-batch-7").code == 0
    assert desk.server.forms == []
    assert desk.server.created[0]["input_file_id"] == "file-batch-7"
    assert desk.server.created[0]["endpoint"] == "/v1/embeddings"
    ran = desk.run("submit", "file-batch-8")
    assert (ran.code, ran.err) == (2, "batchmill: No such File object: file-batch-8\n")


def test_a_lost_answer_to_create_is_asked_for_again_with_the_same_key(inputs: Path) -> None:
    desk = Desk()
    desk.server.troubles = [
        lambda _: None,
        cut_off,
        refuse_connection,
        lambda _: fault(500, "Oops."),
        lambda _: fault(429, "Slowly."),
    ]
    ran = desk.run("submit", inputs)
    assert (ran.code, ran.out, ran.err) == (0, f"{BATCH_ID}\n", "")
    upload, *creates = desk.server.asked
    assert upload.url.path == "/v1/files"
    assert [one.headers["idempotency-key"] for one in creates] == ["key-1"] * 5
    assert len({one.read() for one in creates}) == 1
    assert desk.naps == [0.5, 1.0, 2.0, 4.0]


def test_create_is_given_up_after_five_tries_and_the_file_is_named(inputs: Path) -> None:
    desk = Desk()
    desk.server.troubles = [lambda _: None, *[cut_off] * 5]
    ran = desk.run("submit", inputs)
    assert (ran.code, ran.out) == (2, "")
    assert "`batchmill submit file-batch-1`" in ran.err
    assert ran.err.endswith("broke before the answer was whole: try again.\n")
    assert len(desk.server.asked) == 6


@pytest.mark.parametrize(
    "refusal",
    [
        fault(400, "Bad window."),
        fault(429, "Too many.", x_should_retry="false"),
        fault(507, "Full."),
    ],
)
def test_a_refusal_that_stays_is_not_asked_again(inputs: Path, refusal: object) -> None:
    desk = Desk()
    desk.server.troubles = [lambda _: None, lambda _: refusal]  # type: ignore[list-item,return-value]
    ran = desk.run("submit", inputs)
    assert ran.code == 2
    assert len(desk.server.asked) == 2
    assert desk.naps == []


def test_an_upload_is_sent_once(inputs: Path) -> None:
    desk = Desk()
    desk.server.troubles = [cut_off]
    assert desk.run("submit", inputs).code == 2
    assert len(desk.server.asked) == 1


def test_a_key_of_ones_own_is_sent(inputs: Path) -> None:
    desk = Desk()
    assert desk.run("submit", inputs, "--idempotency-key", "mine").code == 0
    assert desk.server.asked[1].headers["idempotency-key"] == "mine"


def test_json_is_the_batch_alone(inputs: Path) -> None:
    ran = Desk().run("submit", inputs, "--json")
    assert (ran.code, ran.err) == (0, "")
    (batch,) = ran.objects
    assert (batch["id"], batch["status"], batch["object"]) == (BATCH_ID, "validating", "batch")


def test_a_person_sees_the_upload_and_what_to_do_next(inputs: Path) -> None:
    desk = Desk(error_screen=io.StringIO())
    ran = desk.run("submit", inputs)
    assert ran.out == f"{BATCH_ID}\n"
    assert ran.err == f"Watch it by `batchmill watch {BATCH_ID}`.\n"
    assert desk.error_screen is not None
    assert "Uploading in.jsonl" in desk.error_screen.getvalue()
    size = inputs.stat().st_size
    assert f"{size}/{size} bytes" in desk.error_screen.getvalue()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("none.jsonl",), "none.jsonl"),
        (("{in}", "--metadata", "a"), "--metadata takes key=value, not 'a'"),
        (("{in}", "--metadata", "=a"), "--metadata takes key=value"),
        (("{in}", "-o", "{in}"), "is named twice"),
        (("{in}", "-o", "{dir}/x", "--errors", "{dir}/x"), "is named twice"),
        (("{in}", "-o", "{dir}/no/x"), "cannot be written"),
        (("{in}", "-o", "{dir}"), "cannot be written"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_sent(
    inputs: Path, args: tuple[str, ...], words: str
) -> None:
    desk = Desk()
    places = {"{in}": str(inputs), "{dir}": str(inputs.parent)}
    filled = [arg.replace("{in}", places["{in}"]).replace("{dir}", places["{dir}"]) for arg in args]
    ran = desk.run("submit", *filled)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("batchmill: ")
    assert words in ran.err
    assert ran.err.count("\n") == 1
    assert desk.server.asked == []


# --- --wait ---


def test_wait_watches_and_writes_both_files(inputs: Path) -> None:
    desk = Desk()
    desk.server.files["out"] = b'{"custom_id":"1"}\n'
    desk.server.files["err"] = b'{"custom_id":"2"}\n'
    desk.server.states = [
        state("in_progress", 1, total=2),
        state("completed", 1, 1, 2, output_file_id="out", error_file_id="err"),
    ]
    out, err = inputs.with_name("out.jsonl"), inputs.with_name("err.jsonl")
    ran = desk.run("submit", inputs, "--wait", "-o", out, "--errors", err)
    assert ran.code == 1
    assert ran.out == (
        f"{BATCH_ID}\n"
        f"{BATCH_ID}: in_progress, 1 of 2 requests\n"
        f"{BATCH_ID}: completed, 2 of 2 requests, 1 failed\n"
    )
    assert ran.err == f"Wrote 1 result to {out}.\nWrote 1 error line to {err}.\n"
    assert out.read_bytes() == b'{"custom_id":"1"}\n'
    assert err.read_bytes() == b'{"custom_id":"2"}\n'


def test_wait_ends_with_0_where_all_is_well(inputs: Path) -> None:
    ran = Desk().run("submit", inputs, "--wait")
    assert ran.code == 0
    assert ran.out.endswith(": completed, 2 of 2 requests\n")


def test_an_output_is_waited_for_without_being_told(inputs: Path) -> None:
    desk = Desk()
    desk.server.files["out"] = b"{}\n"
    desk.server.states = [state("completed", 1, 0, 1, output_file_id="out")]
    ran = desk.run("submit", inputs, "-o", "-")
    assert (ran.code, ran.out) == (0, "{}\n")
    assert ran.err.splitlines() == [BATCH_ID, f"{BATCH_ID}: completed, 1 of 1 request"]


def test_json_and_wait_print_the_batch_at_its_end_alone(inputs: Path) -> None:
    desk = Desk()
    desk.server.states = [state("in_progress", total=2), state("completed", 2, total=2)]
    ran = desk.run("submit", inputs, "--wait", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert [one["status"] for one in ran.objects] == ["completed"]


def test_a_refused_input_tells_its_faults_by_line_and_writes_nothing(inputs: Path) -> None:
    desk = Desk()
    faults = [
        {"code": "invalid_json_line", "message": "Not JSON.", "param": None, "line": 2},
        {"code": "empty_file", "message": "Empty.", "param": None, "line": None},
    ]
    desk.server.states = [state("failed", errors={"object": "list", "data": faults})]
    out = inputs.with_name("out.jsonl")
    ran = desk.run("submit", inputs, "-o", out)
    assert ran.code == 1
    assert ran.out.splitlines()[1:] == [
        f"{BATCH_ID}: failed, 2 faults",
        f"{inputs}:2: invalid_json_line: Not JSON.",
        f"{inputs}: empty_file: Empty.",
    ]
    assert not out.exists()


def test_a_server_that_restarts_after_the_create_is_waited_for(inputs: Path) -> None:
    desk = Desk()
    desk.server.troubles = [lambda _: None, lambda _: None, refuse_connection, refuse_connection]
    ran = desk.run("submit", inputs, "--wait")
    assert ran.code == 0
    assert ran.err.count("Cannot reach") == 1
