"""``batchmill demo`` with the real small model, as ./scripts/demo runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from batchmill.cli.demo import SAMPLE
from batchmill.domain.catalog import Catalog
from batchmill.domain.limits import Limits, Profile
from batchmill.domain.lines import FileCheck, LineCutter, LineRules
from batchmill.upstream.smollm2 import NAME

MARK = "DEMO_TEST_MARK"


def test_the_sample_file_is_good() -> None:
    catalog = Catalog({NAME: frozenset({"/v1/chat/completions"})})
    check = FileCheck(LineRules("/v1/chat/completions", catalog, Profile.OPENAI, Limits()))
    cutter = LineCutter(Limits().max_line_bytes)
    for raw in [*cutter.feed(SAMPLE.read_bytes()), *cutter.finish()]:
        check.check(raw)
    assert check.finish() == ()
    assert check.lines == 24


def test_the_sample_begins_with_the_vendor_s_two_lines() -> None:
    first, second = (json.loads(line) for line in SAMPLE.read_bytes().splitlines()[:2])
    assert [first["custom_id"], second["custom_id"]] == ["1", "2"]
    assert first["body"]["messages"][1]["content"] == "Hello!"
    assert second["body"]["messages"][1]["content"] == "What is 2+2?"


@pytest.mark.slow
def test_the_demo_shows_every_answer_and_leaves_no_process(tmp_path: Path) -> None:
    mark = uuid4().hex
    done = subprocess.run(
        [sys.executable, "-m", "batchmill", "demo"],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        cwd=tmp_path,
        env={**os.environ, MARK: mark, "COLUMNS": "200", "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ids = [json.loads(line)["custom_id"] for line in SAMPLE.read_bytes().splitlines()]
    assert all(one in done.stdout for one in ids)
    assert "batchmill serve --upstream" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert not [process for process in psutil.process_iter() if _has(process, mark)]


def _has(process: psutil.Process, mark: str) -> bool:
    try:
        return bool(process.environ().get(MARK) == mark)
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return False
