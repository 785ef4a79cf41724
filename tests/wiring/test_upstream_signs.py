"""What the engine's snapshot says of upstreams, read as the engine writes it."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from batchmill.config import Settings
from batchmill.config.settings import DataSettings, ModelSettings, UpstreamSettings
from batchmill.domain.catalog import ANY_MODEL, TEST_MODEL
from batchmill.domain.pacing import BEGIN, TOP, Bound
from batchmill.domain.sharing import Outlet
from batchmill.service.caller import Caller
from batchmill.service.model_board import UpstreamFigures
from batchmill.service.outlook import Concurrency
from batchmill.telemetry import EngineMetrics, engine_metrics, render, write_snapshot
from batchmill.upstream.mock import MockUpstream
from batchmill.upstream.tokenizer import Tokenizer
from batchmill.wiring.api import _board
from batchmill.wiring.lanes import Lanes, shared_caps, tuned_outlets
from batchmill.wiring.parts import Paths, SystemClock, open_parts
from batchmill.wiring.sight import sight_of
from batchmill.wiring.upstream_signs import UpstreamFile, backings_of, concurrency_in, figures_in
from batchmill.wiring.upstreams import UpstreamCounter

ODD = 'a "b"\\c {d="e"} ü'
SETTINGS = Settings(
    models=(
        ModelSettings(
            name="qwen",
            upstreams=(
                UpstreamSettings(url="http://10.0.0.5:8000/v1", max_in_flight=12),
                UpstreamSettings(url="https://[::1]/v1", weight=0.5, max_in_flight=3),
            ),
        ),
        ModelSettings(name="small", builtin="smollm2"),
    )
)


def lane(metrics: EngineMetrics, model: str, upstream: str, *, up: int, busy: int) -> None:
    named = {"model": model, "upstream": upstream}
    metrics.lanes.upstream_up.labels(**named).set(up)
    metrics.lanes.in_flight.labels(**named).set(busy)
    metrics.lanes.in_flight_limit.labels(**named).set(64)


def snapshot(path: Path, busy: int) -> None:
    metrics = engine_metrics()
    lane(metrics, "m", "u", up=1, busy=busy)
    write_snapshot(metrics, path, now=0.0)


def busy_in(figures: Mapping[tuple[str, str], UpstreamFigures] | None) -> int | None:
    assert figures is not None
    return figures["m", "u"].in_flight


def test_figures_are_read_as_the_engine_told_them() -> None:
    metrics = engine_metrics()
    lane(metrics, "m", "http://a/v1", up=1, busy=7)
    lane(metrics, ODD, "http://a/v1", up=0, busy=0)
    faults = metrics.lanes.upstream_faults
    for reason, count in (("503", 2), ("timeout", 3)):
        faults.labels(model="m", upstream="http://a/v1", reason=reason).inc(count)
    assert figures_in(render(metrics.registry)) == {
        ("m", "http://a/v1"): UpstreamFigures(is_up=True, in_flight=7, limit=64, faults=5),
        (ODD, "http://a/v1"): UpstreamFigures(is_up=False, in_flight=0, limit=64, faults=0),
    }


def told(metrics: EngineMetrics, model: str, upstream: str, bound: Bound) -> None:
    lane(metrics, model, upstream, up=1, busy=7)
    for one in Bound:
        gauge = metrics.lanes.in_flight_bound
        gauge.labels(model=model, upstream=upstream, bound=one).set(one is bound)


def test_the_bound_is_the_one_that_is_told() -> None:
    metrics = engine_metrics()
    for bound in Bound:
        told(metrics, "m", bound, bound)
    figures = figures_in(render(metrics.registry))
    assert {upstream: one.bound for (_, upstream), one in figures.items()} == {
        bound.value: bound for bound in Bound
    }


@pytest.mark.parametrize(
    ("bounds", "together"),
    [
        ((Bound.WINDOW, Bound.DOWN), Bound.WINDOW),
        ((Bound.UPSTREAM, Bound.WINDOW), Bound.UPSTREAM),
        ((Bound.TRIAL, Bound.SOURCE), Bound.SOURCE),
        ((Bound.DOWN, Bound.DOWN), Bound.DOWN),
    ],
)
def test_the_upstreams_of_a_model_are_summed_up(bounds: tuple[Bound, ...], together: Bound) -> None:
    metrics = engine_metrics()
    for number, bound in enumerate(bounds):
        told(metrics, "m", f"http://{number}/v1", bound)
    told(metrics, "other", "http://0/v1", Bound.TRIAL)
    figures = figures_in(render(metrics.registry))
    assert concurrency_in(figures, "m") == Concurrency(14, 128, together)


def test_a_model_that_is_not_listed_goes_by_the_lane_of_them_all() -> None:
    metrics = engine_metrics()
    told(metrics, ANY_MODEL, "u", Bound.WINDOW)
    figures = figures_in(render(metrics.registry))
    assert concurrency_in(figures, "whatever") == Concurrency(7, 64, Bound.WINDOW)


def test_without_figures_nothing_is_said_of_what_is_in_flight() -> None:
    assert concurrency_in(None, "m") is None
    assert concurrency_in({}, "m") is None
    assert concurrency_in({("m", "u"): UpstreamFigures()}, "m") is None


def test_what_has_not_been_told_is_unknown() -> None:
    metrics = engine_metrics()
    metrics.lanes.upstream_up.labels(model="m", upstream="u").set(1)
    metrics.lanes.queued.labels(model="other").set(3)
    expected = {("m", "u"): UpstreamFigures(is_up=True, in_flight=None, limit=None, faults=0)}
    assert figures_in(render(metrics.registry)) == expected
    assert figures_in(b"") == {}


def test_a_renewed_file_is_read_again_and_another_is_not(tmp_path: Path) -> None:
    path = tmp_path / "engine.prom"
    source = UpstreamFile(path, lambda: 1_000.0)
    for at, busy, seen in ((1_000, 1, 1), (1_001, 2, 2), (1_001, 3, 2)):
        snapshot(path, busy)
        os.utime(path, (at, at))
        assert busy_in(source()) == seen


def test_an_engine_that_is_late_by_ten_seconds_is_down(tmp_path: Path) -> None:
    path, times = tmp_path / "engine.prom", iter((1_009.9, 1_010.0, 1_009.9))
    source = UpstreamFile(path, lambda: next(times))
    snapshot(path, 4)
    os.utime(path, (1_000, 1_000))
    assert busy_in(source()) == 4
    assert source() is None
    assert busy_in(source()) == 4


def test_without_a_snapshot_the_engine_is_down(tmp_path: Path) -> None:
    assert UpstreamFile(tmp_path / "engine.prom", lambda: 0.0)() is None


def test_the_board_knows_what_is_configured() -> None:
    backings = backings_of(SETTINGS)
    seats = {name: [one.address for one in backing.seats] for name, backing in backings.items()}
    assert seats == {
        "qwen": ["10.0.0.5:8000", "[::1]"],
        "small": ["built-in"],
        TEST_MODEL: ["built-in"],
    }
    assert [one.weight for one in backings["qwen"].seats] == [1.0, 0.5]
    assert [name for name, one in backings.items() if one.is_builtin] == ["small", TEST_MODEL]


def test_the_board_knows_what_is_allowed_where() -> None:
    upstreams = tuple(
        UpstreamSettings(url=f"http://{n}/v1", region=region)
        for n, region in enumerate(("eu", "cn", None))
    )
    rule = ("*", "!cn")
    models = (
        ModelSettings(name="qwen", upstreams=upstreams, compute_regions=rule),
        ModelSettings(name="small", builtin="smollm2", compute_regions=("cn",)),
    )
    settings = Settings(models=models, data=DataSettings(region="sg"))
    backings = backings_of(settings)
    assert {
        name: [(seat.region, seat.is_allowed) for seat in one.seats]
        for name, one in backings.items()
    } == {
        "qwen": [("eu", True), ("cn", False), (None, False)],
        "small": [("sg", False)],
        TEST_MODEL: [("sg", True)],
    }
    assert backings["qwen"].compute_regions == rule


def test_tokens_are_counted_where_lines_may_be_computed_alone() -> None:
    """To count them is to send what the lines say."""

    async def main() -> None:
        cn, eu = MockUpstream(), MockUpstream()
        allowed = UpstreamSettings(url=await eu.start(), region="eu")
        barred = UpstreamSettings(url=await cn.start(), region="cn")
        models = [
            ModelSettings(name="m", upstreams=(barred, allowed), compute_regions=("!cn",)),
            ModelSettings(name="n", upstreams=(barred,), compute_regions=("!cn",)),
            ModelSettings(name="*", upstreams=(barred,)),
        ]
        count = UpstreamCounter(models, Tokenizer(lambda: 0.0))
        body = b'{"model":"m","messages":[{"role":"user","content":"one two"}]}'
        assert await count("m", [body]) == [2]
        assert await count("n", [body]) is None
        assert (cn.stats.connections, eu.stats.connections > 0) == (0, True)
        await cn.stop()
        await eu.stop()

    asyncio.run(main())


def test_the_engine_names_upstreams_as_the_board_does() -> None:
    """The lanes are those of the engine, made of the same settings."""

    async def main() -> Mapping[tuple[str, str], UpstreamFigures]:
        metrics = engine_metrics()
        lanes = Lanes(SETTINGS, SystemClock(), metrics)
        for model in ("qwen", TEST_MODEL):
            lanes.of(model)
        lanes.observe()
        await lanes.close()
        return figures_in(render(metrics.registry))

    figures = asyncio.run(main())
    backings = backings_of(SETTINGS)
    assert set(figures) == {
        (model, seat.name) for model in ("qwen", TEST_MODEL) for seat in backings[model].seats
    }
    limits = [figures["qwen", seat.name].limit for seat in backings["qwen"].seats]
    assert limits == [12, 3]
    assert all(one.is_up and one.in_flight == 0 for one in figures.values())


def test_the_servers_board_reads_the_engines_snapshot(tmp_path: Path) -> None:
    async def main() -> None:
        settings = SETTINGS.model_copy(update={"data": DataSettings(dir=tmp_path)})
        async with open_parts(settings) as parts:
            board = _board(settings, parts, sight_of(settings, parts))
            before = {state.name: state for state in await board.look(Caller())}
            assert before["qwen"].upstreams[0].in_flight is None
            metrics = engine_metrics()
            lane(metrics, "qwen", "http://10.0.0.5:8000/v1", up=1, busy=9)
            path, soon = Paths(tmp_path).snapshot, parts.clock.now() + 3600
            write_snapshot(metrics, path, now=soon)
            os.utime(path, (soon, soon))  # fresh, however slow this machine is
            after = {state.name: state for state in await board.look(Caller())}
            first, second = after["qwen"].upstreams
            assert (first.url, first.is_up, first.in_flight) == ("10.0.0.5:8000", True, 9)
            assert (second.is_up, second.in_flight) == (None, None)
            assert set(after) == {"qwen", "small", TEST_MODEL}

    asyncio.run(main())


def test_without_a_set_number_a_cluster_shares_as_many_slots_as_there_may_ever_be() -> None:
    unset = (UpstreamSettings(url="http://a/v1"), UpstreamSettings(url="http://b/v1"))
    upstreams = (*unset, UpstreamSettings(url="http://c/v1", max_in_flight=5))
    settings = Settings(models=(ModelSettings(name="m", upstreams=upstreams),))
    assert list(shared_caps(settings).values()) == [TOP, TOP, 5]
    assert list(shared_caps(settings, unset=BEGIN).values()) == [BEGIN, BEGIN, 5]
    assert tuned_outlets(settings) == {Outlet("m", "http://a/v1"), Outlet("m", "http://b/v1")}
