"""The whole of Ray lost at once, with its head: batches go on from the stores elsewhere."""

from collections.abc import Callable
from pathlib import Path

import pytest
from bucket_server import new_place
from cluster_faults import Chart, Trial
from crash_upstream import upstream_running
from postgres_server import running
from ray_house import SECRET, RayHouse, nodes_running
from ray_nodes import RayNodes

from batchmill.cluster.ray_control import kill_all
from batchmill.cluster.ray_session import connected
from batchmill.upstream.mock import Script

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SLOTS = 16
LINES = 800


def test_a_cluster_that_is_lost_with_its_head_costs_what_was_in_flight(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    place, folders = new_place(), [tmp_path / name for name in ("lost", "new")]
    for folder in folders:
        folder.mkdir()
    with running() as database, upstream_running(Script(require_key=SECRET, latency=0.2)) as mock:
        url = database.url(database.create())
        with nodes_running(2) as nodes:
            house = RayHouse(folders[0], nodes, database, url, place, mock, SLOTS)
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
        with nodes_running(2) as nodes:
            house = RayHouse(folders[1], nodes, database, url, place, mock, SLOTS)
            with connected(house.session):
                house.command("start")
                try:
                    row = trial.end("Ray lost with its head", record_property)
                finally:
                    chart.stop()
                    kill_all(house.session)
    assert row.sent_again <= 2 * SLOTS


def cut_all(nodes: RayNodes) -> None:
    """Every node ends at once; this process has left the cluster before."""
    cluster = nodes._cluster
    for node in (*cluster.worker_nodes, cluster.head_node):
        cluster.remove_node(node, allow_graceful=False)
