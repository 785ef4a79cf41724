"""What the operator sees of the engine: each figure, where it comes from, and when it is gone."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from engine_fakes import (
    GOOD,
    POLICY,
    T0,
    FakeClock,
    Gate,
    Rig,
    ScriptedTransport,
    a_desk,
    a_shard,
    an_upstream,
    run_rig,
    settle_down,
)
from engine_house import House, open_house, some_lines
from engine_money import PRICES, bill_of
from prometheus_client.parser import text_string_to_metric_families

from batchmill.domain.account import OPERATOR_WORKSPACE
from batchmill.domain.allowance import Measure, Wait
from batchmill.domain.batch import Batch, Counts, Halt, Status
from batchmill.domain.ledger import Payer, Terms
from batchmill.domain.noise import Noise
from batchmill.domain.pricing import Rates, Tariff
from batchmill.domain.usage import ZERO, Usage
from batchmill.engine.batch_run import BatchRun
from batchmill.engine.lane import Lane
from batchmill.engine.metering import Meters, Odometer
from batchmill.engine.notices import Notices
from batchmill.engine.overview import show
from batchmill.engine.purse import Purse, Treasury
from batchmill.ports import Backlog, FaultKind, Record, Reply, Settled, TransportFault
from batchmill.telemetry import EngineMetrics, engine_metrics
from batchmill.upstream.mock import MockUpstream
from batchmill.wiring.parts import Paths

UP = {"model": "m", "upstream": "up"}


def reading(metrics: EngineMetrics, name: str, **labels: str) -> float | None:
    """A figure; None where there is none."""
    return metrics.registry.get_sample_value(f"batchmill_{name}", labels)


# --- lanes ---


def test_a_lane_shows_what_is_in_flight_what_may_be_and_what_queues() -> None:
    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, *range(1, 8))
        await settle_down()
        rig.lane.observe()
        assert rig.reading("batchmill_in_flight", **UP) == 4
        assert rig.reading("batchmill_in_flight_limit", **UP) == 4
        assert rig.reading("batchmill_lines_queued", model="m") == 3

    asyncio.run(run_rig([an_upstream(ScriptedTransport(Gate()), 4)], test))


def test_a_rejection_is_counted_lowers_the_limit_and_lets_its_line_rest() -> None:
    gate = Gate()

    async def test(rig: Rig) -> None:
        a_desk().offer(rig.lane, *range(1, 8))
        await settle_down()
        gate.open(1, Reply(429, b"{}"))
        await settle_down()
        rig.lane.observe()
        faults = rig.reading("batchmill_upstream_faults_total", reason="429", **UP)
        assert (faults, rig.reading("batchmill_in_flight_limit", **UP)) == (1, 6)
        assert rig.reading("batchmill_in_flight_cuts_total", **UP) == 1
        assert rig.reading("batchmill_in_flight_bound", bound="upstream", **UP) == 1
        assert rig.reading("batchmill_in_flight_bound", bound="window", **UP) == 0
        assert rig.reading("batchmill_lines_resting", model="m") == 1
        assert rig.reading("batchmill_in_flight", **UP) == 6

    asyncio.run(run_rig([an_upstream(ScriptedTransport(gate), 10)], test))


def test_what_may_be_rejected_without_a_cut_is_shown() -> None:
    async def test(rig: Rig) -> None:
        upstream = rig.upstreams[0]
        rig.lane.observe()
        assert rig.reading("batchmill_rejections_borne_ratio", **UP) == 0
        upstream.pace = replace(upstream.pace, noise=Noise(0.15, until=math.inf))
        rig.lane.observe()
        assert rig.reading("batchmill_rejections_borne_ratio", **UP) == 0.15

    asyncio.run(run_rig([an_upstream(ScriptedTransport(Gate()), 4)], test))


def test_an_upstream_that_is_paused_may_hold_nothing_and_then_one_line() -> None:
    async def test(rig: Rig) -> None:
        a_desk().offer(rig.lane, 1)
        await settle_down()
        rig.lane.observe()
        assert rig.reading("batchmill_in_flight_limit", **UP) == 0
        assert rig.reading("batchmill_upstream_up", **UP) == 0
        assert rig.reading("batchmill_upstream_faults_total", reason="unreachable", **UP) == 1
        rig.clock.advance(1.0)
        rig.lane.observe()
        assert rig.reading("batchmill_in_flight_limit", **UP) == 1

    transport = ScriptedTransport([TransportFault(FaultKind.UNREACHABLE)])
    asyncio.run(run_rig([an_upstream(transport, 10)], test))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Reply(200, b"<html>"), "bad_answer"),
        (Reply(503, b"{}"), "503"),
        (TransportFault(FaultKind.TIMEOUT), "timeout"),
        (TransportFault(FaultKind.TOO_LARGE), "too_large"),
    ],
)
def test_a_fault_is_counted_by_its_reason(answer: Reply | Exception, reason: str) -> None:
    async def test(rig: Rig) -> None:
        a_desk().offer(rig.lane, 1)
        await settle_down()
        assert rig.reading("batchmill_upstream_faults_total", reason=reason, **UP) == 1

    asyncio.run(run_rig([an_upstream(ScriptedTransport([answer]))], test))


@pytest.mark.parametrize("answer", [GOOD, Reply(400, b'{"error":{}}')])
def test_an_answer_that_settles_a_line_is_no_fault(answer: Reply) -> None:
    async def test(rig: Rig) -> None:
        a_desk().offer(rig.lane, 1)
        await settle_down()
        families = rig.metrics.lanes.upstream_faults.collect()
        assert [sample for family in families for sample in family.samples] == []

    asyncio.run(run_rig([an_upstream(ScriptedTransport([answer]))], test))


def test_the_time_of_an_answer_is_that_of_the_request_that_settled_the_line() -> None:
    gate = Gate()

    async def test(rig: Rig) -> None:
        a_desk().offer(rig.lane, 1, 2)
        await settle_down()
        for seconds in (3.0, 40.0):
            rig.clock.advance(seconds)
            gate.open(1)
            await settle_down()
        assert rig.reading("batchmill_answer_seconds_count", model="m") == 2
        assert rig.reading("batchmill_answer_seconds_sum", model="m") == 46.0
        assert rig.reading("batchmill_answer_seconds_bucket", model="m", le="5.0") == 1

    asyncio.run(run_rig([an_upstream(ScriptedTransport(gate))], test))


def test_a_clock_that_is_set_back_makes_no_answer_end_before_it_began() -> None:
    gate = Gate()

    async def test(rig: Rig) -> None:
        a_desk().offer(rig.lane, 1)
        await settle_down()
        rig.clock.advance(-100.0)
        gate.open()
        await settle_down()
        assert rig.reading("batchmill_answer_seconds_count", model="m") == 1
        assert rig.reading("batchmill_answer_seconds_sum", model="m") == 0.0

    asyncio.run(run_rig([an_upstream(ScriptedTransport(gate))], test))


def test_two_models_at_one_upstream_do_not_hide_each_other() -> None:
    async def main() -> None:
        clock, metrics = FakeClock(), engine_metrics()
        lanes = [
            Lane(
                name,
                [an_upstream(ScriptedTransport(Gate()), 4)],
                policy=POLICY,
                clock=clock,
                jitter=lambda: 0.5,
                metrics=metrics,
            )
            for name in ("m", "n")
        ]
        a_desk().offer(lanes[0], 1, 2, 3)
        a_desk().offer(lanes[1], 1)
        await settle_down()
        for lane in lanes:
            lane.observe()
        shown = [reading(metrics, "in_flight", model=one, upstream="up") for one in ("m", "n")]
        assert shown == [3, 1]
        for lane in lanes:
            await lane.close()

    asyncio.run(main())


# --- batches ---


def a_run(
    name: str = "batch_1",
    *,
    status: Status = Status.IN_PROGRESS,
    counts: Counts = Counts(100, 30, 10),  # noqa: B008 - frozen
    left: float = 1000.0,
    rate: float | None = None,
    model: str | None = "m",
    **more: Any,
) -> BatchRun:
    """A run with so many seconds left and so many lines a second."""
    batch = Batch(
        id=name,
        account="acme",
        input_file_id="file-1",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        status=status,
        created_at=T0,
        expires_at=T0 + left,
        counts=counts,
        model=model,
    )
    run = BatchRun(batch, **more)
    run.rate.lines_per_second = rate
    return run


def shown(*runs: BatchRun, waits: Mapping[str, Wait] | None = None) -> EngineMetrics:
    metrics = engine_metrics()
    show({run.batch.id: run for run in runs}, waits or {}, metrics.batches, T0)
    return metrics


def test_nothing_to_do_shows_zeros_and_no_margin() -> None:
    metrics = shown()
    for status in ("validating", "in_progress", "finalizing", "cancelling"):
        assert reading(metrics, "batches", status=status) == 0
    assert reading(metrics, "batches", status="completed") is None
    assert reading(metrics, "batches_at_risk") == reading(metrics, "batches_put_off") == 0
    assert reading(metrics, "deadline_margin_seconds", model="m") is None


def test_batches_and_shards_are_counted_by_status() -> None:
    run = a_run()
    run.waiting.extend([a_shard(1), a_shard(2)])
    run.running.add(0)
    stumbling = a_run("batch_2", status=Status.VALIDATING, failures=2)
    metrics = shown(run, stumbling)
    assert reading(metrics, "batches", status="in_progress") == 1
    assert reading(metrics, "batches", status="validating") == 1
    assert reading(metrics, "shards", status="waiting") == 2
    assert reading(metrics, "shards", status="running") == 1
    assert reading(metrics, "batches_put_off") == 1


def test_lines_left_are_summed_by_model_over_running_batches_alone() -> None:
    metrics = shown(
        a_run("batch_1"),
        a_run("batch_2", counts=Counts(5, 0, 0)),
        a_run("batch_3", model=None, counts=Counts(7, 1, 0)),
        a_run("batch_4", status=Status.CANCELLING),
    )
    assert reading(metrics, "lines_unfinished", model="m") == 65
    assert reading(metrics, "lines_unfinished", model="*") == 6


def test_the_margin_is_that_of_the_most_endangered_batch_of_a_model() -> None:
    metrics = shown(
        a_run("batch_1", left=1000.0, rate=0.1),  # 60 lines take 600 s
        a_run("batch_2", left=3000.0, rate=0.03),  # they take 2000 s
        a_run("batch_3", left=50.0, model="n"),  # nobody knows
        a_run("batch_4", left=1.0, status=Status.FINALIZING),
    )
    assert reading(metrics, "deadline_margin_seconds", model="m") == pytest.approx(400.0)
    assert reading(metrics, "deadline_margin_seconds", model="n") == pytest.approx(50.0)


@pytest.mark.parametrize(("left", "at_risk"), [(600.0, 0), (599.0, 1)])
def test_a_batch_is_at_risk_once_its_end_is_after_its_deadline(left: float, at_risk: int) -> None:
    metrics = shown(a_run(left=left, rate=0.1), a_run("batch_2", left=9999.0, rate=0.1))
    assert reading(metrics, "batches_at_risk") == at_risk


def test_batches_that_wait_for_an_allowance_are_counted_by_its_model_and_then_gone() -> None:
    wait = Wait("m", Measure.LINES, allowed=1, under_way=1, wanted=5)
    waits = {"batch_1": wait, "batch_2": wait, "batch_gone": wait}
    metrics = shown(a_run("batch_1"), a_run("batch_2"), waits=waits)
    assert reading(metrics, "batches_waiting", model="m") == 2
    show({}, {}, metrics.batches, T0)
    assert reading(metrics, "batches_waiting", model="m") is None
    assert reading(metrics, "lines_unfinished", model="m") is None
    assert reading(metrics, "deadline_margin_seconds", model="m") is None


# --- tokens and money ---

TARIFF = Tariff("CNY", (Rates(input=4 * 10**14, output=8 * 10**14, thinking=0, cached=4 * 10**14),))
USED = Usage(10, 5, 2, 1)
PAYER = Payer("acme", OPERATOR_WORKSPACE)


def test_an_odometer_tells_what_is_new_once_and_not_what_was_there() -> None:
    terms = Terms(PAYER, tariffs={"m": TARIFF})
    meters, metrics = Meters(terms, a_shard()), engine_metrics()
    meters.count([Record(1, True, USED, b"{}")])
    odometer = Odometer(meters)
    meters.count([Record(2, True, USED, b"{}"), Record(3, False, ZERO, b"{}")])
    for _ in range(2):
        odometer.tell(meters, metrics.money)
    tokens = {
        kind: reading(metrics, "tokens_total", model="m", kind=kind)
        for kind in ("input", "output", "cached", "reasoning")
    }
    assert tokens == {"input": 10, "output": 5, "cached": 2, "reasoning": 1}
    # (10 x 0.4 + 5 x 0.8) / 2
    assert reading(metrics, "spend_total", model="m", currency="CNY") == pytest.approx(4.0)


def test_each_model_and_region_has_its_own_meter_whatever_comes_together() -> None:
    shard = replace(a_shard(), models=("m", "n"))
    records = [
        Record(1, True, USED, b"", 0, millis=1, region="eu"),
        Record(2, True, Usage(1), b"", 1, millis=2, retries=1, region="eu"),
        Record(3, False, USED, b"", 0, millis=4, rejections=3),
        Record(4, True, ZERO, b"", 0, millis=8, region="eu"),
    ]
    together, one_by_one = Meters(Terms(PAYER), shard), Meters(Terms(PAYER), shard)
    together.count(records)
    for record in records:
        one_by_one.count([record])
    entries = together.read()
    assert entries == one_by_one.read()
    assert together.calls == len(records)
    assert [(one.model, one.region, one.calls, one.failures) for one in entries] == [
        ("m", "", 1, 1),
        ("m", "eu", 2, 0),
        ("n", "eu", 1, 0),
    ]
    assert [(one.usage, one.millis, one.rejections, one.retries) for one in entries] == [
        (ZERO, 4, 3, 0),
        (USED, 9, 0, 0),
        (Usage(1), 2, 0, 1),
    ]


def test_what_has_no_price_is_counted_and_not_charged() -> None:
    meters = Meters(Terms(PAYER), a_shard())
    odometer, metrics = Odometer(meters), engine_metrics()
    meters.count([Record(1, True, USED, b"{}")])
    odometer.tell(meters, metrics.money)
    assert reading(metrics, "tokens_total", model="m", kind="input") == 10
    assert [family.samples for family in metrics.money.spend.collect()] == [[]]


def test_what_an_earlier_attempt_settled_is_not_told_again() -> None:
    before = Settled({3: Record(3, True, USED, b"{}")}, frozenset({3}))
    desk, metrics = a_desk(before=before), engine_metrics()
    desk.active.observe(metrics.money)
    assert reading(metrics, "tokens_total", model="m", kind="input") is None


@pytest.mark.parametrize(
    ("purses", "used", "reached"),
    [
        ([], 0.0, 0),
        ([(100, 99), (200, 20)], 0.99, 0),
        ([(100, 100), (100, 0)], 1.0, 1),
        ([(100, 130), (0, 0)], 1.3, 2),
    ],
)
def test_the_used_share_is_that_of_the_fullest_cap(
    purses: list[tuple[int, int]], used: float, reached: int
) -> None:
    treasury, metrics = _treasury(), engine_metrics()
    for place, (limit, spent) in enumerate(purses):
        treasury._shared[place] = Purse(Halt.ACCOUNT, limit, spent)  # type: ignore[index]
    treasury.observe(metrics.money)
    assert reading(metrics, "caps_used_ratio") == pytest.approx(used)
    assert reading(metrics, "caps_reached") == reached


def _treasury() -> Treasury:
    return Treasury(caps=None, ledger=None, clock=FakeClock())  # type: ignore[arg-type]


# --- webhooks ---


class Outbox:
    """An outbox that says what it is told to."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog

    async def backlog(self, now: float) -> Backlog:
        assert now == T0
        return self._backlog


@pytest.mark.parametrize(
    ("backlog", "figures"),
    [(Backlog(0, 0, None), (0, 0, 0)), (Backlog(5, 2, T0 - 30.0), (5, 2, 30.0))],
)
def test_the_outbox_is_shown(backlog: Backlog, figures: tuple[float, ...]) -> None:
    metrics = engine_metrics()
    notices = Notices(
        outbox=Outbox(backlog),  # type: ignore[arg-type]
        postman=None,  # type: ignore[arg-type]
        clock=FakeClock(),
        jitter=lambda: 0.5,
        give_up_after=1.0,
        poll_interval=1.0,
    )
    asyncio.run(notices.observe(metrics.webhooks))
    names = ("webhooks_waiting", "webhooks_due", "webhooks_lag_seconds")
    assert tuple(reading(metrics, name) for name in names) == figures


# --- all of it ---


def snapshot_of(house: House) -> dict[tuple[str, str], float]:
    """The engine's last snapshot: the samples without labels, and those of the model ``m``."""
    path = Paths(house.settings.data.dir).snapshot
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return {
        (sample.name, sample.labels.get("kind", sample.labels.get("outcome", ""))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_snapshot_of_a_server_tells_what_its_ledger_says(tmp_path: Path) -> None:
    """A batch of many shards: each token is told once, looked at in the middle or not."""

    async def main() -> None:
        mock = MockUpstream()
        url = await mock.start()
        async with open_house(tmp_path, url, prices=PRICES) as house, house.hurry():
            done = await house.until(await house.submit(some_lines(47)))
            bill = await bill_of(house, done)
            settled = ("batchmill_lines_settled_total", "completed")
            ended = ("batchmill_tokens_total", "output")
            told = snapshot_of(house)
            for _ in range(1_000):
                if told.get(settled, 0) >= 47 and told[ended] >= bill.output:
                    break
                await house.script.until_finished(house.script.finished + 1)
                told = snapshot_of(house)
            assert told["batchmill_tokens_total", "input"] == bill.input
            assert told[ended] == bill.output
            assert Decimal(told["batchmill_spend_total", ""]) == pytest.approx(bill.price)
            assert told["batchmill_answer_seconds_count", ""] == 47
            assert told["batchmill_storage_free_bytes", ""] > 0
            assert told["batchmill_journal_sync_seconds_count", ""] > 0
            assert told["batchmill_webhooks_waiting", ""] == 0
        await mock.stop()

    asyncio.run(main())
