"""What the engine's process leaves for the API's: progress, and that it lives."""

import os
from pathlib import Path

from batchmill.ports import Progress
from batchmill.wiring.signs import ProgressFile, is_alive, write_progress

FAST = Progress(queue_position=None, lines_per_second=12.5)
WAITING = Progress(queue_position=3, lines_per_second=None)


def test_progress_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    write_progress({"batch_a": FAST, "batch_b": WAITING}, path)
    signs = ProgressFile(path)
    assert signs.of("batch_a") == FAST
    assert signs.of("batch_b") == WAITING
    assert signs.of("batch_c") is None


def test_a_renewed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    write_progress({"batch_a": WAITING}, path)
    signs = ProgressFile(path)
    assert signs.of("batch_a") == WAITING
    write_progress({"batch_a": FAST}, path)
    os.utime(path, (1, 1))
    assert signs.of("batch_a") == FAST


def test_without_an_engine_nothing_is_known(tmp_path: Path) -> None:
    assert ProgressFile(tmp_path / "engine.json").of("batch_a") is None
    assert not is_alive(tmp_path / "engine.json", now=0.0)


def test_an_engine_lives_while_its_signs_are_fresh(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    write_progress({}, path)
    os.utime(path, (1000.0, 1000.0))
    assert is_alive(path, now=1009.9)
    assert not is_alive(path, now=1010.0)
