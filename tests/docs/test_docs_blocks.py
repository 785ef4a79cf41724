"""The blocks of the pages do what the pages say."""

import json
import os
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from docs_pages import PAGES, Block, blocks_of, name_of, read

from batchmill.cli.check import examine
from batchmill.config import load_settings
from batchmill.domain.catalog import Catalog
from batchmill.domain.limits import Limits, Profile
from batchmill.domain.lines import LineRules

pytest_plugins = ["docs_servers"]

_DEADLINE = 240
_BORDER = "=== end of a block ==="

RUNNABLE = [page for page in PAGES if any(block.mark == "run" for block in blocks_of(page))]


@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_marked_blocks_run(page: Path, tmp_path: Path, server_url: str, upstream_url: str) -> None:
    """Every block that is marked so runs, in order, in a folder of its own."""
    places = {"http://127.0.0.1:8080": server_url, "http://127.0.0.1:8000": upstream_url}
    blocks = [block for block in blocks_of(page) if block.mark]
    script = "\n".join(["set -eu", *(_shell(block) for block in blocks if block.mark == "run")])
    for shown, real in places.items():
        script = script.replace(shown, real)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=_environment(tmp_path, server_url),
        capture_output=True,
        text=True,
        timeout=_DEADLINE,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    _compare_outputs(blocks, done.stdout.split(f"{_BORDER}\n"))


def _shell(block: Block) -> str:
    text = block.text
    if block.language == "python":
        text = f"python - <<'END OF PYTHON'\n{text}END OF PYTHON\n"
    if block.code:
        text = f"code=0; (\n{text}) || code=$?\n[ $code = {block.code} ]\n"
    return f"{text}echo '{_BORDER}'"


def _environment(home: Path, server_url: str) -> dict[str, str]:
    """What a reader has: the command on the path, and a server where the client verbs look."""
    plain = {name: text for name, text in os.environ.items() if not name.startswith("BATCHMILL_")}
    return {
        **plain,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BATCHMILL_SERVER_URL": f"{server_url}/v1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def _compare_outputs(blocks: list[Block], outputs: list[str]) -> None:
    ran = -1
    for block in blocks:
        if block.mark == "run":
            ran += 1
        else:
            assert outputs[ran] == block.text


def test_some_blocks_run() -> None:
    """The pages that a newcomer follows are among those whose blocks are run."""
    names = {name_of(page) for page in RUNNABLE}
    assert {"README.md", "docs/tutorial/first-batch.md"} <= names


def _blocks(language: str) -> list[object]:
    return [
        pytest.param(block.text, id=f"{name_of(page)}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks_of(page))
        if block.language == language
    ]


@pytest.mark.parametrize("text", _blocks("toml"))
def test_configurations_are_accepted(text: str, tmp_path: Path) -> None:
    """Every configuration on a page is one that the server starts with."""
    file = tmp_path / "batchmill.toml"
    file.write_text(text)
    keys = dict.fromkeys(re.findall(r'api_key_env = "(\w+)"', text), "secret")
    keys |= dict.fromkeys(re.findall(r'proxy_auth_env = "(\w+)"', text), "user:secret")
    databases = re.findall(r'database_env = "(\w+)"', text)
    keys |= dict.fromkeys(databases, "postgresql://batchmill@db.internal/batchmill")
    assert load_settings(file=file, env=keys, flags={}).settings


@pytest.mark.parametrize("text", _blocks("json"))
def test_json_can_be_read(text: str) -> None:
    """Every block of JSON is JSON: one value, or one a line."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        assert all(isinstance(json.loads(line), dict) for line in text.splitlines())


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_requests_are_good(page: Path) -> None:
    """Every request line on a page would pass the validation."""
    lines = [
        line
        for line in read(page).splitlines()
        if line.startswith('{"custom_id"') and '"method"' in line
    ]
    for line in lines:
        rules = LineRules("", Catalog(accepts_any=True), Profile.QWEN, Limits())
        assert not examine(BytesIO(line.encode()), "a page", rules).errors
