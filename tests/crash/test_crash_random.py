"""Processes are killed at random, again and again, while one batch runs."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_batch import Trial, read_all_files, revive
from crash_server import ROLES, Server, serving
from crash_upstream import Upstream, upstream_running

from batchmill.upstream.mock import Script

TARGETS = (*ROLES, "all", "engine", "supervisor then api", "api then supervisor")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_running(Script(latency=0.02)) as running:
        yield running


@pytest.mark.parametrize(
    ("seed", "lines", "rounds"),
    [
        (1, 600, 4),
        pytest.param(2, 2_000, 12, marks=pytest.mark.slow),
        pytest.param(3, 2_000, 12, marks=pytest.mark.slow),
    ],
)
def test_a_batch_survives_random_kills(
    seed: int, lines: int, rounds: int, upstream: Upstream, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    with serving(tmp_path, upstream.url, shard_lines=100) as server:
        trial = Trial(f"random-{seed}", lines, server, upstream)
        trial.submit()
        for _ in range(rounds):
            upstream.wait_for_more(rng.randint(20, 100))
            strike(server, rng.choice(TARGETS))
            upstream.hold()  # what is still alive would end the batch before the next kill
            trial.gather_evidence()
            revive(server)
            upstream.release()
        trial.check()
        assert read_all_files(server.client)
        server.stop()


def strike(server: Server, target: str) -> None:
    """Kill what ``target`` names; the second of two while the first is being replaced."""
    if target == "all":
        server.kill_all()
        return
    for role in target.split(" then "):
        server.kill_any(role)
