"""Cancel, deadline, SIGTERM and restart: what is in flight, what is kept, what is never resent."""

import asyncio
from pathlib import Path

import pytest
from engine_fakes import T0, FakeClock, settle_down
from engine_house import House, open_house, open_mock, some_lines

from batchmill.domain.batch import Batch, Counts, Event, Status, advance
from batchmill.domain.ids import line_id
from batchmill.upstream.mock import MockUpstream
from batchmill.upstream.mock import Script as Upstream
from batchmill.upstream.mock.script import Fault


async def half_done(house: House, mock: MockUpstream, lines: int, done: int) -> Batch:
    """A batch of which so many lines are settled, with as many in flight as there are slots."""
    batch = await house.submit(some_lines(lines))
    await mock.wait_until(lambda stats: stats.answered >= done)
    return batch


def codes(errors: list[dict[str, dict[str, str]]]) -> set[str]:
    return {line["error"]["code"] for line in errors}


# --- Cancel. ---


def test_a_cancelled_batch_waits_for_what_is_in_flight_and_sends_nothing_more(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with (
            open_mock() as (mock, url),
            open_house(tmp_path, url, max_in_flight=4, cancel_grace=77.0) as house,
        ):
            mock.hold()
            batch = await house.submit(some_lines(30))
            await mock.wait_until(lambda stats: stats.held == 4)
            await house.cancel(batch)
            await house.clock.until_waiting(70.0, 77.0)
            mock.release()
            done = await house.until(batch)
            assert (done.status, done.counts) == (Status.CANCELLED, Counts(30, 4, 26))
            assert done.cancelling_at == done.cancelled_at == T0
            output, errors = await house.results(done)
            assert len(output) == 4
            assert codes(errors) == {"batch_cancelled"}
            assert mock.stats.requests == 4
            assert mock.stats.aborted == 0

    asyncio.run(main())


def test_after_the_grace_what_is_still_in_flight_is_aborted(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            open_mock() as (mock, url),
            open_house(tmp_path, url, max_in_flight=4, cancel_grace=77.0) as house,
        ):
            mock.hold()
            batch = await house.submit(some_lines(10))
            await mock.wait_until(lambda stats: stats.held == 4)
            await house.cancel(batch)
            await house.clock.until_waiting(70.0, 77.0)
            house.clock.advance(76.9)
            await settle_down()
            assert (await house.get(batch)).status is Status.CANCELLING
            assert mock.stats.aborted == 0
            house.clock.advance(0.2)
            async with house.hurry():
                done = await house.until(batch)
            assert done.counts == Counts(10, 0, 10)
            await mock.wait_until(lambda stats: stats.aborted == 4)
            assert done.output_file_id is None

    asyncio.run(main())


def test_a_batch_that_is_cancelled_before_its_plan_has_no_lines(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_mock() as (mock, url), open_house(tmp_path, url, start=False) as house:
            batch = await house.submit(some_lines(5))
            await house.cancel(batch)
            house.start()
            done = await house.until(batch)
            assert (done.status, done.counts) == (Status.CANCELLED, Counts())
            assert (done.output_file_id, done.error_file_id) == (None, None)
            assert mock.stats.requests == 0

    asyncio.run(main())


def test_a_cancel_while_the_file_is_planned_wins(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_mock() as (mock, url), open_house(tmp_path, url) as house:
            let_go = house.script.hold("batches.plan")
            batch = await house.submit(some_lines(5))
            await house.script.until(lambda: house.script.calls["batches.plan"] > 0)
            await house.cancel(batch)
            let_go.set()
            done = await house.until(batch)
            assert (done.status, done.counts) == (Status.CANCELLED, Counts())
            assert mock.stats.requests == 0
            assert await house.store.shards.of_batch(batch.id) == []

    asyncio.run(main())


def test_a_cancel_while_a_shard_is_handed_out_is_not_overlooked(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_mock() as (mock, url), open_house(tmp_path, url) as house:
            let_go = house.script.hold("shards.claim")
            batch = await house.submit(some_lines(30))
            await house.script.until(lambda: house.script.calls["shards.claim"] > 0)
            mock.hold()
            await house.cancel(batch)
            let_go.set()
            mock.release()
            done = await house.until(batch)
            assert done.status is Status.CANCELLED
            assert done.counts.total == 30
            await house.results(done)

    asyncio.run(main())


def test_a_cancel_while_the_last_line_settles_goes_one_way_or_the_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_mock() as (_, url), open_house(tmp_path, url) as house:
            let_go = house.script.hold("batches.settle")
            batch = await house.submit(some_lines(3))
            await house.script.until(lambda: house.script.calls["batches.settle"] > 0)
            # The dispatcher is about to say that all is settled; the cancel comes first.
            before = await house.get(batch)
            after = advance(before, Event.CANCEL_REQUESTED, house.clock.now())
            assert await house.rows.batches.move(before, after)
            let_go.set()
            done = await house.until(batch)
            assert (done.status, done.counts) == (Status.CANCELLED, Counts(3, 3, 0))
            await house.results(done)

    asyncio.run(main())


def test_a_cancel_while_lines_rest_or_wait_ends_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        script = Upstream(fail_first=99, fail_with=Fault.RATE_LIMITED, retry_after=500.0)
        async with open_mock(script) as (mock, url), open_house(tmp_path, url) as house:
            batch = await house.submit(some_lines(20))
            await mock.wait_until(lambda stats: stats.answered >= 3)
            await house.cancel(batch)
            done = await house.until(batch)
            assert (done.status, done.counts) == (Status.CANCELLED, Counts(20, 0, 20))

    asyncio.run(main())


def test_the_cancel_of_one_batch_leaves_the_other_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_mock() as (mock, url), open_house(tmp_path, url, max_in_flight=4) as house:
            mock.hold()
            one = await house.submit(some_lines(25))
            two = await house.submit(some_lines(25))
            await mock.wait_until(lambda stats: stats.held == 4)
            await house.cancel(one)
            await house.until(one, Status.CANCELLING)
            mock.release()
            assert (await house.until(two)).counts == Counts(25, 25, 0)
            cancelled = await house.until(one)
            assert cancelled.status is Status.CANCELLED
            await house.results(cancelled)

    asyncio.run(main())


# --- The deadline. ---


def test_at_the_deadline_what_is_in_flight_is_aborted_and_the_rest_expires(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_mock() as (mock, url), open_house(tmp_path, url, max_in_flight=4) as house:
            batch = await house.submit(some_lines(4))
            assert (await house.until(batch)).counts == Counts(4, 4, 0)
            mock.hold()
            batch = await house.submit(some_lines(30), window=100.0)
            await mock.wait_until(lambda stats: stats.held == 4)
            house.clock.advance(99.5)
            await settle_down()
            assert (await house.get(batch)).status is Status.IN_PROGRESS
            async with house.hurry():
                done = await house.until(batch)
            assert (done.status, done.counts) == (Status.EXPIRED, Counts(30, 0, 30))
            assert done.finalizing_at is not None
            assert done.expired_at is not None
            assert T0 + 100.0 <= done.finalizing_at <= done.expired_at
            _, errors = await house.results(done)
            assert codes(errors) == {"batch_expired"}
            await mock.wait_until(lambda stats: stats.aborted == 4)
            assert mock.stats.requests == 8, "nothing is sent after the deadline"

    asyncio.run(main())


def test_what_was_finished_before_the_deadline_is_kept(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_mock(Upstream(slots=3)) as (mock, url), open_house(tmp_path, url) as house:
            mock.hold()
            batch = await house.submit(some_lines(40), window=100.0)
            for answered in (3, 6, 9):
                await mock.wait_until(lambda stats: stats.held == 3)
                mock.release()
                mock.hold()
                await mock.wait_until(lambda stats, n=answered: stats.answered >= n)  # type: ignore[misc]
            house.clock.advance(100.0)
            async with house.hurry():
                done = await house.until(batch)
            assert done.status is Status.EXPIRED
            output, errors = await house.results(done)
            assert len(output) >= 9
            assert len(output) + len(errors) == 40
            assert codes(errors) == {"batch_expired"}

    asyncio.run(main())


def test_a_batch_that_is_overdue_before_its_plan_expires_without_files(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_mock() as (mock, url), open_house(tmp_path, url, start=False) as house:
            batch = await house.submit(some_lines(5), window=10.0)
            house.clock.advance(10.0)
            house.start()
            done = await house.until(batch)
            assert (done.status, done.counts, done.error_file_id) == (
                Status.EXPIRED,
                Counts(),
                None,
            )
            assert mock.stats.requests == 0

    asyncio.run(main())


def test_the_deadline_cuts_the_grace_of_a_cancel_short(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_mock() as (mock, url), open_house(tmp_path, url, max_in_flight=4) as house:
            mock.hold()
            batch = await house.submit(some_lines(10), window=20.0)
            await mock.wait_until(lambda stats: stats.held == 4)
            await house.cancel(batch)
            await house.clock.until_waiting(10.0, 20.0)
            house.clock.advance(20.0)
            async with house.hurry():
                done = await house.until(batch)
            assert (done.status, done.counts) == (Status.CANCELLED, Counts(10, 0, 10))

    asyncio.run(main())


# --- Stop and restart. ---


def test_a_stop_waits_for_what_is_in_flight_and_the_next_start_sends_only_the_rest(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        clock = FakeClock()
        async with open_mock() as (mock, url):
            async with open_house(tmp_path, url, max_in_flight=4, clock=clock) as house:
                house.grace = 30.0
                mock.hold()
                batch = await house.submit(some_lines(35))
                await mock.wait_until(lambda stats: stats.held == 4)
                stopping = asyncio.create_task(house.stop())
                await clock.until_waiting(29.0, 30.0)
                mock.release()
                await stopping
                assert (mock.stats.requests, mock.stats.aborted) == (4, 0)
                stopped = await house.get(batch)
                assert (stopped.status, stopped.counts) == (Status.IN_PROGRESS, Counts(35, 4, 0))
            async with open_house(tmp_path, url, max_in_flight=4, clock=clock) as house:
                done = await house.until(batch)
                assert done.counts == Counts(35, 35, 0)
                assert done.resent == 0
                await house.results(done)
            assert mock.hits == {line_id(batch.id, n): 1 for n in range(1, 36)}

    asyncio.run(main())


def test_a_stop_without_grace_aborts_and_only_those_lines_are_sent_again(tmp_path: Path) -> None:
    async def main() -> None:
        clock = FakeClock()
        async with open_mock() as (mock, url):
            async with open_house(tmp_path, url, max_in_flight=4, clock=clock) as house:
                mock.hold()
                batch = await house.submit(some_lines(25))
                await mock.wait_until(lambda stats: stats.held == 4)
                aborted = set(mock.hits)
                await house.stop()
            mock.release()
            async with open_house(tmp_path, url, max_in_flight=4, clock=clock) as house:
                done = await house.until(batch)
                assert done.counts == Counts(25, 25, 0)
                assert done.resent == 4
                await house.results(done)
            assert {key for key, hits in mock.hits.items() if hits == 2} == aborted
            assert set(mock.hits.values()) == {1, 2}

    asyncio.run(main())


def test_a_batch_goes_on_through_many_restarts_and_loses_and_repeats_nothing(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        clock = FakeClock()
        batch: Batch | None = None
        async with open_mock(Upstream(slots=4)) as (mock, url):
            for stop_after in range(5, 60, 9):
                async with open_house(tmp_path, url, max_in_flight=4, clock=clock) as house:
                    house.grace = 1000.0
                    batch = batch or await house.submit(some_lines(60))
                    await mock.wait_for_hits(stop_after)
            async with open_house(tmp_path, url, clock=clock) as house:
                assert batch is not None
                done = await house.until(batch)
                assert done.counts == Counts(60, 60, 0)
                await house.results(done)
            assert set(mock.hits.values()) == {1}
            assert len(mock.hits) == 60

    asyncio.run(main())


@pytest.mark.parametrize("status", [Status.FINALIZING, Status.CANCELLING])
def test_a_stopping_batch_is_delivered_by_the_next_engine(tmp_path: Path, status: Status) -> None:
    async def main() -> None:
        clock = FakeClock()
        async with open_mock() as (mock, url):
            async with open_house(tmp_path, url, clock=clock) as house:
                house.script.fail("batches.deliver", OSError(5, "Input/output error"), 99)
                mock.hold()
                batch = await house.submit(some_lines(5))
                await mock.wait_until(lambda stats: stats.held == 5)
                if status is Status.CANCELLING:
                    await house.cancel(batch)
                mock.release()
                await house.script.until(lambda: house.script.failed["batches.deliver"] > 0)
                assert (await house.get(batch)).status is status
            async with open_house(tmp_path, url, clock=clock) as house:
                done = await house.until(batch)
                assert done.counts.total == 5
                await house.results(done)
            assert set(mock.hits.values()) == {1}

    asyncio.run(main())


def test_a_lowered_line_limit_does_not_hurt_a_batch_that_was_planned(tmp_path: Path) -> None:
    async def main() -> None:
        clock = FakeClock()
        async with open_mock() as (mock, url):
            async with open_house(tmp_path, url, clock=clock, max_in_flight=2) as house:
                mock.hold()
                batch = await house.submit(some_lines(12))
                await mock.wait_until(lambda stats: stats.held == 2)
            mock.release()
            async with open_house(tmp_path, url, clock=clock, max_line_bytes=64) as house:
                done = await house.until(batch)
                assert done.counts == Counts(12, 12, 0)
                await house.results(done)

    asyncio.run(main())


def test_stopping_an_idle_engine_ends_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, "http://127.0.0.1:9/v1") as house:
            await house.script.until(lambda: house.script.calls["batches.standing"] > 0)
            await house.stop()
            leftover = asyncio.all_tasks() - {asyncio.current_task()}
            await settle_down()
            assert not [task for task in leftover if not task.done()]

    asyncio.run(main())
