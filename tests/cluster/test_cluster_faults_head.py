"""The whole of Ray lost at once, with its head: batches go on from the stores elsewhere."""

from pathlib import Path

import pytest
from bucket_server import new_place
from cluster_faults import Chart, Record, Row, Trial
from crash_upstream import upstream_running
from postgres_server import running
from ray_house import SECRET, RayHouse, nodes_running
from ray_nodes import RayNodes
from redis_server import NEEDS_REDIS, RedisServer, redis_running

from batchmill.cluster.ray_control import kill_all
from batchmill.cluster.ray_session import connected
from batchmill.upstream.mock import Script

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SLOTS = 16
LINES = 800


def test_a_cluster_that_is_lost_with_its_head_costs_what_was_in_flight(
    tmp_path: Path, record_property: Record
) -> None:
    row = lost_and_back(tmp_path, "Ray lost with its head", record_property)
    assert row.sent_again <= 2 * SLOTS


@NEEDS_REDIS
def test_where_redis_knows_of_it_the_deployment_comes_back_with_the_nodes(
    tmp_path: Path, record_property: Record
) -> None:
    with redis_running() as redis:
        fault = "Ray lost with its head, but not Redis"
        row = lost_and_back(tmp_path, fault, record_property, redis)
    assert row.sent_again <= 2 * SLOTS


def lost_and_back(
    folder: Path, fault: str, record: Record, redis: RedisServer | None = None
) -> Row:
    """Every process of a cluster ends under a batch, and another cluster comes in its place.

    The operator has nothing to do there but where no Redis knew of the deployment.
    """
    with running() as database, upstream_running(Script(require_key=SECRET, latency=0.2)) as mock:
        url = database.url(database.create())
        with nodes_running(2, redis) as nodes:
            house = RayHouse(folder, nodes, database, url, new_place(), mock, SLOTS)
            with connected(house.session):
                house.command("start")
                house.until_ready(2)
                chart = Chart(house)
                chart.start()
                trial = Trial(house, house.submit(LINES), chart, LINES)
                mock.wait_for_more(LINES // 4)
                doomed = [house.dispatcher(), *house.workers()]
            trial.strike()
            for actor in doomed:
                house.kill(actor)
            cut_all(nodes)
        with nodes_running(2, redis) as nodes:
            house.move(nodes)
            with connected(house.session):
                if redis is None:
                    house.command("start")
                try:
                    return trial.end(fault, record)
                finally:
                    chart.stop()
                    kill_all(house.session)


def cut_all(nodes: RayNodes) -> None:
    """Every node ends at once; this process has left the cluster before."""
    cluster = nodes._cluster
    for node in (*cluster.worker_nodes, cluster.head_node):
        cluster.remove_node(node, allow_graceful=False)
