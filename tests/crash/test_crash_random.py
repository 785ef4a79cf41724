"""Processes are killed at random, again and again, while one batch runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_server import serving
from crash_strikes import Ordeal, endure
from crash_upstream import Upstream, upstream_running

from batchmill.upstream.mock import Script


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with upstream_running(Script(latency=0.02)) as running:
        yield running


@pytest.mark.parametrize(
    "ordeal",
    [
        Ordeal(seed=1, lines=600, strikes=4),
        pytest.param(Ordeal(seed=2, lines=2_000, strikes=12), marks=pytest.mark.slow),
        pytest.param(Ordeal(seed=3, lines=2_000, strikes=12), marks=pytest.mark.slow),
    ],
    ids=lambda ordeal: f"seed {ordeal.seed}",
)
def test_a_batch_survives_random_kills(ordeal: Ordeal, upstream: Upstream, tmp_path: Path) -> None:
    with serving(tmp_path, upstream.url, shard_lines=100) as server:
        endure(ordeal, server, upstream)
