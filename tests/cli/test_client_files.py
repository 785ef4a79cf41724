"""``batchmill files …``, in text and in JSON."""

import io
from pathlib import Path

from client_fake import NOON, Desk, FakeServer, fault, request_line

from batchmill.cli.client_view import show_time


def full() -> FakeServer:
    return FakeServer(files={"file-batch-1": b"{}\n{}\n", "file-batch-2": b"{}"})


def test_an_upload_prints_its_id(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(request_line("1"))
    desk = Desk()
    ran = desk.run("files", "upload", file)
    assert (ran.code, ran.out, ran.err) == (0, "file-batch-1\n", "")
    assert desk.server.files["file-batch-1"] == file.read_bytes()
    assert desk.run("files", "upload", file, "--json").objects[0]["id"] == "file-batch-2"
    assert desk.run("files", "upload", "-", stdin="x").out == "file-batch-3\n"


def test_an_upload_is_sent_as_it_is_and_refused_by_the_server_alone(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes(b"")
    desk = Desk()
    desk.server.troubles = [lambda _: fault(400, "The file is empty.")]
    ran = desk.run("files", "upload", file)
    assert (ran.code, ran.out, ran.err) == (2, "", "batchmill: The file is empty.\n")


def test_a_list_is_a_line_a_file() -> None:
    desk = Desk(full())
    ran = desk.run("files", "list", "--purpose", "batch", "--after", "file-batch-1")
    assert ran.out == f"file-batch-2\tbatch\t2\t{show_time(NOON)}\tin.jsonl\n"
    assert desk.server.asked[0].url.params["purpose"] == "batch"
    ran = Desk(full()).run("files", "list", "--limit", 1, "--json")
    assert [one["id"] for one in ran.objects] == ["file-batch-1"]
    assert ran.err == "There are more: go on by --after file-batch-1.\n"
    screen = io.StringIO()
    Desk(full(), screen=screen).run("files", "list")
    assert "purpose" in screen.getvalue()


def test_show_prints_every_field() -> None:
    ran = Desk(full()).run("files", "show", "file-batch-1")
    assert dict(line.split(None, 1) for line in ran.out.splitlines()) == {
        "id": "file-batch-1",
        "object": "file",
        "bytes": "6",
        "created_at": show_time(NOON),
        "expires_at": "-",
        "filename": "in.jsonl",
        "purpose": "batch",
    }
    assert Desk(full()).run("files", "show", "file-batch-1", "--json").objects[0]["bytes"] == 6


def test_delete_deletes() -> None:
    desk = Desk(full())
    ran = desk.run("files", "delete", "file-batch-1")
    assert (ran.code, ran.out, ran.err) == (0, "", "Deleted file-batch-1.\n")
    ran = desk.run("files", "delete", "file-batch-2", "--json")
    assert ran.objects == [{"id": "file-batch-2", "object": "file", "deleted": True}]
    assert desk.server.files == {}
    ran = desk.run("files", "delete", "file-batch-2")
    assert (ran.code, ran.err) == (2, "batchmill: No such File object: file-batch-2\n")


def test_download_writes_to_stdout_or_a_file(tmp_path: Path) -> None:
    assert Desk(full()).run("files", "download", "file-batch-1").out == "{}\n{}\n"
    out = tmp_path / "out.jsonl"
    ran = Desk(full()).run("files", "download", "file-batch-1", "-o", out)
    assert (ran.code, ran.out, ran.err) == (0, "", f"Wrote 2 lines to {out}.\n")
    ran = Desk(full()).run("files", "download", "file-batch-2", "-o", out, "--json")
    assert [one["id"] for one in ran.objects] == ["file-batch-2"]
    assert out.read_bytes() == b"{}"
    ran = Desk(full()).run("files", "download", "none", "-o", tmp_path / "none")
    assert (ran.code, ran.err) == (2, "batchmill: No such File object: none\n")
    assert not (tmp_path / "none").exists()
