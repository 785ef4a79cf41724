"""The examples run as they stand, against a started server."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from clients_server import DEADLINE, MODEL, Server

pytest_plugins = ["clients_fixtures"]
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MODULES = Path(__file__).parent / "node" / "node_modules"
NODE = ROOT / ".venv-clients" / "node" / "bin" / "node"
QUESTIONS = ["What is 2+2?", "Name a colour.", "Who wrote Hamlet?"]


def run(server: Server, folder: Path, *command: str | Path) -> str:
    """What an example prints; it must end well."""
    env = {name: at for name, at in os.environ.items() if not name.startswith("BATCHMILL_")}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    env |= {"BATCHMILL_SERVER_URL": server.url, "MODEL": MODEL}
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_is_run_here() -> None:
    here = Path(__file__).read_text()
    assert all(f'"{one.name}"' in here for one in EXAMPLES.iterdir() if one.is_file())


def test_the_python_client(server: Server, tmp_path: Path) -> None:
    lines = run(server, tmp_path, sys.executable, EXAMPLES / "python_client.py").splitlines()
    assert lines[1:] == ["completed", *(f"{one} You said: {one}" for one in QUESTIONS)]


def test_the_webhook_receiver(server: Server, tmp_path: Path) -> None:
    printed = run(server, tmp_path, sys.executable, EXAMPLES / "webhook_receiver.py")
    assert printed == "batch.completed: 1 of 1\n"


def test_many_batches_at_once(server: Server, tmp_path: Path) -> None:
    printed = run(server, tmp_path, sys.executable, EXAMPLES / "async_many_batches.py")
    lines = sorted(printed.splitlines())
    assert [line.split(":")[0] for line in lines] == ["birds", "cities", "mountains", "rivers"]
    assert all("completed, 5 of 5 answered" in line for line in lines)


def test_the_node_client(server: Server, tmp_path: Path) -> None:
    script = tmp_path / "node_client.mjs"
    script.write_bytes((EXAMPLES / "node_client.mjs").read_bytes())
    (tmp_path / "node_modules").symlink_to(MODULES)
    lines = run(server, tmp_path, NODE, script).splitlines()
    assert lines[1:] == ["completed", *(f"{one} You said: {one}" for one in QUESTIONS)]


def test_curl(server: Server, tmp_path: Path) -> None:
    printed = run(server, tmp_path, EXAMPLES / "curl.sh")
    assert "status completed" in printed
    for question in QUESTIONS[:2]:
        assert f"You said: {question}" in printed


@pytest.mark.parametrize("given", [True, False], ids=["a table", "none"])
def test_a_table_of_questions_becomes_a_table_of_answers(
    server: Server, tmp_path: Path, given: bool
) -> None:
    if given:
        (tmp_path / "questions.csv").write_text("a,First?\nb,Second?\n")
    run(server, tmp_path, EXAMPLES / "csv_to_answers.sh", "questions.csv", "answers.csv")
    with (tmp_path / "answers.csv").open(encoding="utf-8-sig", newline="") as table:
        answers = {row["custom_id"]: row["content"] for row in csv.DictReader(table)}
    first = {"a": "First?", "b": "Second?"}
    made = {"sum": "What is 2+2?", "colour": "Name a colour, please."}
    assert answers == {id_: f"You said: {q}" for id_, q in (first if given else made).items()}
