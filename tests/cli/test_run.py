"""``batchmill run`` as a person uses it: in a process of its own, against a mock upstream."""

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

DEADLINE = 120
SLOTS = 8


class Mock:
    """A started ``batchmill mock-upstream``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._root = url.removesuffix("/v1")

    def stats(self) -> dict[str, Any]:
        answer: dict[str, Any] = httpx2.get(f"{self._root}/stats", trust_env=False).json()
        return answer

    def wait_for(self, requests: int) -> None:
        """Return when so many requests have come."""
        end = time.monotonic() + DEADLINE
        while self.stats()["requests"] < requests:
            assert time.monotonic() < end, "the requests did not come"


@contextmanager
def mock_upstream(*options: str) -> Iterator[Mock]:
    command = [sys.executable, "-m", "batchmill", "mock-upstream", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Mock(process.stdout.readline().strip())
        finally:
            process.terminate()


def command(folder: Path, name: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "batchmill", "run", str(folder / name), *options]


def run(folder: Path, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, name, *options),
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


def write_input(folder: Path, lines: int) -> None:
    requests = (
        {
            "custom_id": f"r{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "any", "messages": [{"role": "user", "content": f"say {number}"}]},
        }
        for number in range(lines)
    )
    (folder / "in.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in requests))


def read_ids(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_text().splitlines()]


def test_every_line_is_answered_in_the_order_of_the_input(tmp_path: Path) -> None:
    write_input(tmp_path, 120)
    out = tmp_path / "out.jsonl"
    with mock_upstream() as mock:
        ended = run(tmp_path, "in.jsonl", "-o", str(out), "--upstream", mock.url)
    assert ended.returncode == 0, ended.stderr
    assert read_ids(out) == [f"r{number}" for number in range(120)]
    assert "120 answers" in ended.stderr
    assert not (tmp_path / "out.jsonl.batchmill").exists()
    assert not (tmp_path / "out.errors.jsonl").exists()


def test_failed_lines_go_to_a_file_of_their_own(tmp_path: Path) -> None:
    write_input(tmp_path, 3)
    with (tmp_path / "in.jsonl").open("a") as file:
        body = {"model": "any", "stream": True, "messages": []}
        url = "/v1/chat/completions"
        bad = {"custom_id": "bad", "method": "POST", "url": url, "body": body}
        file.write(json.dumps(bad) + "\n")
    out = tmp_path / "out.jsonl"
    # a server of another model than the lines ask for answers every one with 404
    with mock_upstream("--model", "other") as mock:
        ended = run(tmp_path, "in.jsonl", "-o", str(out), "--upstream", mock.url)
    assert ended.returncode == 1
    assert out.read_bytes() == b""
    assert read_ids(tmp_path / "out.errors.jsonl") == ["r0", "r1", "r2", "bad"]


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, number: signal.Signals) -> None:
    write_input(tmp_path, 600)
    out = tmp_path / "out.jsonl"
    options = ("-o", str(out), "--max-in-flight", str(SLOTS))
    with mock_upstream("--latency", "0.02") as mock:
        words = command(tmp_path, "in.jsonl", *options, "--upstream", mock.url)
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as first:
            mock.wait_for(200)
            first.send_signal(number)
            _, told = first.communicate(timeout=DEADLINE)
        assert not out.exists()
        second = run(tmp_path, "in.jsonl", *options, "--upstream", mock.url)
        stats = mock.stats()
    assert second.returncode == 0, second.stderr
    assert read_ids(out) == [f"r{number}" for number in range(600)]
    if number != signal.SIGKILL:
        assert first.returncode == 130
        assert "Run the same command again to go on" in told
        assert stats["requests"] == 600  # what was in flight was waited for
    # a kill loses what was in flight, and what was answered within one group of the journal
    assert stats["requests"] < 600 + 200


def test_a_table_goes_in_and_a_table_comes_out(tmp_path: Path) -> None:
    table = "id,question\na,What is red?\nb,What is blue?\n"
    (tmp_path / "in.csv").write_text(table)
    out = tmp_path / "out.csv"
    columns = ("--id-column", "id", "--prompt-column", "question", "--model", "m")
    with mock_upstream() as mock:
        ended = run(tmp_path, "in.csv", "-o", str(out), "--upstream", mock.url, *columns)
    assert ended.returncode == 0, ended.stderr
    with out.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["custom_id"] for row in rows] == ["a", "b"]
    assert all(row["content"] for row in rows)


def test_a_faulty_file_is_not_run(tmp_path: Path) -> None:
    write_input(tmp_path, 2)
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write("{not json}\n")
    with mock_upstream() as mock:
        ended = run(tmp_path, "in.jsonl", "-o", str(tmp_path / "o.jsonl"), "--upstream", mock.url)
        assert mock.stats()["requests"] == 0
    assert ended.returncode == 1
    assert "line 3: This line is not parseable as valid JSON." in ended.stderr
    assert not (tmp_path / "o.jsonl").exists()
    assert not (tmp_path / "o.jsonl.batchmill").exists()


def test_a_finished_output_is_not_overwritten_unasked(tmp_path: Path) -> None:
    write_input(tmp_path, 2)
    out = tmp_path / "out.jsonl"
    out.write_text("precious\n")
    with mock_upstream() as mock:
        refused = run(tmp_path, "in.jsonl", "-o", str(out), "--upstream", mock.url)
        assert refused.returncode == 2
        assert out.read_text() == "precious\n"
        forced = run(tmp_path, "in.jsonl", "-o", str(out), "--upstream", mock.url, "--force")
    assert forced.returncode == 0
    assert read_ids(out) == ["r0", "r1"]


def test_an_unfinished_run_is_not_mixed_up_with_another_input(tmp_path: Path) -> None:
    write_input(tmp_path, 300)
    options = ("-o", str(tmp_path / "out.jsonl"), "--max-in-flight", "2")
    with mock_upstream("--latency", "0.05") as mock:
        words = command(tmp_path, "in.jsonl", *options, "--upstream", mock.url)
        with subprocess.Popen(words, stderr=subprocess.DEVNULL) as first:
            mock.wait_for(1)
            first.kill()
        write_input(tmp_path, 5)
        ended = run(tmp_path, "in.jsonl", *options, "--upstream", mock.url)
    assert ended.returncode == 2
    assert "unfinished run of another input" in ended.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--upstream", "ftp://nowhere"), "url"),
        (("--upstream", "http://127.0.0.1:9/v1", "--upstream-key-env", "NO_SUCH_KEY"), "NO_SUCH"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, options: tuple[str, ...], told: str) -> None:
    write_input(tmp_path, 1)
    ended = run(tmp_path, "in.jsonl", "-o", str(tmp_path / "o.jsonl"), *options)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
