"""Bounded memory: the largest file that is accepted goes through, and the server stays small."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from memory_meter import MB, look, metered
from memory_server import MODEL, Server, serving

BOUND = 200 * MB

pytestmark = pytest.mark.slow


def write_input(path: Path, lines: int, line_bytes: int) -> None:
    """``lines`` requests of ``line_bytes`` each, their newlines included."""
    with path.open("w") as file:
        for number in range(lines):
            file.write(_line(number, line_bytes - 1 - len(_line(number, 0))) + "\n")


def _line(number: int, padding: int) -> str:
    message = {"role": "user", "content": f"Question {number}? " + "word " * (padding // 5)}
    message["content"] += "." * (padding % 5)
    body = {"model": MODEL, "messages": [message]}
    url = "/v1/chat/completions"
    return json.dumps({"custom_id": f"c{number:05d}", "method": "POST", "url": url, "body": body})


def upload(server: Server, path: Path) -> str:
    """Upload the file in a stream; its id."""
    with path.open("rb") as file:
        answer = server.client.post("/files", data={"purpose": "batch"}, files={"file": file})
    return str(answer.raise_for_status().json()["id"])


def download(server: Server, file_id: object) -> Iterator[str]:
    """The custom_id of each line of a file, which is read in a stream."""
    with server.client.stream("GET", f"/files/{file_id}/content") as response:
        for line in response.raise_for_status().iter_lines():
            yield json.loads(line)["custom_id"]


@pytest.mark.parametrize(
    ("lines", "line_bytes"),
    [pytest.param(50_000, 10_000, id="most-lines"), pytest.param(84, 5_900_000, id="long-lines")],
)
def test_500_mb_go_through_in_less_than_200_mb(
    tmp_path: Path, record_property: Callable[[str, object], None], lines: int, line_bytes: int
) -> None:
    """Upload, validation, run, delivery and download, with all processes added up all along."""
    source = tmp_path / "input.jsonl"
    write_input(source, lines, line_bytes)
    assert source.stat().st_size == lines * line_bytes
    with serving(tmp_path) as server, metered(server.pids) as meter:
        idle = look(server.pids())
        assert set(idle.parts) == {"supervisor", "engine", "api"}
        meter.phase = "upload"
        file_id = upload(server, source)
        meter.phase = "batch"
        batch = server.run(file_id)
        assert batch["request_counts"] == {"total": lines, "completed": lines, "failed": 0}
        meter.phase = "download"
        got = list(download(server, batch["output_file_id"]))
        assert got == [f"c{number:05d}" for number in range(lines)]
        assert set(look(server.pids()).parts) == {"supervisor", "engine", "api"}
    figures = {"idle": idle, **meter.peaks}
    for phase, hold in figures.items():
        record_property(f"memory_{phase}", str(hold))
        sys.stdout.write(f"{phase}: {hold}\n")
    assert meter.largest().pss < BOUND, f"{meter.largest()} after {meter.looks} looks"
