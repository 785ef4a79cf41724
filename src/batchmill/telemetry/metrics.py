"""The metrics, and how the engine's numbers get to the API's ``/metrics``.

The two processes count different things: ``HttpMetrics`` belongs to the API's,
``EngineMetrics`` to the engine's, which leaves a snapshot in a file that the
API's process appends to its own. No metric stands in both sets. Labels are
models, upstreams and outcomes: never ids, of which there is no end.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_HEAD = b"\n# HELP "
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)


@dataclass(frozen=True, slots=True)
class HttpMetrics:
    """What the API's process counts."""

    registry: CollectorRegistry
    requests: Counter  # method, route, status
    request_seconds: Histogram  # route


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """What the engine's process counts."""

    registry: CollectorRegistry
    lines_settled: Counter  # model, outcome: completed or failed
    lines_retried: Counter  # model, reason
    lines_resent: Counter
    in_flight: Gauge  # upstream
    upstream_up: Gauge  # upstream: 1 or 0
    shards: Gauge  # status
    batches: Gauge  # status
    snapshot_time: Gauge


def http_metrics() -> HttpMetrics:
    """Fresh metrics in a registry of their own."""
    own = _registry("api")
    return HttpMetrics(
        registry=own,
        requests=Counter(
            "batchmill_http_requests",
            "Answered HTTP requests",
            ("method", "route", "status"),
            registry=own,
        ),
        request_seconds=Histogram(
            "batchmill_http_request_seconds",
            "Time from a request's head to the end of its answer",
            ("route",),
            buckets=_REQUEST_BUCKETS,
            registry=own,
        ),
    )


def engine_metrics() -> EngineMetrics:
    """Fresh metrics in a registry of their own."""
    own = _registry("engine")

    def counter(name: str, told: str, *labels: str) -> Counter:
        return Counter(f"batchmill_{name}", told, labels, registry=own)

    def gauge(name: str, told: str, *labels: str) -> Gauge:
        return Gauge(f"batchmill_{name}", told, labels, registry=own)

    return EngineMetrics(
        registry=own,
        lines_settled=counter("lines_settled", "Durably settled lines", "model", "outcome"),
        lines_retried=counter("lines_retried", "Attempts repeated", "model", "reason"),
        lines_resent=counter("lines_resent", "Lines sent again after a crash"),
        in_flight=gauge("in_flight", "Requests that wait for an answer", "upstream"),
        upstream_up=gauge("upstream_up", "Whether an upstream takes requests", "upstream"),
        shards=gauge("shards", "Shards of unfinished batches", "status"),
        batches=gauge("batches", "Unfinished batches", "status"),
        snapshot_time=gauge("engine_snapshot_time_seconds", "When the engine last told its state"),
    )


def render(registry: CollectorRegistry) -> bytes:
    """The exposition text of all metrics in ``registry``."""
    return generate_latest(registry)


def write_snapshot(metrics: EngineMetrics, path: Path, *, now: float) -> None:
    """Replace the file at ``path`` by the engine's numbers; a reader sees the old or the new."""
    metrics.snapshot_time.set(now)
    draft = path.with_name(f"{path.name}.draft")
    draft.write_bytes(render(metrics.registry))
    draft.replace(path)


def read_snapshot(path: Path) -> bytes:
    """The last snapshot; empty where no engine has written one yet."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def merge_expositions(texts: Iterable[bytes]) -> bytes:
    """One exposition of several. Where two tell of the same metric, the earlier text counts."""
    families: dict[bytes, bytes] = {}
    for text in texts:
        for family in _families(text):
            families.setdefault(_name(family), family)
    return b"".join(families.values())


def _registry(process: str) -> CollectorRegistry:
    own = CollectorRegistry()
    # memory, CPU and open files; under a name of its own, as both processes tell them
    ProcessCollector(namespace=f"batchmill_{process}", registry=own)
    return own


def _families(text: bytes) -> Iterable[bytes]:
    """The blocks of a text, each from its ``# HELP`` line to the next."""
    _, *blocks = (b"\n" + text).split(_HEAD)
    return [_HEAD[1:] + block.rstrip(b"\n") + b"\n" for block in blocks]


def _name(family: bytes) -> bytes:
    return family.split(b" ", maxsplit=3)[2]
