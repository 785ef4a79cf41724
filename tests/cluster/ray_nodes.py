"""A Ray cluster of this test process alone: own folder, own token, no dashboard, short checks.

Nothing is read from or written to where another Ray on the host keeps its
things. Its processes find what tests hand to actors by ``PYTHONPATH``.
"""

import contextlib
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from redis_server import RedisServer

# The health checks that batchmill asks of whoever starts a cluster, see examples/kuberay.
HEALTH = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}

# Ray reads it once in a process, whichever cluster it speaks to.
TOKEN = secrets.token_hex(32)

_HERE = Path(__file__).parent


class RayNodes:
    """A head without a worker, and nodes that come and go."""

    def __init__(self, cluster: Any, folder: Path) -> None:
        self._cluster = cluster
        self.folder = folder

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self) -> Any:
        """One more node; what it is known by."""
        return self._cluster.add_node(
            num_cpus=1, resources={"batchmill": 1}, temp_dir=str(self.folder)
        )

    def cut_power(self, node: Any) -> None:
        """As a power cut: every process of the node is killed."""
        self._cluster.remove_node(node, allow_graceful=False)

    def kill_control(self) -> None:
        """The control plane's process ends by signal 9; nothing starts it again by itself."""
        self._cluster.head_node.kill_gcs_server()

    def start_control(self) -> None:
        """Start it again where it was. What it knew it knows by Redis alone."""
        self._cluster.head_node.start_gcs_server()


@contextlib.contextmanager
def ray_nodes(
    count: int, variables: dict[str, str] | None = None, redis: RedisServer | None = None
) -> Iterator[RayNodes]:
    """So many nodes, whose processes have ``variables`` in their environment.

    The control plane keeps what it knows in ``redis``, or in its memory alone.
    """
    # A socket's path is short: the folder is not below pytest's.
    with tempfile.TemporaryDirectory(prefix="bm-ray-", ignore_cleanup_errors=True) as folder:
        yield from _running(count, Path(folder), variables or {}, _storage(redis))


def _storage(redis: RedisServer | None) -> dict[str, Any]:
    """What the head is told, which is all that ``RAY_REDIS_ADDRESS`` would make of itself."""
    if redis is None:
        return {}
    return {
        "external_addresses": [redis.address, redis.address],
        "num_redis_shards": 1,
        "redis_password": redis.password,
    }


def _running(
    count: int, folder: Path, variables: dict[str, str], storage: dict[str, Any]
) -> Iterator[RayNodes]:
    # Where a driver says which cluster is the present one of this host.
    (folder / "ray").mkdir()
    places = [str(_HERE), *sys.path]
    environment = {
        **HEALTH,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_TMPDIR": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
        **variables,
    }
    # Ray's nodes install a handler of their own.
    on_term = signal.getsignal(signal.SIGTERM)
    with patch.dict(os.environ, environment):
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "include_dashboard": False,
                "temp_dir": str(folder / "ray"),
                "num_cpus": 0,
                **storage,
            },
        )
        nodes = RayNodes(cluster, folder / "ray")
        try:
            for _ in range(count):
                nodes.add()
            yield nodes
        finally:
            cluster.shutdown()  # type: ignore[no-untyped-call]
            signal.signal(signal.SIGTERM, on_term)
