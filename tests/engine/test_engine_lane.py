"""A lane: what becomes of a line after each kind of answer and fault, attempt by attempt."""

import asyncio
import json

import pytest
from engine_fakes import (
    DAY,
    GOOD,
    T0,
    Desk,
    Gate,
    Rig,
    ScriptedTransport,
    a_desk,
    an_upstream,
    run_rig,
    settle_down,
)

from batchmill.domain.ids import line_id
from batchmill.domain.usage import ZERO, Usage
from batchmill.ports import FaultKind, Reply, Settled, TransportFault

BAD_200S = [
    b'{"error":{"message":"x"}}',
    b"<html>",
    b'{"choices":[',
    b'{"usage":"odd","choices":[',
    b'{"a":"\xff"}',
    b"[]",
    b"",
]


def reply(status: int, retry_after: float | None = None, body: bytes = b'{"error":{}}') -> Reply:
    return Reply(status, body, retry_after)


def line_of(desk: Desk) -> dict[str, object]:
    parsed: dict[str, object] = json.loads(desk.record.line)
    return parsed


async def over(desk: Desk, rig: Rig) -> list[float]:
    """Move the clock from rest to rest until the one line is settled; how long it rested."""
    rests: list[float] = []
    while not desk.segment.records:
        rests.append(await rig.clock.skip())
        await settle_down()
    return rests


def run_one(
    script: list[Reply | Exception], *, deadline: float = T0 + DAY
) -> tuple[Desk, ScriptedTransport, list[float]]:
    """Send one line to an upstream that answers by ``script``."""
    transport = ScriptedTransport(script)
    result: list[tuple[Desk, list[float]]] = []

    async def test(rig: Rig) -> None:
        desk = a_desk(deadline=deadline)
        desk.offer(rig.lane, 7)
        await settle_down()
        result.append((desk, await over(desk, rig)))
        assert rig.upstreams[0].in_flight == 0
        assert desk.active.in_flight == set()
        assert desk.budget.taken == 0

    asyncio.run(run_rig([an_upstream(transport)], test))
    [(desk, rests)] = result
    return desk, transport, rests


def test_a_good_answer_settles_the_line_with_its_bytes_and_usage() -> None:
    desk, transport, rests = run_one([GOOD])
    assert (desk.record.number, desk.record.ok, desk.record.usage) == (7, True, Usage(2, 3))
    assert GOOD.body in desk.record.line
    assert b'"custom_id":"c7"' in desk.record.line
    assert (len(transport.sent), rests) == (1, [])
    assert desk.segment.marks == [7]
    assert desk.active.tally(T0).completed == 1


def test_what_is_sent_is_the_lines_own_body_under_the_path_without_v1() -> None:
    _, transport, _ = run_one([GOOD])
    [sent] = transport.sent
    assert (sent.path, sent.body) == ("/chat/completions", b'{"model":"m"}')
    assert sent.key == line_id("batch_1", 7)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 301, 201])
def test_an_answer_that_will_not_get_better_settles_at_once(status: int) -> None:
    desk, transport, rests = run_one([reply(status)])
    assert (desk.record.ok, desk.record.usage) == (False, ZERO)
    parsed = line_of(desk)
    assert parsed["error"] is None
    assert parsed["response"]["status_code"] == status  # type: ignore[index]
    assert (len(transport.sent), rests) == (1, [])
    assert desk.active.tally(T0).failed == 1


@pytest.mark.parametrize("status", [408, 409, 500, 501, 529])
def test_an_answer_that_may_get_better_is_asked_for_max_attempts_times(status: int) -> None:
    desk, transport, rests = run_one([reply(status)] * 9)
    assert len(transport.sent) == 3
    # Half of 1 and of 2 seconds: the jitter of these tests is 0.5.
    assert rests == [0.5, 1.0]
    parsed = line_of(desk)
    assert parsed["response"]["status_code"] == status  # type: ignore[index]
    assert parsed["error"] is None


def test_every_attempt_at_a_line_carries_the_same_idempotency_key() -> None:
    desk, transport, _ = run_one([reply(500), TransportFault(FaultKind.RESET), GOOD])
    assert desk.record.ok
    assert {sent.key for sent in transport.sent} == {line_id("batch_1", 7)}
    assert desk.segment.marks == [7, 7, 7]
    assert desk.active.tally(T0).resent == 0, "a retry is no line that was lost by a crash"


@pytest.mark.parametrize("body", BAD_200S)
def test_a_bad_200_is_retried_and_never_shown_as_a_200(body: bytes) -> None:
    desk, transport, _ = run_one([Reply(200, body)] * 9)
    assert len(transport.sent) == 3
    parsed = line_of(desk)
    assert parsed["response"] is None
    assert parsed["error"]["code"] == "upstream_error"  # type: ignore[index]
    assert b"200" not in desk.record.line or b"error object" in desk.record.line


def test_a_bad_200_may_be_followed_by_a_good_one() -> None:
    desk, transport, _ = run_one([Reply(200, b"<html>"), GOOD])
    assert desk.record.ok
    assert len(transport.sent) == 2


def test_rejections_are_waited_out_and_cost_no_attempt() -> None:
    script = [reply(429, 30.0), reply(429, 20.0), reply(500), reply(429), reply(500), GOOD]
    desk, transport, rests = run_one(list(script))
    assert desk.record.ok
    assert len(transport.sent) == 6
    assert (desk.record.retries, desk.record.rejections) == (5, 3)
    # Each time the upstream may be asked again, and a moment later the line's turn has come.
    assert rests[:4] == [30.0, 0.5, 20.0, 1.0]


def test_too_many_rejections_settle_the_line_with_the_last_one() -> None:
    desk, transport, _ = run_one([reply(429)] * 20)
    assert len(transport.sent) == 5
    assert desk.record.retries == 4
    assert line_of(desk)["response"]["status_code"] == 429  # type: ignore[index]


@pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.TIMEOUT, FaultKind.GARBLED])
def test_a_fault_of_the_connection_costs_an_attempt(kind: FaultKind) -> None:
    desk, transport, _ = run_one([TransportFault(kind, "secret")] * 9)
    assert len(transport.sent) == 3
    parsed = line_of(desk)
    assert parsed["response"] is None
    assert parsed["error"]["code"] == "upstream_error"  # type: ignore[index]
    assert b"secret" not in desk.record.line


def test_an_answer_that_is_too_large_is_not_asked_for_again() -> None:
    desk, transport, _ = run_one([TransportFault(FaultKind.TOO_LARGE)] * 9)
    assert len(transport.sent) == 1
    assert "larger" in line_of(desk)["error"]["message"]  # type: ignore[index]


def test_a_transport_that_breaks_in_its_own_way_costs_attempts_and_no_slot() -> None:
    desk, transport, _ = run_one(
        [ValueError("prompt text"), OSError(24, "Too many open files")] * 4
    )
    assert len(transport.sent) == 3
    assert line_of(desk)["error"]["code"] == "upstream_error"  # type: ignore[index]
    assert b"prompt" not in desk.record.line


def test_a_slot_serves_on_after_its_transport_broke() -> None:
    transport = ScriptedTransport([RuntimeError("x"), GOOD, GOOD])

    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, 1, 2)
        await settle_down()
        assert desk.numbers == [2]
        await rig.clock.skip()
        await settle_down()
        assert desk.numbers == [2, 1]

    asyncio.run(run_rig([an_upstream(transport, 1)], test))


def test_nothing_is_tried_again_past_the_deadline() -> None:
    desk, transport, rests = run_one([reply(429, 50.0)] * 9, deadline=T0 + 50.4)
    assert (len(transport.sent), rests) == (1, [])
    assert line_of(desk)["response"]["status_code"] == 429  # type: ignore[index]


def test_at_the_deadline_nothing_is_sent_and_the_line_stays_unsettled() -> None:
    transport = ScriptedTransport()

    async def test(rig: Rig) -> None:
        desk = a_desk(deadline=T0)
        desk.offer(rig.lane, 1)
        desk.active.feeding_ended()
        await desk.active.over.wait()
        assert (transport.sent, desk.numbers, desk.segment.marks) == ([], [], [])
        assert desk.budget.taken == 0
        just_before = a_desk(deadline=T0 + 0.001)
        just_before.offer(rig.lane, 1)
        await settle_down()
        assert just_before.numbers == [1]

    asyncio.run(run_rig([an_upstream(transport)], test))


def test_a_requests_patience_ends_soon_after_the_deadline() -> None:
    _, transport, _ = run_one([GOOD], deadline=T0 + 90.0)
    [sent] = transport.sent
    assert sent.timeout is not None
    assert 90.0 <= sent.timeout <= 100.0


def test_the_model_is_renamed_and_the_stream_keys_go_as_the_upstream_asks() -> None:
    transport = ScriptedTransport()
    upstream = an_upstream(transport, model="Qwen/Q", drop=frozenset({"stream", "stream_options"}))

    async def test(rig: Rig) -> None:
        desk = a_desk()
        body = b'{"model":"m","n":1.50,"stream":true,"stream_options":{"x":1}}'
        rig.lane.offer(desk.job(1, body))
        rig.lane.offer(desk.job(2, b'{"model": "m", "stop":"stream"}'))
        await settle_down()
        assert json.loads(transport.sent[0].body) == {"model": "Qwen/Q", "n": 1.5}
        assert b"1.50" in transport.sent[0].body
        assert json.loads(transport.sent[1].body) == {"model": "Qwen/Q", "stop": "stream"}

    asyncio.run(run_rig([upstream], test))


def test_a_line_that_an_earlier_attempt_sent_counts_as_resent_once() -> None:
    transport = ScriptedTransport([reply(500), GOOD, GOOD, GOOD])

    async def test(rig: Rig) -> None:
        desk = a_desk(before=Settled({}, frozenset({1, 2, 99})))
        desk.offer(rig.lane, 1)
        await settle_down()
        await rig.clock.skip()
        desk.offer(rig.lane, 2, 3)
        await settle_down()
        assert sorted(desk.numbers) == [1, 2, 3]
        assert desk.active.tally(T0).resent == 2
        assert rig.reading("batchmill_lines_resent_total") == 2.0

    asyncio.run(run_rig([an_upstream(transport, 1)], test))


# --- Stopping. ---


def test_a_stopped_shard_sends_nothing_more_and_what_is_in_flight_may_end() -> None:
    gate = Gate()
    transport = ScriptedTransport(gate)

    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, 1, 2, 3, 4)
        await transport.until_sent(2)
        desk.active.stop()
        rig.lane.purge(desk.active)
        await settle_down()
        assert not desk.active.over.is_set()
        gate.open()
        await desk.active.over.wait()
        await settle_down()
        assert (desk.numbers, len(transport.sent)) == ([1, 2], 2)
        assert desk.budget.taken == 0

    asyncio.run(run_rig([an_upstream(transport, 2)], test))


def test_an_abort_ends_what_is_in_flight_and_the_slots_serve_others() -> None:
    gate = Gate()
    transport = ScriptedTransport(gate)

    async def test(rig: Rig) -> None:
        first, second = a_desk(), a_desk(batch_id="batch_2")
        first.offer(rig.lane, 1, 2)
        second.offer(rig.lane, 1, 2)
        await transport.until_sent(2)
        first.active.stop()
        first.active.abort()
        first.active.abort()
        await first.active.over.wait()
        await settle_down()
        assert (first.numbers, first.budget.taken, transport.aborted) == ([], 0, 2)
        await transport.until_sent(4)
        gate.open()
        await settle_down()
        assert sorted(second.numbers) == [1, 2]
        assert rig.upstreams[0].in_flight == 0

    asyncio.run(run_rig([an_upstream(transport, 2)], test))


def test_a_line_that_rests_is_forgotten_when_its_shard_stops() -> None:
    transport = ScriptedTransport([reply(500), GOOD])

    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, 1)
        await rig.clock.until_asleep(1)
        desk.active.stop()
        rig.lane.purge(desk.active)
        await desk.active.over.wait()
        await settle_down()
        assert (rig.clock.waits, desk.budget.taken, desk.numbers) == ([], 0, [])
        assert len(transport.sent) == 1

    asyncio.run(run_rig([an_upstream(transport)], test))


def test_a_fault_during_the_grace_is_not_tried_again() -> None:
    gate = Gate()
    transport = ScriptedTransport(gate)

    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, 1, 2)
        await transport.until_sent(2)
        desk.active.stop()
        gate.open(1, reply(500))
        gate.open(1, TransportFault(FaultKind.UNREACHABLE))
        await desk.active.over.wait()
        rig.lane.purge(desk.active)
        await settle_down()
        assert (len(transport.sent), desk.numbers, desk.budget.taken) == (2, [], 0)

    asyncio.run(run_rig([an_upstream(transport)], test))


def test_closing_the_lane_ends_slots_even_of_a_stopped_shard() -> None:
    gate = Gate()
    transport = ScriptedTransport(gate)

    async def test(rig: Rig) -> None:
        desk = a_desk()
        desk.offer(rig.lane, 1)
        await transport.until_sent(1)
        desk.active.stop()
        await rig.lane.close()
        assert (transport.in_flight, transport.is_closed) == (0, True)

    asyncio.run(run_rig([an_upstream(transport)], test))


def test_many_lines_that_cannot_be_sent_are_settled_each_and_leave_the_slots_free() -> None:
    """As many as would be a recursion too deep, were their ends told at once."""
    count = 2_000
    transport = ScriptedTransport()

    async def test(rig: Rig) -> None:
        desk = a_desk(lines=count)
        rig.upstreams[0].model = "another"
        desk.active.segment = desk.segment
        for number in range(1, count + 1):
            rig.lane.offer(desk.job(number, b"not a request"))
        while len(desk.numbers) < count:
            await settle_down()
            if rig.clock.waits:
                rig.clock.advance(10.0)
        assert sorted(desk.numbers) == list(range(1, count + 1))
        assert not any(record.ok for record in desk.segment.records)
        assert (transport.sent, rig.upstreams[0].in_flight) == ([], 0)

    asyncio.run(run_rig([an_upstream(transport, 1)], test))


def test_a_line_that_could_not_be_sent_is_aborted_once() -> None:
    transport = ScriptedTransport()

    async def test(rig: Rig) -> None:
        desk = a_desk()
        rig.upstreams[0].model = "another"
        rig.lane.offer(desk.job(1, b"not a request"))
        desk.active.stop()
        desk.active.abort()
        await settle_down()
        assert (desk.numbers, desk.budget.taken, rig.upstreams[0].in_flight) == ([], 0, 0)

    asyncio.run(run_rig([an_upstream(transport, 1)], test))


def test_a_job_shows_nothing_of_its_request() -> None:
    async def test(_: Rig) -> None:
        assert repr(a_desk().job(7, b'{"prompt":"hush"}')) == "Job('batch_1', 7)"

    asyncio.run(run_rig([an_upstream(ScriptedTransport([]), 1)], test))
