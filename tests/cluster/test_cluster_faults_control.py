"""Ray's control plane dies alone, on nodes that live on; what it knew is in Redis."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_faults import LINES, SLOTS, WORKERS, Record, running_batch
from postgres_server import running
from ray_house import SECRET, RayHouse, nodes_running, ray_house
from redis_server import NEEDS_REDIS, redis_running

from batchmill.upstream.mock import Script

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), NEEDS_REDIS]

# As many as are sent in some three seconds.
LINES_AWAY = 360
# What is left of them takes longer than a silent worker is waited for.
FEWER_LINES = 1_200


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHouse]:
    folder: Path = tmp_path_factory.mktemp("house")
    script = Script(require_key=SECRET, latency=0.2)
    with (
        redis_running() as redis,
        running() as database,
        nodes_running(WORKERS, redis) as nodes,
        ray_house(folder, nodes, slots=SLOTS, script=script, database=database) as built,
    ):
        built.command("start")
        yield built


def test_a_control_plane_that_restarts_costs_no_line(
    house: RayHouse, record_property: Record
) -> None:
    with running_batch(house, WORKERS, LINES) as trial:
        before = processes(house)
        trial.strike()
        house.nodes.kill_control()
        house.upstream.wait_for_more(LINES_AWAY)
        house.nodes.start_control()
        row = trial.end("Ray's control plane crashed, started again", record_property)
    assert row.sent_again == 0
    house.until_ready(WORKERS)
    assert processes(house) == before


def test_a_batch_ends_without_a_control_plane_even_if_a_worker_dies_meanwhile(
    house: RayHouse, record_property: Record
) -> None:
    with running_batch(house, WORKERS, FEWER_LINES) as trial:
        before, killed = processes(house), house.workers()[0]
        trial.strike()
        house.nodes.kill_control()
        house.kill(killed)
        trial.end("Ray's control plane away until the end, a worker killed", record_property)
    house.nodes.start_control()
    house.until_ready(WORKERS)
    after = processes(house)
    assert before - after == {killed.pid}, "Ray has made another one in its place"
    assert len(after) == len(before)


def processes(house: RayHouse) -> set[int]:
    """Those of the deployment."""
    return {one.pid for one in (house.dispatcher(), *house.workers())}
