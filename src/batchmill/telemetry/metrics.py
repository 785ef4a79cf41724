"""The metrics: what each process counts, and under which names.

The two processes count different things: ``HttpMetrics`` belongs to the API's,
``EngineMetrics`` to the engine's, in groups by the part that feeds them. No
metric stands in both sets. Labels are models, upstreams and outcomes: never
ids, of which there is no end.
"""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector

from batchmill.telemetry.durations import DurationHistogram

_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)
_ANSWER_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_SYNC_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(frozen=True, slots=True)
class HttpMetrics:
    """What the API's process counts."""

    registry: CollectorRegistry
    requests: Counter  # method, route, status
    request_seconds: Histogram  # route
    received_bytes: Counter  # route
    sent_bytes: Counter  # route
    rate_limited: Counter  # rule


@dataclass(frozen=True, slots=True)
class BatchMetrics:
    """What there is to do, and whether it will be done in time.

    A batch of several models stands under the model ``*``.
    """

    batches: Gauge  # status
    waiting: Gauge  # model
    put_off: Gauge
    at_risk: Gauge
    shards: Gauge  # status
    lines_unfinished: Gauge  # model
    deadline_margin: Gauge  # model


@dataclass(frozen=True, slots=True)
class LaneMetrics:
    """Lines on their way, and the upstreams that answer them."""

    settled: Counter  # model, outcome: completed or failed
    retried: Counter  # model, reason
    resent: Counter
    queued: Gauge  # model
    resting: Gauge  # model
    answer_seconds: DurationHistogram  # model
    in_flight: Gauge  # model, upstream
    in_flight_limit: Gauge  # model, upstream
    in_flight_bound: Gauge  # model, upstream, bound: 1 for one of them
    in_flight_cuts: Counter  # model, upstream
    in_flight_trials: Counter  # model, upstream, outcome: kept or undone
    rejections_borne: Gauge  # model, upstream: from 0 to 1
    upstream_up: Gauge  # model, upstream: 1 or 0
    upstream_faults: Counter  # model, upstream, reason


@dataclass(frozen=True, slots=True)
class JournalMetrics:
    """Results on their way to the disk."""

    lag_seconds: Gauge
    pending_bytes: Gauge
    sync_seconds: Histogram
    storage_full: Gauge
    storage_free_bytes: Gauge


@dataclass(frozen=True, slots=True)
class MoneyMetrics:
    """What was used and charged. ``spend`` is a float, here and nowhere else.

    It is a curve to look at, never a bill.
    """

    tokens: Counter  # model, kind: input, output, and of these cached and reasoning
    spend: Counter  # model, currency
    caps_used: Gauge
    caps_reached: Gauge


@dataclass(frozen=True, slots=True)
class WebhookMetrics:
    """The outbox."""

    tries: Counter  # outcome
    waiting: Gauge
    due: Gauge
    lag_seconds: Gauge


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """What the engine's process counts."""

    registry: CollectorRegistry
    batches: BatchMetrics
    lanes: LaneMetrics
    journal: JournalMetrics
    money: MoneyMetrics
    webhooks: WebhookMetrics
    snapshot_time: Gauge


def http_metrics() -> HttpMetrics:
    """Fresh metrics in a registry of their own."""
    make = _Maker("api")
    return HttpMetrics(
        registry=make.registry,
        requests=make.counter("http_requests", "Answered HTTP requests", "method route status"),
        request_seconds=make.histogram(
            "http_request_seconds",
            "Time from a request's head to the end of its answer",
            _REQUEST_BUCKETS,
            "route",
        ),
        received_bytes=make.counter(
            "http_received_bytes", "Bytes of request bodies, uploads above all", "route"
        ),
        sent_bytes=make.counter(
            "http_sent_bytes", "Bytes of answer bodies, downloads above all", "route"
        ),
        rate_limited=make.counter(
            "http_rate_limited", "Requests refused for coming too often", "rule"
        ),
    )


def engine_metrics() -> EngineMetrics:
    """Fresh metrics in a registry of their own."""
    make = _Maker("engine")
    return EngineMetrics(
        registry=make.registry,
        batches=_batches(make),
        lanes=_lanes(make),
        journal=_journal(make),
        money=_money(make),
        webhooks=_webhooks(make),
        snapshot_time=make.gauge(
            "engine_snapshot_time_seconds", "When the engine last told its state"
        ),
    )


class _Maker:
    """Makes metrics of one process; labels are written in one string."""

    def __init__(self, process: str) -> None:
        self.registry = CollectorRegistry()
        # memory, CPU and open files; under a name of its own, as both processes tell them
        ProcessCollector(namespace=f"batchmill_{process}", registry=self.registry)

    def counter(self, name: str, told: str, labels: str = "") -> Counter:
        return Counter(f"batchmill_{name}", told, labels.split(), registry=self.registry)

    def gauge(self, name: str, told: str, labels: str = "") -> Gauge:
        return Gauge(f"batchmill_{name}", told, labels.split(), registry=self.registry)

    def histogram(
        self, name: str, told: str, buckets: tuple[float, ...], labels: str = ""
    ) -> Histogram:
        return Histogram(
            f"batchmill_{name}", told, labels.split(), buckets=buckets, registry=self.registry
        )

    def durations(
        self, name: str, told: str, label: str, bounds: tuple[float, ...]
    ) -> DurationHistogram:
        return DurationHistogram(
            f"batchmill_{name}", told, label, bounds=bounds, registry=self.registry
        )


def _batches(make: _Maker) -> BatchMetrics:
    gauge = make.gauge
    return BatchMetrics(
        batches=gauge("batches", "Unfinished batches", "status"),
        waiting=gauge("batches_waiting", "Batches that wait for an allowance", "model"),
        put_off=gauge("batches_put_off", "Batches whose last step failed"),
        at_risk=gauge("batches_at_risk", "Batches that will miss their deadline at this rate"),
        shards=gauge("shards", "Shards of unfinished batches", "status"),
        lines_unfinished=gauge("lines_unfinished", "Lines of running batches left to do", "model"),
        deadline_margin=gauge(
            "deadline_margin_seconds", "Least time from an expected end to its deadline", "model"
        ),
    )


def _lanes(make: _Maker) -> LaneMetrics:
    counter, gauge = make.counter, make.gauge
    return LaneMetrics(
        settled=counter("lines_settled", "Settled lines", "model outcome"),
        retried=counter("lines_retried", "Attempts repeated", "model reason"),
        resent=counter("lines_resent", "Lines sent again after a crash"),
        queued=gauge("lines_queued", "Lines in memory that wait for a slot", "model"),
        resting=gauge("lines_resting", "Lines that wait for their next attempt", "model"),
        answer_seconds=make.durations(
            "answer_seconds", "Time of the request that settled a line", "model", _ANSWER_BUCKETS
        ),
        in_flight=gauge("in_flight", "Requests that wait for an answer", "model upstream"),
        in_flight_limit=gauge(
            "in_flight_limit", "Requests that an upstream may hold now", "model upstream"
        ),
        in_flight_bound=gauge(
            "in_flight_bound",
            "Whether this keeps the number in flight where it is",
            "model upstream bound",
        ),
        in_flight_cuts=counter(
            "in_flight_cuts", "Rounds that lowered what an upstream may hold", "model upstream"
        ),
        in_flight_trials=counter(
            "in_flight_trials", "Trials of more in flight", "model upstream outcome"
        ),
        rejections_borne=gauge(
            "rejections_borne_ratio",
            "Part of what an upstream answers that may be rejections without a cut",
            "model upstream",
        ),
        upstream_up=gauge("upstream_up", "Whether an upstream takes requests", "model upstream"),
        upstream_faults=counter(
            "upstream_faults", "Requests without an acceptable answer", "model upstream reason"
        ),
    )


def _journal(make: _Maker) -> JournalMetrics:
    return JournalMetrics(
        lag_seconds=make.gauge("journal_lag_seconds", "Longest wait of a result to be durable"),
        pending_bytes=make.gauge("journal_pending_bytes", "Bytes of results not durable yet"),
        sync_seconds=make.histogram(
            "journal_sync_seconds", "Time to write and sync a group of results", _SYNC_BUCKETS
        ),
        storage_full=make.gauge(
            "storage_full", "Whether results wait for room on the disk, or for the bucket"
        ),
        storage_free_bytes=make.gauge("storage_free_bytes", "Room on the data folder's disk"),
    )


def _money(make: _Maker) -> MoneyMetrics:
    return MoneyMetrics(
        tokens=make.counter("tokens", "Tokens of lines that succeeded", "model kind"),
        spend=make.counter("spend", "What was charged, in the currency", "model currency"),
        caps_used=make.gauge("caps_used_ratio", "Largest used share of any monthly cap"),
        caps_reached=make.gauge("caps_reached", "Monthly caps that are used up"),
    )


def _webhooks(make: _Maker) -> WebhookMetrics:
    return WebhookMetrics(
        tries=make.counter("webhook_tries", "Tries to deliver a webhook", "outcome"),
        waiting=make.gauge("webhooks_waiting", "Webhooks that are not delivered yet"),
        due=make.gauge("webhooks_due", "Webhooks whose time to be sent has come"),
        lag_seconds=make.gauge("webhooks_lag_seconds", "How long the oldest of these is due"),
    )
