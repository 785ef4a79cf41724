"""The official Node client: each of its test files is run by Node's own test runner."""

import os
import subprocess
from pathlib import Path

import pytest
from clients_server import Server

pytest_plugins = ["clients_fixtures"]
TESTS = Path(__file__).parent / "node"
NODE = Path(__file__).parents[2] / ".venv-clients" / "node" / "bin" / "node"
LIMIT = 300


def run_node_tests(name: str, server: Server) -> None:
    """Run one file of Node tests against the server; what fails is shown as Node says it."""
    assert (TESTS / "node_modules").is_dir(), "run ./scripts/install-clients node first"
    env = {**os.environ, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "unused"}
    done = subprocess.run(
        [NODE, "--test", "--test-reporter=spec", name],
        cwd=TESTS,
        env=env,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass 0" not in done.stdout


@pytest.mark.parametrize("name", ["files.test.mjs", "batches.test.mjs", "webhooks.test.mjs"])
def test_the_node_client_works_unchanged(server: Server, name: str) -> None:
    run_node_tests(name, server)


def test_the_node_client_cancels(server: Server) -> None:
    with server.upstream.held():
        run_node_tests("cancel.test.mjs", server)
