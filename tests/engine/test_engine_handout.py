"""Handing out at scale: windows of shards, turns, and work only where something happened."""

import asyncio
from pathlib import Path

import pytest
from dispatcher_desk import LINES, Desk, open_desk

from batchmill.domain.batch import Batch, Event, Status
from batchmill.domain.errors import StorageFull, Superseded
from batchmill.domain.shards import ShardStatus
from batchmill.engine.shard_reader import WINDOW
from batchmill.ports import ShardEnd

SUPERSEDED = Superseded("Another engine decides over this database now.")


def handed_out(desk: Desk) -> list[int]:
    return [shard.index for shard in desk.cluster.got]


async def hand_out(desk: Desk, shards: int, room: int = 10**6) -> None:
    """Give the model room, begin, and wait until so many shards are handed out."""
    desk.cluster.room["m"] = room
    desk.start()
    await desk.until(lambda: len(desk.cluster.got) == shards)


async def finish(desk: Desk, batch: Batch) -> None:
    """All that is handed out is done, and so the batch is delivered."""
    await desk.cluster.finish(*desk.cluster.out.values())
    await desk.until(lambda: desk.delivered == [batch.id])


# --- windows ---


@pytest.mark.parametrize("shards", [1, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW])
def test_every_shard_is_handed_out_once_however_many_windows_they_fill(
    tmp_path: Path, shards: int
) -> None:
    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            batch = await desk.add(shards=shards)
            # All of them, and more than one claim, without the clock moving on.
            await hand_out(desk, shards)
            assert handed_out(desk) == list(range(shards))
            await finish(desk, batch)
            assert len(desk.cluster.got) == shards

    asyncio.run(main())


def test_no_more_than_a_window_of_a_batch_is_in_memory(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            served = await desk.add("batch_1", 3 * WINDOW)
            waiting = await desk.add("batch_2", 3 * WINDOW, models=("n",))
            desk.cluster.room["m"] = LINES
            desk.start()
            await desk.until_idle()
            runs = desk.dispatcher._roster.runs
            assert len(runs[served.id].waiting) == WINDOW - 1
            assert len(runs[served.id].waiting) + runs[served.id].unread == 3 * WINDOW - 1
            assert len(runs[waiting.id].waiting) == 0, "nothing is read before there is room"
            assert runs[waiting.id].unread == 3 * WINDOW

    asyncio.run(main())


@pytest.mark.parametrize("lost", [0, WINDOW - 1])
def test_a_lost_shard_comes_again_once_whether_its_window_has_passed_or_not(
    tmp_path: Path, lost: int
) -> None:
    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            batch = await desk.add(shards=WINDOW + 3)
            await hand_out(desk, WINDOW, room=WINDOW * LINES)
            desk.cluster.end(desk.cluster.got[lost], ShardEnd.LOST)
            await desk.until_idle()
            desk.cluster.room["m"] = 10**6
            await desk.until_idle()
            assert sorted(handed_out(desk)) == sorted([*range(WINDOW + 3), lost])
            await finish(desk, batch)

    asyncio.run(main())


def test_after_a_claim_that_failed_nothing_is_left_out(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            batch = await desk.add(shards=WINDOW + 3)
            desk.script.fail("shards.claim", StorageFull("The disk is full."), 2)
            desk.cluster.room["m"] = 10**6
            desk.start()
            while desk.script.failed["shards.claim"] < 2:
                await desk.until_idle()
            await desk.until_idle()
            assert sorted(handed_out(desk)) == list(range(WINDOW + 3))
            await finish(desk, batch)

    asyncio.run(main())


def test_a_batch_does_not_settle_while_the_store_knows_a_shard_that_is_not_done(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            batch = await desk.add(shards=2)
            await hand_out(desk, 2, room=2 * LINES)
            first, second = desk.cluster.got
            await desk.cluster.finish(second)
            desk.cluster.room["m"] = 10**6
            # It says so, and yet the store was never told.
            desk.cluster.end(first, ShardEnd.FINISHED)
            await desk.until(lambda: len(desk.cluster.got) == 3)
            again = desk.cluster.got[2]
            assert (again.index, again.attempt) == (0, 2)
            assert await desk.status(batch) is Status.IN_PROGRESS
            await desk.cluster.finish(again)
            await desk.until(lambda: desk.delivered == [batch.id])

    asyncio.run(main())


def test_a_batch_whose_shards_are_all_done_is_delivered_though_no_slot_is_free(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            batch = await desk.add(shards=2)
            claimed = await desk.store.shards.claim(await desk.store.shards.of_batch(batch.id))
            desk.cluster.out = {(one.batch_id, one.index): one for one in claimed}
            desk.cluster.on_end = lambda shard, how: None
            await desk.cluster.finish(*claimed)
            desk.start()
            await desk.until(lambda: desk.delivered == [batch.id])

    asyncio.run(main())


def test_a_shard_of_two_models_goes_out_when_one_of_them_has_room(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            await desk.add("batch_1", 1, models=("m", "n"))
            desk.cluster.room.update(m=0, n=0)
            desk.start()
            await desk.until_idle()
            assert desk.cluster.got == []
            desk.cluster.room["n"] = 1
            await desk.until_idle()
            assert handed_out(desk) == [0]
            assert desk.cluster.room == {"m": -LINES, "n": 1 - LINES}

    asyncio.run(main())


# --- only where something happened ---


def test_batches_that_wait_are_not_read_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            served = await desk.add("batch_served", 9)
            for n in range(20):
                await desk.add(f"batch_{n}", 1, models=("n",))
            desk.cluster.room["m"] = LINES
            desk.start()
            await desk.until_idle()
            names = ("batches.unfinished", "shards.sums", "shards.undone")
            before = [desk.script.calls[name] for name in names]
            for _ in range(5):
                got = len(desk.cluster.got)
                await desk.cluster.finish(*desk.cluster.out.values())
                desk.cluster.room["m"] = LINES
                await desk.until(lambda got=got: len(desk.cluster.got) > got)  # type: ignore[misc]
            assert [desk.script.calls[name] for name in names] == before
            assert {one.batch_id for one in desk.cluster.got} == {served.id}

    asyncio.run(main())


def test_one_that_was_moved_is_read_and_no_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            some = [await desk.add(f"batch_{n}", 1) for n in range(5)]
            desk.start()
            await desk.until_idle()
            before = desk.script.calls["batches.unfinished"]
            await desk.move(some[3], Event.CANCEL_REQUESTED)
            desk.dispatcher.wake()
            await desk.until(lambda: desk.delivered == [some[3].id])
            await desk.jobs_over()
            await desk.until_idle()
            # When it was cancelled, and when its delivery was over.
            assert desk.script.calls["batches.unfinished"] == before + 2
            assert set(desk.dispatcher._roster.runs) == {one.id for one in some} - {some[3].id}

    asyncio.run(main())


def test_the_store_is_looked_at_although_shards_keep_ending(tmp_path: Path) -> None:
    """Each end wakes the dispatcher before its timer; a cancel that nobody told of is seen."""

    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            await desk.add("batch_1", 40)
            other = await desk.add("batch_2", 1, models=("n",))
            await hand_out(desk, 1, room=LINES)
            await desk.move(other, Event.CANCEL_REQUESTED)
            for got in range(1, 12):
                desk.clock.advance(0.3)
                desk.cluster.room["m"] = LINES
                await desk.cluster.finish(*desk.cluster.out.values())
                await desk.until(lambda got=got: len(desk.cluster.got) > got)  # type: ignore[misc]
            await desk.until(lambda: desk.delivered == [other.id])

    asyncio.run(main())


def test_what_is_put_off_while_it_stops_is_tried_again_in_its_time(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            batch = await desk.add(shards=1)
            await desk.move(batch, Event.CANCEL_REQUESTED)
            desk.script.fail("deliver", StorageFull("The disk is full."))
            desk.start()
            await desk.until(lambda: desk.script.failed["deliver"] == 1)
            await desk.until_idle()
            assert desk.delivered == [batch.id, batch.id]

    asyncio.run(main())


def test_a_batch_whose_shards_cannot_be_read_holds_up_no_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            first = await desk.add("batch_1", 1)
            second = await desk.add("batch_2", 1, window=2 * 86_400.0)
            desk.script.fail("shards.undone", StorageFull("The disk is full."))
            await hand_out(desk, 1)
            assert desk.cluster.got[0].batch_id == second.id
            await desk.until_idle()
            assert [shard.batch_id for shard in desk.cluster.got] == [second.id, first.id]

    asyncio.run(main())


# --- turns ---


@pytest.mark.parametrize(("work", "most"), [("plan", 4), ("deliver", 8)])
def test_only_so_many_are_planned_or_delivered_at_once(
    tmp_path: Path, work: str, most: int
) -> None:
    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            for n in range(12):
                # The later ones are due first.
                batch = await desk.create(f"batch_{n:02}", window=1000.0 - n)
                if work == "deliver":
                    await desk.move(batch, Event.CANCEL_REQUESTED)
            let_go = desk.script.hold(work)
            desk.start()
            done = desk.planned if work == "plan" else desk.delivered
            await desk.until(lambda: len(done) == most)
            await desk.until_idle()
            names = [f"batch_{n:02}" for n in reversed(range(12))]
            assert done == names[:most]
            let_go.set()
            await desk.until(lambda: len(done) == 12)
            assert done[most:] == names[most:]

    asyncio.run(main())


def test_one_that_is_cancelled_while_it_waits_for_its_turn_keeps_none_of_them(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            some = [await desk.create(f"batch_{n}", window=1000.0 + n) for n in range(6)]
            let_go = desk.script.hold("plan")
            desk.start()
            await desk.until(lambda: len(desk.planned) == 4)
            await desk.move(some[4], Event.CANCEL_REQUESTED)
            desk.dispatcher.wake()
            await desk.until(lambda: desk.delivered == [some[4].id])
            let_go.set()
            await desk.until(lambda: desk.planned[4:] == [some[5].id])

    asyncio.run(main())


# --- another leads ---


@pytest.mark.parametrize("step", ["shards.claim", "deliver", "plan", "batches.move"])
def test_a_dispatcher_that_was_succeeded_ends_at_once(tmp_path: Path, step: str) -> None:
    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            stopping = await desk.add("batch_1", 1)
            await desk.move(stopping, Event.CANCEL_REQUESTED)
            await desk.create("batch_2")
            await desk.add("batch_3", 1, window=0.0)
            running = await desk.add("batch_4", 2)
            desk.script.fail(step, SUPERSEDED)
            desk.cluster.room["m"] = 10**6
            desk.start()
            assert desk.going is not None
            with pytest.raises(Superseded):
                await desk.going
            got = len(desk.cluster.got)
            desk.dispatcher.wake()
            await desk.dispatcher.stop(0.0)
            assert len(desk.cluster.got) == got
            if step == "shards.claim":
                assert got == 0
                stored = await desk.store.shards.of_batch(running.id)
                assert {shard.status for shard in stored} == {ShardStatus.WAITING}

    asyncio.run(main())


@pytest.mark.parametrize("step", ["shards.release", "batches.standing", "shards.sums"])
def test_being_succeeded_is_not_taken_for_a_trouble_that_passes(tmp_path: Path, step: str) -> None:
    async def main() -> None:
        async with open_desk(tmp_path, start=False) as desk:
            await desk.add()
            desk.script.fail(step, SUPERSEDED)
            desk.cluster.room["m"] = 10**6
            desk.start()
            assert desk.going is not None
            with pytest.raises(Superseded):
                await desk.going
            assert desk.cluster.got == []
            assert desk.clock.waits == []

    asyncio.run(main())
