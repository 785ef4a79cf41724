"""What batchmill tells its operator: a log of facts, and metrics.

Neither ever holds content. Nothing here is global but the process's log.
"""

from batchmill.telemetry.facts import FIELDS, Fact
from batchmill.telemetry.logs import bound, configure_logging, get_logger
from batchmill.telemetry.metrics import (
    CONTENT_TYPE,
    EngineMetrics,
    HttpMetrics,
    engine_metrics,
    http_metrics,
    merge_expositions,
    read_snapshot,
    render,
    write_snapshot,
)

__all__ = [
    "CONTENT_TYPE",
    "FIELDS",
    "EngineMetrics",
    "Fact",
    "HttpMetrics",
    "bound",
    "configure_logging",
    "engine_metrics",
    "get_logger",
    "http_metrics",
    "merge_expositions",
    "read_snapshot",
    "render",
    "write_snapshot",
]
