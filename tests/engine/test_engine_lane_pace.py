"""A lane over its upstreams: slots, weights, backing off, pauses, probes, and failover."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from engine_fakes import (
    GOOD,
    Gate,
    Rig,
    ScriptedTransport,
    Sent,
    a_desk,
    an_upstream,
    run_rig,
    settle_down,
)

from batchmill.domain.noise import SLACK, Noise
from batchmill.engine.lane import Promise
from batchmill.engine.upstream import Upstream
from batchmill.ports import FaultKind, Outcome, Reply, TransportFault

GONE = TransportFault(FaultKind.UNREACHABLE)


def busy(status: int, retry_after: float | None = None) -> Reply:
    return Reply(status, b'{"error":{}}', retry_after)


class Switch:
    """A behaviour that can be changed while the lane runs."""

    def __init__(self, what: Reply | Exception) -> None:
        self.what = what

    async def __call__(self, one: Sent) -> Reply:
        await asyncio.sleep(0)
        if isinstance(self.what, Exception):
            raise self.what
        return self.what


def test_no_more_than_max_in_flight_are_sent_at_once_and_no_fewer() -> None:
    gate = Gate()
    transport = ScriptedTransport(gate)

    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, *range(1, 21))
        await settle_down()
        assert transport.in_flight == 3
        for _ in range(20):
            gate.open(1)
            await settle_down(5)
        assert sorted(desk.numbers) == list(range(1, 21))
        assert transport.most_in_flight == 3

    asyncio.run(run_rig([an_upstream(transport, 3)], test))


def test_the_next_shards_lines_take_the_slots_that_this_one_leaves() -> None:
    gate = Gate()
    transport = ScriptedTransport(gate)

    async def test(rig: Rig) -> None:
        first, second = a_desk(index=0), a_desk(index=1)
        first.offer(rig.lane, 1, 2, 3)
        second.offer(rig.lane, 11, 12)
        await settle_down()
        gate.open(1)
        await settle_down()
        assert transport.in_flight == 2
        gate.open(1)
        await settle_down()
        assert len(first.numbers) == 2, "one line of the first shard is still out"
        assert {sent.key for sent in transport.sent} >= {second.job(11).id}

    asyncio.run(run_rig([an_upstream(transport, 2)], test))


def test_wanted_counts_what_is_queued_and_what_was_promised() -> None:
    gate = Gate()

    async def test(rig: Rig) -> None:
        assert rig.lane.wanted() == 8
        rig.lane.promises.add(Promise(3))
        assert rig.lane.wanted() == 5
        desk = a_desk()
        desk.offer(rig.lane, *range(1, 7))
        await settle_down()
        assert rig.lane.wanted() == 3, "four are in flight, two are queued"

    asyncio.run(run_rig([an_upstream(ScriptedTransport(gate), 4)], test))


def test_a_lane_without_upstreams_wants_nothing() -> None:
    async def test(rig: Rig) -> None:
        assert rig.lane.wanted() == 0

    asyncio.run(run_rig([], test))


@pytest.mark.parametrize(("weight", "expected"), [(1.0, (4, 4)), (3.0, (6, 2))])
def test_lines_are_shared_by_weight(weight: float, expected: tuple[int, int]) -> None:
    one, two = ScriptedTransport(Gate()), ScriptedTransport(Gate())
    upstreams = [
        an_upstream(one, 50, "one", weight=weight),
        an_upstream(two, 50, "two"),
    ]

    async def test(rig: Rig) -> None:
        a_desk().offer(rig.lane, *range(1, 9))
        await settle_down()
        assert (one.in_flight, two.in_flight) == expected

    asyncio.run(run_rig(upstreams, test))


def test_a_full_upstream_leaves_lines_to_the_other() -> None:
    one, two = ScriptedTransport(Gate()), ScriptedTransport(Gate())
    upstreams = [
        an_upstream(one, 2, "one", weight=100.0),
        an_upstream(two, 3, "two"),
    ]

    async def test(rig: Rig) -> None:
        a_desk().offer(rig.lane, *range(1, 11))
        await settle_down()
        assert (one.in_flight, two.in_flight) == (2, 3)

    asyncio.run(run_rig(upstreams, test))


def test_an_unreachable_upstream_pauses_its_lines_and_costs_them_nothing() -> None:
    switch = Switch(GONE)
    transport = ScriptedTransport(switch)

    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, *range(1, 31))
        await settle_down()
        assert len(transport.sent) == 4, "after the first refusals nothing is sent"
        assert rig.reading("batchmill_upstream_up", model="m", upstream="up") == 0.0
        waits = []
        for probe in range(8):
            waits.append(await rig.clock.skip())
            await settle_down()
            assert len(transport.sent) == 5 + probe, "one line asks after each pause"
        assert waits == [0.375, 0.75, 1.5, 3.0, 6.0, 12.0, 22.5, 22.5]
        assert desk.numbers == []
        switch.what = GOOD
        await rig.clock.skip()
        await settle_down(200)
        assert sorted(desk.numbers) == list(range(1, 31))
        assert all(record.ok for record in desk.segment.records)
        assert rig.reading("batchmill_upstream_up", model="m", upstream="up") == 1.0

    asyncio.run(run_rig([an_upstream(transport, 4)], test))


def test_a_pause_ends_although_the_timer_fires_early() -> None:
    """Event loops round; without a second look the lane would stand still for good."""
    switch = Switch(GONE)
    transport = ScriptedTransport(switch)

    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, 1)
        [wait] = await rig.clock.until_asleep(1)
        switch.what = GOOD
        rig.clock.advance(wait - 0.0004)
        for _, sleeper in rig.clock._sleepers:
            sleeper.set_result(None)
        await settle_down()
        assert desk.numbers == []
        assert await rig.clock.skip() == pytest.approx(0.0004, rel=0.01)
        await settle_down()
        assert desk.numbers == [1]

    asyncio.run(run_rig([an_upstream(transport)], test))


def test_a_storm_of_503_is_taken_for_down_without_burning_attempts() -> None:
    switch = Switch(busy(503))
    transport = ScriptedTransport(switch)

    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, *range(1, 101))
        await settle_down(300)
        early = len(transport.sent)
        assert rig.upstreams[0].pace.is_down
        for _ in range(12):
            await rig.clock.skip()
            await settle_down()
        assert desk.numbers == []
        assert len(transport.sent) < early + 20
        switch.what = GOOD
        while len(desk.numbers) < 100:
            await rig.clock.skip()
            await settle_down(100)
        assert all(record.ok for record in desk.segment.records)

    asyncio.run(run_rig([an_upstream(transport, 16)], test))


def test_one_line_that_is_always_answered_503_does_not_hold_up_the_others() -> None:
    """Down, the upstream is asked with another line each time."""
    state = {"down": True}

    async def behave(one: Sent) -> Reply:
        await asyncio.sleep(0)
        return busy(503) if state["down"] or b"poison" in one.body else GOOD

    transport = ScriptedTransport(behave)

    async def test(rig: Rig) -> None:
        desk = a_desk()
        rig.lane.offer(desk.job(1, b'{"model":"m","x":"poison"}'))
        desk.offer(rig.lane, *range(2, 21))
        await settle_down(300)
        assert rig.upstreams[0].pace.is_down
        state["down"] = False
        for _ in range(60):
            await rig.clock.skip()
            await settle_down(100)
            if len(desk.numbers) == 20:
                break
        good = {record.number for record in desk.segment.records if record.ok}
        assert good == set(range(2, 21))
        assert {record.number for record in desk.segment.records if not record.ok} == {1}

    asyncio.run(run_rig([an_upstream(transport, 16)], test))


def test_the_other_upstream_takes_over_at_once() -> None:
    dead, alive = ScriptedTransport(Switch(GONE)), ScriptedTransport(Switch(GOOD))
    upstreams = [
        an_upstream(dead, 4, "dead", weight=10.0),
        an_upstream(alive, 4, "alive"),
    ]

    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, *range(1, 41))
        await settle_down(300)
        assert sorted(desk.numbers) == list(range(1, 41))
        assert len(dead.sent) <= 4
        assert len(alive.sent) == 40
        assert not rig.upstreams[1].pace.is_down

    asyncio.run(run_rig(upstreams, test))


def test_a_rejection_leaves_what_the_upstream_holds_and_a_trial_brings_back_more() -> None:
    gate = Gate()
    transport = ScriptedTransport(gate)

    async def answer(rig: Rig, count: int) -> None:
        for _ in range(count):
            gate.open(1)
            await settle_down(5)
        rig.clock.advance(1.0)
        rig.lane.observe()

    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, *range(1, 301))
        await settle_down()
        assert transport.in_flight == 10
        gate.open(3, busy(429))
        await settle_down()
        assert transport.in_flight == 7, "no other line takes their slots"
        assert not rig.upstreams[0].pace.is_down
        for _ in range(8):
            await answer(rig, 20)
        assert transport.in_flight == rig.upstreams[0].pace.limit == 10
        trials = {"outcome": "kept", "model": "m", "upstream": "up"}
        assert rig.reading("batchmill_in_flight_trials_total", **trials) == 1
        assert transport.most_in_flight == 10

    asyncio.run(run_rig([an_upstream(transport, 10)], test))


def test_an_upstream_that_takes_nothing_is_asked_with_one_line_and_filled_when_it_answers() -> None:
    switch = Switch(busy(429))
    transport = ScriptedTransport(switch)

    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, *range(1, 101))
        await settle_down()
        assert len(transport.sent) == 8, "all at once, and no more when these are rejected"
        rig.clock.advance(1.0)
        await settle_down()
        assert len(transport.sent) == 9, "one asks, and is rejected"
        switch.what = GOOD
        rig.clock.advance(1.0)
        await settle_down(300)
        assert len(desk.numbers) == 100

    asyncio.run(run_rig([an_upstream(transport, 8)], test))


def test_lines_are_wanted_of_an_upstream_that_takes_nothing_now() -> None:
    """Otherwise none would ever ask whether it takes some again."""
    transport = ScriptedTransport(Switch(busy(429)))

    async def test(rig: Rig) -> None:
        a_desk().offer(rig.lane, 1)
        await settle_down()
        assert rig.upstreams[0].pace.allowed(rig.clock.now()) == 0
        assert rig.lane.wanted() > 0

    asyncio.run(run_rig([an_upstream(transport, 8)], test))


def test_without_a_set_number_512_are_sent_at_once() -> None:
    transport = ScriptedTransport(Gate())

    async def test(rig: Rig) -> None:
        a_desk().offer(rig.lane, *range(1, 601))
        await settle_down()
        assert transport.in_flight == 512

    asyncio.run(run_rig([an_upstream(transport, None)], test))


def test_a_wave_of_timeouts_cuts_what_is_in_flight() -> None:
    transport = ScriptedTransport(Switch(TransportFault(FaultKind.TIMEOUT)))

    async def test(rig: Rig) -> None:
        a_desk().offer(rig.lane, *range(1, 101))
        await settle_down(300)
        assert rig.upstreams[0].pace.limit == 1

    asyncio.run(run_rig([an_upstream(transport, 16, patience=60.0)], test))


def test_a_line_that_is_always_answered_503_does_not_keep_an_upstream_down() -> None:
    """It was first in the queue when the upstream went down, and so it is the first to ask."""
    down = [True]

    async def behave(one: Sent) -> Reply:
        await asyncio.sleep(0)
        if down[0]:
            raise GONE
        return busy(503) if b"poison" in one.body else GOOD

    transport = ScriptedTransport(behave)

    async def test(rig: Rig) -> None:
        desk = a_desk()
        rig.lane.offer(desk.job(1, b'{"model":"m","x":"poison"}'))
        desk.offer(rig.lane, 2, 3)
        await rig.clock.until_asleep(1)
        down[0] = False
        for _ in range(2):
            await rig.clock.skip()
            await settle_down()
        assert desk.numbers == [2, 3]

    asyncio.run(run_rig([an_upstream(transport, 1)], test))


class Handed:
    """A transport whose answers are handed on by the test, any number in one turn of the loop."""

    def __init__(self) -> None:
        self.ends: list[Callable[[Outcome], None]] = []
        self.cancelled = 0
        self.on_post: Callable[[], None] = lambda: None

    def post(
        self,
        _path: str,
        _body: bytes,
        _key: str,
        _timeout: float | None,
        on_end: Callable[[Outcome], None],
    ) -> "Handed":
        self.ends.append(on_end)
        self.on_post()
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    async def close(self) -> None:
        """Nothing is open."""


def test_what_came_in_one_turn_is_looked_at_before_more_is_sent() -> None:
    transport = Handed()

    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, *range(1, 10))
        await asyncio.sleep(0)
        assert len(transport.ends) == 4
        settled = list[list[int]]()
        transport.on_post = lambda: settled.append(desk.numbers)
        for end in transport.ends[:3]:
            end(GOOD)
        assert len(transport.ends) == 4
        await asyncio.sleep(0)
        assert (len(transport.ends), settled) == (7, [[1, 2, 3]] * 3)
        assert rig.upstreams[0].in_flight == 4

    asyncio.run(run_rig([Upstream("up", transport, max_in_flight=4)], test))


def test_what_has_come_when_a_shard_is_aborted_counts() -> None:
    transport = Handed()

    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, 1, 2, 3)
        await asyncio.sleep(0)
        transport.ends[1](GOOD)
        desk.active.stop()
        desk.active.abort()
        assert (transport.cancelled, desk.active.over.is_set()) == (2, False)
        await desk.active.over.wait()
        assert (desk.numbers, desk.budget.taken) == ([2], 0)
        assert rig.upstreams[0].in_flight == 0

    asyncio.run(run_rig([Upstream("up", transport, max_in_flight=4)], test))


def test_of_one_turn_each_shard_gets_its_own_results_and_what_failed_is_retried() -> None:
    transport = Handed()

    async def test(rig: Rig) -> None:
        first, second = a_desk(), a_desk(batch_id="batch_2")
        first.offer(rig.lane, 1, 2)
        second.offer(rig.lane, 1, 2)
        await asyncio.sleep(0)
        reset, broken = TransportFault(FaultKind.RESET), Reply(500, b"{}")
        outcomes: list[Outcome] = [GOOD, reset, broken, GOOD]
        for end, outcome in zip(transport.ends, outcomes, strict=True):
            end(outcome)
        await asyncio.sleep(0)
        assert (first.numbers, second.numbers) == ([1], [2])
        assert rig.upstreams[0].in_flight == 0
        await rig.clock.skip()
        await settle_down()
        assert len(transport.ends) == 6
        for end in transport.ends[4:]:
            end(GOOD)
        await asyncio.sleep(0)
        assert (first.numbers, second.numbers) == ([1, 2], [2, 1])

    asyncio.run(run_rig([Upstream("up", transport, max_in_flight=4)], test))


def test_a_window_that_is_full_at_the_turns_begin_counts_as_full_for_all_its_answers() -> None:
    transport = Handed()

    async def test(rig: Rig) -> None:
        a_desk().offer(rig.lane, *range(1, 2601))
        await asyncio.sleep(0)
        assert len(transport.ends) == 512
        for _ in range(3):
            answered, transport.ends = transport.ends, []
            for end in answered:
                end(GOOD)
            await asyncio.sleep(0)
            rig.clock.advance(5.0)
            rig.lane.observe()
        pace = rig.upstreams[0].pace
        assert pace.is_trying, "the source is not what holds it back"

    asyncio.run(run_rig([Upstream("up", transport, max_in_flight=None)], test))


def test_of_what_is_rejected_as_noise_more_is_borne_the_more_is_answered() -> None:
    async def test(rig: Rig) -> None:
        upstream = rig.upstreams[0]
        upstream.pace = replace(upstream.pace, noise=Noise(0.5, until=math.inf))
        upstream.in_flight = 90
        upstream.good = 10
        upstream.note_good()
        for _ in range(SLACK + 15):
            upstream.note_bad_answer(429, "rate_limited")
        assert upstream.pace.limit == 100
        upstream.note_bad_answer(429, "rate_limited")
        assert upstream.pace.limit == 90 - SLACK - 16
        upstream.in_flight = 0

    asyncio.run(run_rig([an_upstream(ScriptedTransport(Gate()), 100)], test))


def test_the_slot_of_an_aborted_line_is_taken_until_its_connection_is_closed() -> None:
    transport = Handed()

    async def test(rig: Rig) -> None:
        stopped, waiting = a_desk(), a_desk(index=1)
        stopped.offer(rig.lane, 1)
        waiting.offer(rig.lane, 2)
        await asyncio.sleep(0)
        stopped.active.stop()
        stopped.active.abort()
        assert (transport.cancelled, len(transport.ends)) == (1, 1)
        assert (stopped.active.over.is_set(), rig.upstreams[0].in_flight) == (True, 1)
        await asyncio.sleep(0)
        assert (len(transport.ends), rig.upstreams[0].in_flight) == (2, 1)

    asyncio.run(run_rig([Upstream("up", transport, max_in_flight=1)], test))
