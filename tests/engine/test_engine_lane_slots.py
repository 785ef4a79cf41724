"""A lane on shared slots: it sends on what it was granted, while its lease is good."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from engine_fakes import (
    GOOD,
    Gate,
    Rig,
    ScriptedTransport,
    a_desk,
    an_upstream,
    run_rig,
    settle_down,
)

from batchmill.domain.sharing import Outlet
from batchmill.engine.lane import Promise
from batchmill.engine.lease import Lease, seconds
from batchmill.engine.upstream import Upstream
from batchmill.ports import FaultKind, Reply, TransportFault

UP = Outlet("m", "up")


class Leased:
    """A lease over a clock that is moved by hand; good until 10."""

    def __init__(self) -> None:
        self.now = 0.0
        self.lease = Lease(1.0, lambda: self.now)
        self.lease.until = 10.0


Test = Callable[[Rig, Leased], Coroutine[Any, Any, None]]


def run(test: Test, *upstreams: Upstream) -> None:
    async def main(rig: Rig) -> None:
        leased = Leased()
        rig.lane.put_under(leased.lease)
        await test(rig, leased)

    asyncio.run(run_rig(upstreams, main))


def test_nothing_is_sent_before_slots_are_set_and_no_more_than_these_then() -> None:
    transport = ScriptedTransport(gate := Gate())

    async def test(rig: Rig, _: Leased) -> None:
        desk = a_desk()
        desk.offer(rig.lane, *range(1, 10))
        await settle_down()
        assert transport.in_flight == 0
        assert rig.lane.wanted() == -9
        rig.lane.set_slots({UP: 3})
        await settle_down()
        assert transport.in_flight == 3
        rig.lane.set_slots({UP: 5})
        await settle_down()
        assert transport.in_flight == 5
        assert (rig.lane.shared_in_flight(), rig.lane.outstanding()) == ({UP: 5}, 9)
        gate.open()
        while len(desk.numbers) < 9:
            gate.open()
            await settle_down()
        assert transport.most_in_flight == 5

    run(test, an_upstream(transport, 100))


def test_lowering_lets_what_is_in_flight_end() -> None:
    transport = ScriptedTransport(gate := Gate())

    async def test(rig: Rig, _: Leased) -> None:
        desk = a_desk()
        rig.lane.set_slots({UP: 4})
        desk.offer(rig.lane, *range(1, 10))
        await settle_down()
        rig.lane.set_slots({UP: 2})
        await settle_down()
        assert (transport.in_flight, transport.aborted) == (4, 0)
        gate.open(2)
        await settle_down()
        assert (transport.in_flight, len(desk.numbers)) == (2, 2)
        rig.lane.set_slots({})
        gate.open(2)
        await settle_down()
        assert (transport.in_flight, len(desk.numbers)) == (0, 4)
        assert rig.lane.shared_in_flight() == {}
        rig.lane.set_slots({UP: 1})
        await settle_down()
        assert transport.in_flight == 1

    run(test, an_upstream(transport, 100))


def test_an_upstream_of_this_process_alone_keeps_its_own_slots() -> None:
    shared, own = ScriptedTransport(Gate()), ScriptedTransport(Gate())

    async def test(rig: Rig, leased: Leased) -> None:
        a_desk().offer(rig.lane, *range(1, 10))
        await settle_down()
        assert (shared.in_flight, own.in_flight) == (0, 2)
        assert rig.lane.shared_in_flight() == {}
        assert rig.lane.outstanding() == 9

    run(
        test,
        an_upstream(shared, 50, "up"),
        an_upstream(own, 2, "own", is_shared=False),
    )


def test_nothing_is_sent_from_the_moment_on_at_which_the_lease_runs_out() -> None:
    transport = ScriptedTransport(gate := Gate())

    async def test(rig: Rig, leased: Leased) -> None:
        desk = a_desk()
        rig.lane.set_slots({UP: 2})
        desk.offer(rig.lane, 1, 2, 3, 4, 5)
        await settle_down()
        leased.now = 9.99
        gate.open(1)
        await settle_down()
        assert len(transport.sent) == 3
        leased.now = 10.0
        gate.open()
        await settle_down()
        rig.lane.set_slots({UP: 4})
        desk.offer(rig.lane, 6)
        await settle_down()
        assert (len(transport.sent), len(desk.numbers)) == (3, 3), "answers still count"
        leased.lease.until = 20.0
        rig.lane.set_slots({UP: 4})
        await settle_down()
        assert transport.in_flight == 3
        gate.open()
        await settle_down()
        assert sorted(desk.numbers) == [1, 2, 3, 4, 5, 6]

    run(test, an_upstream(transport, 100))


def test_a_slot_that_is_freed_after_a_long_sleep_is_not_used_again() -> None:
    transport = ScriptedTransport(gate := Gate())

    async def test(rig: Rig, leased: Leased) -> None:
        desk = a_desk()
        rig.lane.set_slots({UP: 1})
        desk.offer(rig.lane, 1, 2)
        await settle_down()
        leased.now = 1000.0
        gate.open()
        await settle_down()
        assert len(transport.sent) == 1
        assert rig.lane.outstanding() == 1
        leased.lease.until = 2000.0
        rig.lane.set_slots({UP: 1})
        await settle_down()
        gate.open()
        await settle_down()
        assert desk.numbers == [1, 2]

    run(test, an_upstream(transport, 100))


def test_lines_that_rest_before_another_try_are_outstanding() -> None:
    async def test(rig: Rig, _: Leased) -> None:
        desk = a_desk()
        rig.lane.set_slots({UP: 1})
        desk.offer(rig.lane, 1)
        await rig.clock.until_asleep(1)
        assert (rig.lane.outstanding(), rig.lane.shared_in_flight()) == (1, {})
        rig.lane.promises.add(promise := Promise(5))
        assert rig.lane.outstanding() == 6
        rig.lane.promises.discard(promise)
        await rig.clock.skip()
        await settle_down()
        assert desk.numbers == [1]

    run(test, an_upstream(ScriptedTransport([Reply(500, b"{}"), GOOD]), 8))


def test_slots_that_come_back_during_a_pause_ask_with_one_line_after_it() -> None:
    gone = TransportFault(FaultKind.UNREACHABLE)
    transport = ScriptedTransport([gone, GOOD, GOOD, GOOD])

    async def test(rig: Rig, _: Leased) -> None:
        desk = a_desk()
        rig.lane.set_slots({UP: 1})
        desk.offer(rig.lane, 1, 2, 3)
        await rig.clock.until_asleep(1)
        rig.lane.set_slots({})
        rig.lane.set_slots({UP: 3})
        await settle_down()
        assert len(transport.sent) == 1, "still paused"
        await rig.clock.skip()
        await settle_down()
        assert sorted(desk.numbers) == [1, 2, 3]

    run(test, an_upstream(transport, 8))


def test_the_clock_of_leases_goes_forward() -> None:
    assert seconds() <= seconds()


def test_a_lease_is_held_for_a_moment_after_it_is_out_and_then_lapses() -> None:
    now = 0.0
    lease = Lease(2.0, lambda: now)
    assert (lease.is_out, lease.is_held, lease.is_lapsed) == (True, False, False), "there is none"
    lease.until = 5.0
    for now, expected in (
        (4.9, (False, True, False)),
        (5.0, (True, True, False)),
        (6.9, (True, True, False)),
        (7.0, (True, False, True)),
    ):
        assert (lease.is_out, lease.is_held, lease.is_lapsed) == expected, now
    lease.forget()
    assert (lease.is_out, lease.is_held, lease.is_lapsed) == (True, False, False)
