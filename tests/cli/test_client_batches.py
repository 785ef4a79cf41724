"""``batchmill list``, ``show``, ``cancel`` and ``results``, in text and in JSON."""

import io
from pathlib import Path

import httpx2
import pytest
from client_fake import (
    BATCH_ID,
    NOON,
    Desk,
    FakeServer,
    a_batch,
    cut_off,
    fault,
    result_lines,
    state,
)

from batchmill.cli.client_view import show_time


def batches(count: int) -> list[dict[str, object]]:
    counts = {"total": 9, "completed": 5, "failed": 1}
    more = {"status": "in_progress", "request_counts": counts, "metadata": {"ds_name": "n\tm"}}
    return [a_batch(f"batch_{number}", **more) for number in range(1, count + 1)]


# --- list ---


def test_a_list_is_a_line_a_batch_with_tabs_between_its_cells() -> None:
    ran = Desk(FakeServer(batches=batches(2))).run("list")
    assert (ran.code, ran.err) == (0, "")
    cells = ("in_progress", "6", "1", "9", show_time(NOON), "n\\tm")
    assert ran.out.splitlines() == ["\t".join((f"batch_{one}", *cells)) for one in (1, 2)]


def test_a_person_sees_a_table() -> None:
    screen = io.StringIO()
    assert Desk(FakeServer(batches=batches(1)), screen=screen).run("list").out == ""
    assert "status" in screen.getvalue().splitlines()[0]
    assert "in_progress" in screen.getvalue().splitlines()[1]


def test_filters_are_the_servers() -> None:
    desk = Desk(FakeServer(batches=batches(3)))
    args = ("--status", "failed", "--status", "expired", "--name", "night", "--after", "batch_1")
    ran = desk.run("list", *args, "--limit", "7")
    assert dict(desk.server.asked[0].url.params) == {
        "status": "failed,expired",
        "ds_name": "night",
        "after": "batch_1",
        "limit": "7",
    }
    assert [line.split("\t")[0] for line in ran.out.splitlines()] == ["batch_2", "batch_3"]


def test_a_long_list_is_asked_for_in_pages() -> None:
    desk = Desk(FakeServer(batches=batches(250)))
    ran = desk.run("list", "--limit", "201", "--json")
    assert [one["id"] for one in ran.objects] == [f"batch_{one}" for one in range(1, 202)]
    assert [one.url.params["limit"] for one in desk.server.asked] == ["100", "100", "1"]
    assert ran.err == "There are more: go on by --after batch_201.\n"


@pytest.mark.parametrize(("limit", "says"), [(4, True), (5, False), (6, False)])
def test_that_there_are_more_is_said_only_where_it_is_so(limit: int, says: bool) -> None:
    ran = Desk(FakeServer(batches=batches(5))).run("list", "--limit", limit)
    assert bool(ran.err) is says
    assert len(ran.out.splitlines()) == min(limit, 5)


def test_an_empty_list_is_nothing() -> None:
    ran = Desk().run("list", "--json")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    null = Desk()
    null.server.troubles = [lambda _: answer('{"object":"list","data":null}')]
    assert null.run("list").out == ""


def answer(text: str) -> httpx2.Response:
    return httpx2.Response(200, text=text)


def test_a_limit_below_1_is_refused() -> None:
    assert Desk().run("list", "--limit", 0).code == 2


# --- show ---


def test_every_field_is_shown_and_faults_come_line_by_line() -> None:
    faults = {"object": "list", "data": [{"code": "c", "message": "Bad.", "line": 3}]}
    more = state("failed", errors=faults, metadata={"ds_name": "a\nb"}, completed_at=None)
    ran = Desk(FakeServer([more])).run("show", BATCH_ID)
    lines = dict(line.split(None, 1) for line in ran.out.splitlines()[:-1])
    assert ran.code == 0
    assert lines["id"] == BATCH_ID
    assert lines["created_at"] == show_time(NOON)
    assert lines["completed_at"] == "-"
    assert lines["request_counts.total"] == "0"
    assert lines["usage.input_tokens"] == "0"
    assert lines["metadata.ds_name"] == "a\\nb"
    assert lines["errors"] == "1 fault"
    assert ran.out.splitlines()[-1] == "line 3: c: Bad."


def test_show_for_a_person_and_in_json() -> None:
    screen = io.StringIO()
    assert Desk(screen=screen).run("show", BATCH_ID).out == ""
    assert f"  {BATCH_ID}" in screen.getvalue()
    (batch,) = Desk().run("show", BATCH_ID, "--json").objects
    assert set(a_batch("x")) <= set(batch)


def test_json_is_one_line_however_the_server_writes_it() -> None:
    desk = Desk()
    desk.server.troubles = [lambda _: answer('{\n  "id": "batch_1",\n  "status": "failed"\n}')]
    assert desk.run("show", BATCH_ID, "--json").out == '{"id":"batch_1","status":"failed"}\n'


def test_an_unknown_batch_is_the_servers_sentence() -> None:
    for verb in ("show", "watch", "cancel", "results"):
        ran = Desk().run(verb, "batch_2/..")
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == "batchmill: No batch found with id 'batch_2/..'.\n"


@pytest.mark.parametrize("bad", ["", ".", ".."])
def test_what_is_no_id_never_becomes_another_path(bad: str) -> None:
    desk = Desk()
    assert desk.run("show", bad).code == 2
    assert desk.server.asked == []


# --- cancel ---


def test_cancel_says_how_the_batch_stands() -> None:
    desk = Desk()
    ran = desk.run("cancel", BATCH_ID)
    assert (ran.code, ran.out) == (0, f"{BATCH_ID}: cancelling, 1 of 9 requests\n")
    assert desk.server.asked[0].read() == b""
    assert Desk().run("cancel", BATCH_ID, "--json").objects[0]["status"] == "cancelling"
    desk.server.troubles = [lambda _: fault(409, "Cannot cancel a batch with status 'failed'.")]
    assert desk.run("cancel", BATCH_ID).code == 2


# --- results ---


def ended(**more: object) -> FakeServer:
    files = {"out": result_lines("1", "2"), "err": result_lines("3").rstrip()}
    ids = {"output_file_id": "out", "error_file_id": "err", **more}
    return FakeServer([state("completed", 2, 1, 3, **ids)], files=files)


def test_results_go_to_stdout_unless_told_otherwise() -> None:
    ran = Desk(ended()).run("results", BATCH_ID)
    assert (ran.code, ran.out.encode(), ran.err) == (0, result_lines("1", "2"), "")
    assert Desk(ended()).run("results", BATCH_ID, "--json").out.encode() == result_lines("1", "2")


def test_both_files_are_written_and_counted(tmp_path: Path) -> None:
    out, err = tmp_path / "out.jsonl", tmp_path / "err.jsonl"
    ran = Desk(ended()).run("results", BATCH_ID, "-o", out, "--errors", err)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == f"Wrote 2 results to {out}.\nWrote 1 error line to {err}.\n"
    assert out.read_bytes() == result_lines("1", "2")
    assert err.read_bytes() == result_lines("3").rstrip()


def test_errors_alone_leave_stdout_empty_for_json(tmp_path: Path) -> None:
    err = tmp_path / "err.jsonl"
    ran = Desk(ended()).run("results", BATCH_ID, "--errors", err, "--json")
    assert [one["id"] for one in ran.objects] == [BATCH_ID]
    assert err.exists()


def test_a_file_that_the_batch_lacks_has_no_lines_and_replaces_an_older_one(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("of last week")
    ran = Desk(ended(output_file_id=None)).run("results", BATCH_ID, "-o", out)
    assert (ran.code, ran.err) == (0, f"Wrote 0 results to {out}.\n")
    assert out.read_bytes() == b""


def test_a_batch_that_runs_has_no_files_yet() -> None:
    ran = Desk(FakeServer([state("in_progress", 1, total=2)])).run("results", BATCH_ID)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"batchmill: Batch {BATCH_ID} is in_progress: ")
    assert "--partial" in ran.err


def test_a_refused_batch_has_no_results_and_says_why(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    faults = {"data": [{"code": "c", "message": "Bad.", "line": 3}]}
    server = FakeServer([state("failed", errors=faults)])
    ran = Desk(server).run("results", BATCH_ID, "-o", out)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"{BATCH_ID}: failed, 1 fault; it has no results.\nline 3: c: Bad.\n"
    assert not out.exists()
    assert Desk(server).run("results", BATCH_ID, "--json").objects[0]["status"] == "failed"


@pytest.mark.parametrize("status", ["expired", "cancelled", "failed"])
def test_what_other_ends_kept_is_fetched(status: str) -> None:
    server = ended()
    server.states[0]["status"] = status
    assert Desk(server).run("results", BATCH_ID).out.encode() == result_lines("1", "2")


def test_a_download_that_breaks_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("before")
    desk = Desk(ended())
    desk.server.troubles = [lambda _: None, cut_off]
    ran = desk.run("results", BATCH_ID, "-o", out)
    assert ran.code == 2
    assert out.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_person_sees_the_download(tmp_path: Path) -> None:
    screen = io.StringIO()
    Desk(ended(), error_screen=screen).run("results", BATCH_ID, "-o", tmp_path / "out.jsonl")
    size = len(result_lines("1", "2"))
    assert f"{size}/{size} bytes" in screen.getvalue()


def test_partial_reads_what_is_settled_page_by_page(tmp_path: Path) -> None:
    server = FakeServer([state("in_progress", 3, 1, 9)])
    server.pages = {
        "completed": [(result_lines("1", "2"), True), (result_lines("3"), True), (b"", True)],
        "failed": [(result_lines("4"), False)],
    }
    out, err = tmp_path / "out.jsonl", tmp_path / "err.jsonl"
    ran = Desk(server).run("results", BATCH_ID, "--partial", "-o", out, "--errors", err)
    assert ran.code == 0
    assert ran.err == f"Wrote 3 results to {out}.\nWrote 1 error line to {err}.\n"
    assert out.read_bytes() == result_lines("1", "2", "3")
    assert err.read_bytes() == result_lines("4")
    assert [one.url.params.get("after") for one in server.asked[1:]] == [None, "1", "2", None]


def test_partial_of_a_server_that_has_no_live_results_ends() -> None:
    desk = Desk(FakeServer([state("in_progress", total=9)]))
    page = httpx2.Response(200, content=b"{}\n", headers={"x-has-more": "true"})
    desk.server.troubles = [lambda _: None, lambda _: page]
    ran = desk.run("results", BATCH_ID, "--partial")
    assert ran.code == 2
    assert "has no live results" in ran.err
