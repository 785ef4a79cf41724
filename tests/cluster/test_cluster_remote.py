"""Workers of other processes: they outlive their dispatcher, and what dies is noticed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from cluster_fleet import CAP, FENCE_AFTER, Place, Stage
from cluster_stub import BREAK, FINISH, HOLD, LANE, Ends, StubWorker, a_run

from batchmill.cluster.remote import RemoteCluster
from batchmill.domain.errors import StorageAway, Superseded
from batchmill.ports import ShardEnd

Test = Callable[[Stage], Coroutine[Any, Any, None]]


def staged(*names: str) -> Callable[[Test], Callable[[], None]]:
    def decorate(test: Test) -> Callable[[], None]:
        async def main() -> None:
            await test(Stage.of(*names))

        def run() -> None:
            asyncio.run(main())

        return run

    return decorate


async def led(stage: Stage, cap: int = CAP) -> tuple[RemoteCluster, Ends]:
    """The next dispatcher's cluster when its workers have had their first orders, and its ends."""
    cluster, ends = stage.cluster(cap), Ends()
    assert await cluster.attach(ends) == []
    await stage.clock.advance(2)
    return cluster, ends


def indexes(worker: StubWorker) -> set[int]:
    return {key.index for key in worker.runs}


@staged("a", "b")
async def test_every_run_ends_once_as_its_worker_says(stage: Stage) -> None:
    cluster, ends = await led(stage)
    cluster.run(a_run(0, FINISH), ends)
    cluster.run(a_run(1, BREAK), ends)
    cluster.run(a_run(2, HOLD), ends)
    assert ends.told == []
    await ends.until(2)
    assert sorted(ends.told) == [(0, ShardEnd.FINISHED), (1, ShardEnd.LOST)]
    cluster.retire()
    await cluster.stop(7.0)
    assert ends.told[2:] == [(2, ShardEnd.STOPPED)]
    for place in stage.fleet.places.values():
        assert ("stop", 7.0) in place.worker.calls
        assert place.kills == [True]


@staged("a", "b")
async def test_shards_go_to_the_worker_that_has_the_least_to_do(stage: Stage) -> None:
    cluster, ends = await led(stage)
    for index in range(4):
        cluster.run(a_run(index, HOLD), ends)
    await stage.clock.advance(0)
    assert [len(place.worker.runs) for place in stage.fleet.places.values()] == [2, 2]
    await cluster.stop(0)


@staged("a")
async def test_without_a_worker_nothing_is_wanted_and_what_is_handed_out_is_lost(
    stage: Stage,
) -> None:
    cluster, ends = stage.cluster(), Ends()
    await cluster.attach(ends)
    stage.place("a").leave()
    await stage.clock.advance(2)
    assert cluster.wanted(LANE) == 0
    cluster.run(a_run(0), ends)
    await ends.until(1)
    assert ends.told == [(0, ShardEnd.LOST)]
    await cluster.stop(0)


@staged("a", "b", "c")
async def test_as_many_shards_are_wanted_as_workers_lack_lines(stage: Stage) -> None:
    cluster, ends = await led(stage, cap=9)
    room, count = cluster.wanted(LANE), 0
    while room > 0:
        cluster.run(a_run(count, HOLD), ends)
        room, count = room - 10, count + 1
    assert count == 3
    assert cluster.wanted(LANE) == 0
    await cluster.stop(0)


@staged("a", "b")
async def test_the_next_dispatcher_goes_on_with_what_the_last_one_handed_out(stage: Stage) -> None:
    first, heard_first = await led(stage)
    for index in range(4):
        first.run(a_run(index, HOLD), heard_first)
    await stage.clock.advance(2)
    slots = [place.worker.slots for place in stage.fleet.places.values()]

    second, heard = stage.cluster(), Ends()
    held = await second.attach(heard)
    assert sorted(shard.index for shard in held) == [0, 1, 2, 3]
    assert [place.worker.slots for place in stage.fleet.places.values()] == slots
    for place in stage.fleet.places.values():
        place.worker.finish(0, 1, 2, 3)
    await heard.until(4)
    assert sorted(heard.told) == [(index, ShardEnd.FINISHED) for index in range(4)]
    for place in stage.fleet.places.values():
        assert len([call for call in place.worker.calls if call[0] == "run"]) == 2
    await second.stop(0)
    await first.stop(0)


@staged("a")
async def test_a_dispatcher_that_leaves_lets_the_runs_go_on(stage: Stage) -> None:
    cluster, ends = await led(stage)
    cluster.run(a_run(0, HOLD), ends)
    await stage.clock.advance(1)
    await cluster.stop(5.0)
    assert ends.told == [(0, ShardEnd.LOST)]
    assert indexes(stage.place("a").worker) == {0}
    assert stage.place("a").kills == []


@staged("a")
async def test_an_end_that_nobody_heard_is_kept_for_the_next_dispatcher(stage: Stage) -> None:
    first = stage.cluster()
    await first.attach(Ends())
    await stage.clock.advance(2)
    first.run(a_run(0, HOLD), Ends())
    await stage.clock.advance(1)
    await first.stop(0)
    stage.place("a").worker.finish(0)
    second, heard = stage.cluster(), Ends()
    assert [shard.index for shard in await second.attach(heard)] == [0]
    await heard.until(1)
    assert heard.told == [(0, ShardEnd.FINISHED)]
    await stage.clock.advance(3)
    await second.stop(0)
    assert await stage.cluster().attach(Ends()) == [], "it was told"


@staged("a")
async def test_a_dispatcher_that_was_succeeded_is_not_obeyed(stage: Stage) -> None:
    first, second = stage.cluster(), stage.cluster()
    ends = Ends()
    await first.attach(ends)
    await stage.clock.advance(2)
    await second.attach(Ends())
    first.run(a_run(0), ends)
    await ends.until(1)
    assert ends.told == [(0, ShardEnd.LOST)]
    assert stage.place("a").worker.calls == []
    with pytest.raises(Superseded):
        await stage.place("a").beat(_old_letter())
    await first.stop(0)
    await second.stop(0)


def _old_letter() -> Any:
    from batchmill.cluster.link import Letter
    from batchmill.domain.sharing import Grant
    from batchmill.ports import Orders

    return Letter(Orders(Grant(1)))


@staged("a", "b")
async def test_the_runs_of_a_dead_process_are_lost_and_its_successor_gets_new_ones(
    stage: Stage,
) -> None:
    cluster, ends = await led(stage)
    cluster.run(a_run(0, HOLD), ends)
    cluster.run(a_run(1, HOLD), ends)
    await stage.clock.advance(1)
    [dead] = [place for place in stage.fleet.places.values() if indexes(place.worker) == {0}]
    dead.die()
    await stage.clock.advance(1)
    assert ends.told == [(0, ShardEnd.LOST)]
    dead.start()
    await stage.clock.advance(2)
    cluster.run(a_run(2, HOLD), ends)
    await stage.clock.advance(1)
    assert indexes(dead.worker) == {2}
    assert ends.told == [(0, ShardEnd.LOST)]
    await cluster.stop(0)


@staged("a")
async def test_a_broken_connection_alone_loses_nothing(stage: Stage) -> None:
    cluster, ends = await led(stage)
    cluster.run(a_run(0, HOLD), ends)
    await stage.clock.advance(1)
    stage.place("a").hiccup()
    await stage.clock.advance(2)
    assert ends.told == []
    stage.place("a").worker.finish(0)
    await ends.until(1)
    assert ends.told == [(0, ShardEnd.FINISHED)]
    await cluster.stop(0)


@staged("a", "b")
async def test_a_silent_worker_is_fenced_and_what_it_still_runs_is_dropped_when_it_thaws(
    stage: Stage,
) -> None:
    cluster, ends = await led(stage)
    cluster.run(a_run(0, HOLD), ends)
    await stage.clock.advance(1)
    [silent] = [place for place in stage.fleet.places.values() if place.worker.runs]
    silent.freeze()
    await stage.clock.advance(FENCE_AFTER - 2)
    assert ends.told == []
    await stage.clock.advance(4)
    assert ends.told == [(0, ShardEnd.LOST)]
    assert silent.kills == [False]
    assert silent.worker.slots == 0, "its lease is out"
    silent.thaw()
    await stage.clock.advance(4)
    assert silent.worker.runs == {}, "its runs belong to others"
    assert ends.told == [(0, ShardEnd.LOST)]
    await cluster.stop(0)


@staged("a", "b")
async def test_the_slots_of_a_silent_worker_are_used_again_before_it_is_fenced(
    stage: Stage,
) -> None:
    stage.fence_after = shortest = 5.0
    cluster, ends = await led(stage)
    cluster.run(a_run(0, HOLD), ends)
    cluster.run(a_run(1, HOLD), ends)
    await stage.clock.advance(2)
    assert slots_of(stage) == {"a": CAP // 2, "b": CAP // 2}
    stage.place("a").freeze()
    await stage.clock.advance(0.6 * shortest)
    assert slots_of(stage)["b"] == CAP // 2, "what the other one sent may be in flight"
    await stage.clock.advance(0.4 * shortest)
    assert slots_of(stage)["b"] == CAP
    await cluster.stop(0)


@staged("a", "b")
async def test_a_store_that_is_a_little_slow_costs_no_slots(stage: Stage) -> None:
    stage.fence_after = shortest = 5.0
    cluster, ends = await led(stage)
    cluster.run(a_run(0, HOLD), ends)
    await stage.clock.advance(2)
    stage.register.takes, stage.fleet.is_silent = 0.1 * shortest - 0.1, True
    for _ in range(40):
        await stage.clock.advance(0.1 * shortest)
        assert sum(slots_of(stage).values()) == CAP
    await cluster.stop(0)


@staged("a", "b")
async def test_the_runs_of_a_machine_that_is_gone_are_lost(stage: Stage) -> None:
    cluster, ends = await led(stage)
    cluster.run(a_run(0, HOLD), ends)
    await stage.clock.advance(1)
    [gone] = [place for place in stage.fleet.places.values() if place.worker.runs]
    gone.leave()
    await stage.clock.advance(2)
    assert ends.told == [(0, ShardEnd.LOST)]
    await cluster.stop(0)


@staged("a", "b")
async def test_a_cancel_reaches_every_worker_even_over_a_broken_connection(stage: Stage) -> None:
    cluster, ends = await led(stage)
    for index in range(4):
        cluster.run(a_run(index, HOLD, batch_id=f"batch_{index // 2}"), ends)
    await stage.clock.advance(1)
    place = stage.place("a")
    place.is_cut = True
    cancelling = asyncio.create_task(cluster.cancel("batch_0", 3.0))
    await stage.clock.advance(0.1)
    place.is_cut = False
    await stage.clock.advance(1)
    await cancelling
    assert sorted(ends.told) == [(0, ShardEnd.STOPPED), (1, ShardEnd.STOPPED)]
    await cluster.stop(0)


# --- slots ---


def slots_of(stage: Stage) -> dict[str, int]:
    return {name: place.worker.slots for name, place in stage.fleet.places.items()}


@staged("a", "b")
async def test_the_slots_follow_the_lines_and_never_pass_the_cap(stage: Stage) -> None:
    cluster, ends = await led(stage)
    assert slots_of(stage) == {"a": 0, "b": 0}
    cluster.run(a_run(0, HOLD), ends)
    await stage.clock.advance(2)
    assert sorted(slots_of(stage).values()) == [0, CAP]
    cluster.run(a_run(1, HOLD), ends)
    for _ in range(8):
        await stage.clock.advance(0.5)
        assert sum(slots_of(stage).values()) <= CAP
    assert slots_of(stage) == {"a": CAP // 2, "b": CAP // 2}
    await cluster.stop(0)


@staged("a", "b")
async def test_the_slots_of_a_silent_worker_are_others_only_when_its_lease_is_out(
    stage: Stage,
) -> None:
    cluster, ends = await led(stage)
    cluster.run(a_run(0, HOLD), ends)
    cluster.run(a_run(1, HOLD), ends)
    await stage.clock.advance(3)
    stage.place("a").freeze()
    while slots_of(stage)["b"] == CAP // 2:
        await stage.clock.advance(0.25)
        assert sum(slots_of(stage).values()) <= CAP
    assert slots_of(stage) == {"a": 0, "b": CAP}
    await cluster.stop(0)


AWAY = StorageAway("The database does not answer.")


@staged("a", "b")
async def test_a_store_that_is_away_takes_no_slots_for_a_while(stage: Stage) -> None:
    cluster, ends = await led(stage)
    cluster.run(a_run(0, HOLD), ends)
    await stage.clock.advance(2)
    stage.register.error = AWAY
    await stage.clock.advance(11 * FENCE_AFTER)
    assert sum(slots_of(stage).values()) == CAP
    await stage.clock.advance(2 * FENCE_AFTER)
    assert slots_of(stage) == {"a": 0, "b": 0}, "somebody else may lead by now"
    stage.register.error = None
    await stage.clock.advance(3)
    assert sum(slots_of(stage).values()) == CAP
    assert ends.told == []
    await cluster.stop(0)


@staged("a", "b")
async def test_a_dispatcher_that_is_cut_off_gives_no_slots(stage: Stage) -> None:
    cluster, ends = await led(stage)
    cluster.run(a_run(0, HOLD), ends)
    await stage.clock.advance(2)
    stage.register.error, stage.fleet.is_silent = AWAY, True
    await stage.clock.advance(FENCE_AFTER)
    assert slots_of(stage) == {"a": 0, "b": 0}
    assert ends.told == [], "it is heard of all the same"
    stage.register.error, stage.fleet.is_silent = None, False
    await stage.clock.advance(3)
    assert sum(slots_of(stage).values()) == CAP
    await cluster.stop(0)


@staged("a", "b")
async def test_whoever_hears_that_another_one_leads_gives_its_workers_up(stage: Stage) -> None:
    cluster, ends = await led(stage)
    cluster.run(a_run(0, HOLD), ends)
    await stage.clock.advance(2)
    stage.register.error = Superseded("Another engine leads.")
    await stage.clock.advance(2)
    assert cluster.wanted(LANE) == 0
    assert ends.told == [(0, ShardEnd.LOST)]
    assert [place.kills for place in stage.fleet.places.values()] == [[], []]
    assert [len(place.worker.runs) for place in stage.fleet.places.values()].count(1) == 1
    await cluster.stop(0)


@staged("a", "b")
async def test_the_next_dispatcher_waits_out_the_lease_of_a_worker_that_it_cannot_reach(
    stage: Stage,
) -> None:
    first = stage.cluster()
    await first.attach(Ends())
    await stage.clock.advance(2)
    first.run(a_run(0, HOLD), Ends())
    await stage.clock.advance(2)
    [lone] = [place for place in stage.fleet.places.values() if place.worker.runs]
    [other] = [place for place in stage.fleet.places.values() if place is not lone]
    await first.stop(0)
    _cut_off(lone)
    second, ends = stage.cluster(), Ends()
    attaching = asyncio.create_task(second.attach(ends))
    await stage.clock.advance(0)
    assert list(await attaching) == []
    await stage.clock.advance(1)
    second.run(a_run(1, HOLD), ends)
    await stage.clock.advance(1)
    assert (lone.worker.slots, other.worker.slots) == (CAP, 0)
    await stage.clock.advance(FENCE_AFTER)
    assert (lone.worker.slots, other.worker.slots) == (0, CAP)
    await second.stop(0)


def _cut_off(place: Place) -> None:
    """As in a net that is parted: the process goes on, and nobody reaches it."""
    place.is_cut = True
