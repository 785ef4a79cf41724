"""``batchmill move`` is killed again and again, and what it moves loses and repeats nothing."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_batch import Trial, read_all_files
from crash_server import Server, serving
from crash_upstream import Upstream, upstream_running

from batchmill.wiring.moved import FILE

LINES = 600

pytestmark = pytest.mark.slow


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_running() as running:
        yield running


class Move:
    """The verb in a process of its own, from a server's folder into another one."""

    def __init__(self, source: Path, target: Path, folder: Path) -> None:
        self.source = source
        self._config = folder / "move.toml"
        self._config.write_text(f"[data]\ndir = {json.dumps(str(target))}\n")

    def start(self) -> "subprocess.Popen[bytes]":
        words = ["move", "--config", str(self._config), "--from", str(self.source)]
        command = [sys.executable, "-m", "batchmill", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def kill_after(self, lines: int) -> bool:
        """Kill it as soon as it has said so much; whether it was still at work."""
        with self.start() as process:
            assert process.stderr is not None
            for _ in range(lines):
                process.stderr.readline()
            process.kill()
        return process.wait() != 0

    def finish(self) -> str:
        """Run it to its end; what it printed."""
        with self.start() as process:
            out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
        return out.decode()


def run_half(server: Server, upstream: Upstream) -> tuple[Trial, dict[str, bytes]]:
    """A batch that has ended, and one that was in the middle when the power was cut."""
    first = Trial("first", 40, server, upstream)
    first.submit()
    first.check()
    trial = Trial("moved", LINES, server, upstream)
    trial.submit()
    upstream.hold_after(LINES // 2)
    files = read_all_files(server.client)
    server.kill_all()
    assert 0 < len(trial.gather_evidence().settled) < LINES
    return trial, files


def test_a_move_is_killed_at_many_places_and_nothing_is_lost(
    upstream: Upstream, tmp_path: Path
) -> None:
    with serving(tmp_path, upstream.url) as server:
        trial, files = run_half(server, upstream)
        move = Move(server.data, tmp_path / "new", tmp_path)
        killed = [move.kill_after(lines) for lines in (1, 2, 4, 8, 12, 16, 20, 22, 24, 26)]
        assert sum(killed) > len(killed) // 2, "most of them were killed at work"
        move.finish()
        server.data = tmp_path / "new"
        server.start()
        upstream.release()
        trial.check()
        found = read_all_files(server.client)
        assert {name: found[name] for name in files} == files


def test_the_old_server_goes_on_after_a_move_that_was_killed(
    upstream: Upstream, tmp_path: Path
) -> None:
    with serving(tmp_path, upstream.url) as server:
        trial, files = run_half(server, upstream)
        move = Move(server.data, tmp_path / "new", tmp_path)
        assert move.kill_after(6)
        server.start()
        upstream.hold_after(LINES // 4)
        server.kill_all()
        assert len(trial.gather_evidence().settled) < LINES
        move.finish()
        assert json.loads((server.data / FILE).read_text())["database"]["ended_at"]
        server.data = tmp_path / "new"
        server.start()
        upstream.release()
        trial.check()
        found = read_all_files(server.client)
        assert {name: found[name] for name in files} == files
