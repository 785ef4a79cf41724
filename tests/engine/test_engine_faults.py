"""A full disk and broken parts in every step: put off, tried again, nothing lost or repeated."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from engine_fakes import settle_down
from engine_house import FULL, House, open_house, some_lines

from batchmill.domain.batch import Counts, Status
from batchmill.journal import local
from batchmill.upstream.mock import MockUpstream

# Every call of store and blobs that the way of a batch passes through.
STEPS = [
    "batches.standing",
    "batches.unfinished",
    "files.get",
    "blobs.read",
    "batches.plan",
    "shards.undone",
    "shards.settled",
    "shards.of_batch",
    "shards.claim",
    "shards.tally",
    "shards.close",
    "batches.settle",
    "blobs.create",
    "writer.write",
    "writer.commit",
    "batches.deliver",
]


@asynccontextmanager
async def open_both(tmp_path: Path, **options: Any) -> AsyncIterator[tuple[House, MockUpstream]]:
    mock = MockUpstream()
    url = await mock.start()
    async with open_house(tmp_path, url, **options) as house:
        yield house, mock
    await mock.stop()


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_in_any_step_is_tried_again_and_nothing_is_lost(
    tmp_path: Path, step: str, times: int
) -> None:
    async def main() -> None:
        async with open_both(tmp_path) as (house, mock), house.hurry():
            house.script.fail(step, FULL, times)
            done = await house.until(await house.submit(some_lines(45)))
            assert (done.status, done.counts) == (Status.COMPLETED, Counts(45, 45, 0))
            await house.results(done)
            assert house.script.failed[step] == times
            assert set(mock.hits.values()) == {1}, "no line was sent twice"

    asyncio.run(main())


@pytest.mark.parametrize("step", ["batches.plan", "shards.claim", "shards.close", "writer.commit"])
def test_an_error_of_another_kind_is_tried_again_too(tmp_path: Path, step: str) -> None:
    async def main() -> None:
        async with open_both(tmp_path) as (house, _), house.hurry():
            house.script.fail(step, RuntimeError("out of the blue"), 2)
            done = await house.until(await house.submit(some_lines(12)))
            assert done.counts == Counts(12, 12, 0)
            await house.results(done)

    asyncio.run(main())


@pytest.mark.parametrize("step", ["batches.plan", "batches.settle", "writer.commit"])
def test_one_batchs_trouble_does_not_hold_up_the_others(tmp_path: Path, step: str) -> None:
    async def main() -> None:
        async with open_both(tmp_path) as (house, _):
            house.script.fail(step, FULL)
            troubled = await house.submit(some_lines(5))
            await house.script.until(lambda: house.script.failed[step] == 1)
            # No time passes for the one that was put off.
            done = await house.until(await house.submit(some_lines(5)))
            assert done.counts == Counts(5, 5, 0)
            assert not (await house.get(troubled)).status.is_terminal
            async with house.hurry():
                assert (await house.until(troubled)).counts == Counts(5, 5, 0)

    asyncio.run(main())


def test_what_is_put_off_waits_longer_each_time(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_both(tmp_path) as (house, _):
            house.script.fail("batches.plan", FULL, 4)
            batch = await house.submit(some_lines(1))
            async with house.hurry():
                await house.script.until(lambda: house.script.failed["batches.plan"] == 4)
            failed_at = house.script.failed_at["batches.plan"]
            pauses = [later - earlier for earlier, later in pairwise(failed_at)]
            assert pauses[0] >= 1.0
            assert pauses[1] >= 2.0
            assert pauses[2] >= 4.0
            async with house.hurry():
                assert (await house.until(batch)).status is Status.COMPLETED

    asyncio.run(main())


def test_a_shard_whose_journal_broke_runs_again_and_keeps_what_was_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = os.fdatasync, [True]

    def fdatasync(fd: int) -> None:
        if broken:
            broken.clear()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    monkeypatch.setattr(os, "fdatasync", fdatasync)

    async def main() -> None:
        async with open_both(tmp_path) as (house, mock), house.hurry():
            done = await house.until(await house.submit(some_lines(25)))
            assert done.counts == Counts(25, 25, 0)
            await house.results(done)
            assert max(mock.hits.values()) <= 2

    asyncio.run(main())


def test_while_the_journal_has_no_room_nothing_new_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, is_full, refused = os.fdatasync, [False], asyncio.Event()
    monkeypatch.setattr(local, "_RETRY_SECONDS", 0.001)

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def fdatasync(fd: int) -> None:
            if is_full[0]:
                loop.call_soon_threadsafe(refused.set)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(fd)

        monkeypatch.setattr(os, "fdatasync", fdatasync)
        async with open_both(tmp_path, max_in_flight=2, shard_lines=4) as (house, mock):
            is_full[0] = True
            batch = await house.submit(some_lines(60))
            await refused.wait()
            await settle_down(500)
            sent = mock.stats.requests
            assert sent < 30, "the shards that were handed out, and no more"
            assert (await house.get(batch)).counts == Counts(60, 0, 0)
            is_full[0] = False
            done = await house.until(batch)
            assert done.counts == Counts(60, 60, 0)
            assert set(mock.hits.values()) == {1}

    asyncio.run(main())


def test_an_upstream_that_comes_back_finds_its_lines_waiting(tmp_path: Path) -> None:
    async def main() -> None:
        mock = MockUpstream()
        url = await mock.start()
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        await mock.stop()
        async with open_house(tmp_path, url) as house, house.hurry():
            batch = await house.submit(some_lines(20))
            start = house.clock.now()
            while house.clock.now() < start + 120:
                await house.script.until_finished(house.script.finished + 1)
            running = await house.get(batch)
            assert (running.status, running.counts) == (Status.IN_PROGRESS, Counts(20, 0, 0))
            await mock.start(port=port)
            done = await house.until(batch)
            assert done.counts == Counts(20, 20, 0)
            await house.results(done)
            assert set(mock.hits.values()) == {1}
        await mock.stop()

    asyncio.run(main())


def test_a_store_that_fails_at_the_start_stops_the_engine_with_its_error(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, "http://127.0.0.1:9/v1", start=False) as house:
            house.script.fail("shards.release", FULL)
            house.start()
            with pytest.raises(type(FULL)):
                await house.stop()
            house._running = None

    asyncio.run(main())
