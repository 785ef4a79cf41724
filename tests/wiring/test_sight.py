"""What the API of any machine sees of an engine on another one: rows instead of files."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from batchmill.domain.errors import StorageAway
from batchmill.ports import Progress, Sign, SignStore
from batchmill.store import open_store
from batchmill.telemetry import (
    EngineMetrics,
    engine_metrics,
    label_exposition,
    merge_expositions,
    render,
)
from batchmill.wiring.sight import RowSight
from batchmill.wiring.signs import RowTeller, tell_worker

FAST = Progress(queue_position=None, lines_per_second=12.5)
WAITING = Progress(queue_position=3, lines_per_second=None)
T0 = 1_700_000_000.0


class Clock:
    """One that is set by hand; who sleeps on it waits until it is woken."""

    def __init__(self) -> None:
        self.time = T0
        self.sleeps: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self.sleeps.put_nowait(woken)
        await woken.wait()


def with_rows(
    tmp_path: Path, test: Callable[[SignStore, RowSight, Clock], Awaitable[None]]
) -> None:
    async def main() -> None:
        store = await open_store(tmp_path / "x.db")
        clock = Clock()
        try:
            await test(store.signs, RowSight(store.signs, clock), clock)
        finally:
            await store.close()

    asyncio.run(main())


def a_lane(metrics: EngineMetrics, *, up: int = 1, busy: int = 0, faults: int = 0) -> EngineMetrics:
    named = {"model": "m", "upstream": "u"}
    metrics.lanes.upstream_up.labels(**named).set(up)
    metrics.lanes.in_flight.labels(**named).set(busy)
    metrics.lanes.in_flight_limit.labels(**named).set(8)
    metrics.lanes.upstream_faults.labels(**named, reason="503").inc(faults)
    return metrics


def samples(text: bytes, name: str) -> dict[str, float]:
    """The values of a metric by worker; parsing also proves that the text is an exposition."""
    families = [family.name for family in text_string_to_metric_families(text.decode())]
    assert len(families) == len(set(families))
    return {
        sample.labels.get("worker", ""): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name == name
    }


def test_progress_is_seen_as_the_engine_told_it(tmp_path: Path) -> None:
    async def test(signs: SignStore, sight: RowSight, clock: Clock) -> None:
        teller = RowTeller(signs)
        assert sight.progress("batch_a") is None
        assert not sight.engine_lives()
        for said in (FAST, WAITING):
            await teller.tell({"batch_a": said}, engine_metrics(), clock.now())
            await sight.renew()
            assert sight.progress("batch_a") == said
            assert sight.progress("batch_b") is None
            assert sight.engine_lives()
            clock.time += 1

    with_rows(tmp_path, test)


@pytest.mark.parametrize("skew", [-3600.0, 0.0, 9.0, 3600.0])
def test_an_engine_lives_while_its_rows_change_whatever_its_clock_says(
    tmp_path: Path, skew: float
) -> None:
    async def test(signs: SignStore, sight: RowSight, clock: Clock) -> None:
        teller = RowTeller(signs)
        await teller.tell({}, engine_metrics(), clock.now() + skew)
        await sight.renew()
        await teller.tell({}, engine_metrics(), clock.now() + skew + 1)
        await sight.renew()
        for later, lives in ((9.9, True), (10.0, False)):
            clock.time = T0 + later
            await sight.renew()
            assert sight.engine_lives() is lives
            assert (sight.figures() is not None) is lives
        await teller.tell({}, engine_metrics(), clock.now() + skew)
        await sight.renew()
        assert sight.engine_lives()

    with_rows(tmp_path, test)


def test_a_row_that_was_old_when_it_was_first_seen_is_no_life(tmp_path: Path) -> None:
    async def test(signs: SignStore, sight: RowSight, clock: Clock) -> None:
        await RowTeller(signs).tell({"batch_a": FAST}, engine_metrics(), T0 - 10)
        await sight.renew()
        assert not sight.engine_lives()
        assert sight.progress("batch_a") == FAST

    with_rows(tmp_path, test)


def test_the_figures_of_all_workers_are_told_apart_and_summed(tmp_path: Path) -> None:
    async def test(signs: SignStore, sight: RowSight, clock: Clock) -> None:
        await RowTeller(signs).tell({}, engine_metrics(), T0)
        await tell_worker(signs, "a", a_lane(engine_metrics(), up=0, busy=3, faults=2), T0)
        await tell_worker(signs, 'b "b"\\', a_lane(engine_metrics(), busy=4), T0)
        await sight.renew()
        assert samples(sight.metrics(), "batchmill_in_flight") == {"a": 3, 'b "b"\\': 4}
        figures = sight.figures()
        assert figures is not None
        found = figures["m", "u"]
        assert (found.is_up, found.in_flight, found.limit, found.faults) == (True, 7, 16, 2)

    with_rows(tmp_path, test)


def test_a_worker_that_says_nothing_more_is_left_out(tmp_path: Path) -> None:
    async def test(signs: SignStore, sight: RowSight, clock: Clock) -> None:
        for later, known in ((0.0, {"a": 3.0, "b": 4.0}), (10.0, {"b": 4.0})):
            clock.time = T0 + later
            await tell_worker(signs, "b", a_lane(engine_metrics(), busy=4), clock.now())
            if not later:
                await tell_worker(signs, "a", a_lane(engine_metrics(), busy=3), clock.now())
            await sight.renew()
            assert samples(sight.metrics(), "batchmill_in_flight") == known

    with_rows(tmp_path, test)


def test_rows_of_processes_that_are_gone_are_removed(tmp_path: Path) -> None:
    async def test(signs: SignStore, sight: RowSight, clock: Clock) -> None:
        teller = RowTeller(signs)
        await signs.put(Sign("worker.old.metrics", b"", T0 - 601))
        await signs.put(Sign("worker.late.metrics", b"", T0 - 600))
        await teller.tell({}, engine_metrics(), T0)
        names = [sign.name for sign in await signs.list("")]
        assert names == ["engine.metrics", "engine.progress", "worker.late.metrics"]
        for later, count in ((59.9, 3), (60.0, 2)):
            await teller.tell({}, engine_metrics(), T0 + later)
            assert len(await signs.list("")) == count

    with_rows(tmp_path, test)


def test_who_follows_goes_on_when_the_database_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(signs: SignStore, sight: RowSight, clock: Clock) -> None:
        listed = signs.list

        async def away(prefix: str) -> list[Sign]:
            raise StorageAway("gone")

        following = asyncio.create_task(sight.follow())
        for reading, said in ((listed, FAST), (away, WAITING), (listed, WAITING)):
            woken = await clock.sleeps.get()
            monkeypatch.setattr(signs, "list", reading)
            await RowTeller(signs).tell({"batch_a": said}, engine_metrics(), clock.now())
            woken.set()
        (await clock.sleeps.get()).set()
        await clock.sleeps.get()
        assert sight.progress("batch_a") == WAITING
        following.cancel()

    with_rows(tmp_path, test)


def test_what_has_a_label_of_its_own_is_added_to_a_family() -> None:
    first = b'# HELP a Words.\n# TYPE a gauge\na{m="x"} 1.0\n# HELP b B.\n# TYPE b gauge\nb 2.0\n'
    other = b'# HELP b B.\n# TYPE b gauge\nb 3.0\n# HELP a Words.\n# TYPE a gauge\na{m="{ y"} 4.0\n'
    third = b"# HELP c C.\n# TYPE c counter\nc 5.0\n"
    labelled = [label_exposition(text, "worker", "w") for text in (other, third)]
    assert merge_expositions((first,), labelled).decode() == (
        '# HELP a Words.\n# TYPE a gauge\na{m="x"} 1.0\na{worker="w",m="{ y"} 4.0\n'
        '# HELP b B.\n# TYPE b gauge\nb 2.0\nb{worker="w"} 3.0\n'
        '# HELP c C.\n# TYPE c counter\nc{worker="w"} 5.0\n'
    )
    assert merge_expositions((first, other)) == first


def test_every_sample_of_an_engine_takes_a_label() -> None:
    metrics = a_lane(engine_metrics(), busy=1)
    metrics.lanes.answer_seconds.of("m").note(0.3)
    text = label_exposition(render(metrics.registry), "worker", "w")
    found = [
        sample.labels["worker"]
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    ]
    assert set(found) == {"w"}
    assert len(found) > 20
