"""What batchmill tells its operator: a log of facts, and metrics.

Neither ever holds content. Nothing here is global but the process's log.
"""

from batchmill.telemetry.exposition import (
    CONTENT_TYPE,
    label_exposition,
    merge_expositions,
    read_snapshot,
    render,
    write_snapshot,
)
from batchmill.telemetry.facts import FIELDS, Fact
from batchmill.telemetry.logs import bound, configure_logging, get_logger
from batchmill.telemetry.metrics import (
    BatchMetrics,
    EngineMetrics,
    HttpMetrics,
    JournalMetrics,
    LaneMetrics,
    MoneyMetrics,
    WebhookMetrics,
    engine_metrics,
    http_metrics,
)

__all__ = [
    "CONTENT_TYPE",
    "FIELDS",
    "BatchMetrics",
    "EngineMetrics",
    "Fact",
    "HttpMetrics",
    "JournalMetrics",
    "LaneMetrics",
    "MoneyMetrics",
    "WebhookMetrics",
    "bound",
    "configure_logging",
    "engine_metrics",
    "get_logger",
    "http_metrics",
    "label_exposition",
    "merge_expositions",
    "read_snapshot",
    "render",
    "write_snapshot",
]
