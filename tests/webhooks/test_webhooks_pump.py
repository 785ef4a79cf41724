"""The pump: everything is told at least once, and no receiver costs another anything."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from webhooks_pump import HOURS_72, SECRET, T0, open_pump
from webhooks_receiver import Dns, a_sender, answering, endless, listen, plain, silent

from batchmill.domain.errors import StorageFull
from batchmill.domain.post import FAILURES_TO_OPEN, sign
from batchmill.engine.notices import AT_ONCE, KEPT_SECONDS
from batchmill.ports import PostFault, PostFaultKind

DOWN = PostFault(PostFaultKind.UNREACHABLE)


def test_what_is_due_is_signed_sent_and_delivered_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_pump(tmp_path) as pump:
            await pump.add("hook")
            await pump.put("hook", endpoint_id="we_hook")
            pump.start()
            await pump.until_told(1)
            await pump.clock.looks()
            (call,) = pump.post.calls
            assert call.headers["webhook-id"] == "evt_hook"
            signature = sign(SECRET, call.headers, call.body)
            assert call.headers["webhook-signature"] == signature
            after = await pump.get("hook")
            assert (after.delivered_at, after.next_at, after.attempts) == (T0, None, 1)
            assert pump.outcomes == ["delivered"]

    asyncio.run(main())


def test_what_comes_while_it_rests_is_sent_at_the_next_look(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_pump(tmp_path) as pump:
            pump.start()
            await pump.clock.looks()
            await pump.put("a")
            await pump.until_told(1)
            assert (await pump.get("a")).delivered_at == T0

    asyncio.run(main())


def test_a_receiver_that_stays_down_is_tried_for_72_hours_and_given_up(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_pump(tmp_path) as pump:
            pump.post.by_url["https://a.example/"] = DOWN
            await pump.put("a")
            pump.start()
            tried = [T0]
            await pump.until_told(1)
            while (delivery := await pump.get("a")).next_at is not None:
                assert delivery.last_error == "unreachable"
                pump.clock.time = delivery.next_at
                tried.append(delivery.next_at)
                await pump.until_told(len(tried))
            pauses = [round(b - a) for a, b in pairwise(tried)]
            assert pauses[:5] == [5, 10, 20, 40, 80]
            assert pauses == sorted(pauses)
            assert set(pauses[10:]) == {3600}
            assert T0 + HOURS_72 - 3600 <= tried[-1] <= T0 + HOURS_72
            assert delivery.given_up_at == tried[-1]
            assert pump.outcomes[-1] == "given_up"
            assert set(pump.outcomes[:-1]) == {"failed"}
            assert len({call.headers["webhook-id"] for call in pump.post.calls}) == 1
            assert len({call.headers["webhook-timestamp"] for call in pump.post.calls}) > 80

    asyncio.run(main())


def test_a_receiver_that_recovers_gets_what_waited(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_pump(tmp_path) as pump:
            pump.post.by_url["https://a.example/"] = 500
            await pump.put("a")
            pump.start()
            await pump.until_told(1)
            pump.post.by_url["https://a.example/"] = 204
            pump.clock.time = T0 + 4.9
            await pump.clock.looks()
            assert len(pump.post.calls) == 1
            pump.clock.time = T0 + 5
            await pump.until_told(2)
            after = await pump.get("a")
            assert (after.delivered_at, after.attempts, after.last_status) == (T0 + 5, 2, 204)

    asyncio.run(main())


def test_a_receiver_that_hangs_holds_two_and_delays_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_pump(tmp_path) as pump:
            slow = await pump.add("slow")
            gate = pump.post.by_url[slow.url] = asyncio.Event()
            for n in range(5):
                await pump.put(f"s{n}", endpoint_id=slow.id)
            await pump.put("quick")
            pump.start()
            await pump.until_told(1)
            await pump.put("later")
            await pump.until_told(2)
            assert pump.outcomes == ["delivered"] * 2
            assert (await pump.get("quick")).delivered_at == T0
            assert (await pump.get("later")).delivered_at == T0
            assert pump.post.count(slow.url) == 2
            gate.set()
            await pump.until_told(7)
            assert pump.post.count(slow.url) == 5

    asyncio.run(main())


def test_no_more_are_under_way_than_may_be(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_pump(tmp_path) as pump:
            gate = asyncio.Event()
            for n in range(AT_ONCE + 3):
                delivery = await pump.put(str(n), account=f"acct_{n}")
                pump.post.by_url[delivery.url] = gate
            pump.start()
            await pump.clock.until(lambda: len(pump.post.calls) >= AT_ONCE)
            await pump.clock.looks()
            assert len(pump.post.calls) == AT_ONCE
            gate.set()
            await pump.until_told(AT_ONCE + 3)
            assert len(pump.post.calls) == AT_ONCE + 3

    asyncio.run(main())


def test_a_try_that_a_death_cut_off_is_made_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_pump(tmp_path) as pump:
            pump.post.by_url["https://a.example/"] = asyncio.Event()
            await pump.put("a")
            pump.start()
            await pump.clock.until(lambda: len(pump.post.calls) == 1)
            await pump.kill()
            assert (await pump.get("a")).next_at == T0
            del pump.post.by_url["https://a.example/"]
            pump.start()
            await pump.until_told(1)
            after = await pump.get("a")
            assert (after.delivered_at, after.attempts) == (T0, 1)
            first, second = pump.post.calls
            assert first.headers["webhook-id"] == second.headers["webhook-id"]

    asyncio.run(main())


def test_eight_failures_open_the_breaker_and_one_probe_closes_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_pump(tmp_path) as pump:
            hook = await pump.add("hook")
            pump.post.by_url[hook.url] = 500
            for n in range(FAILURES_TO_OPEN + 4):
                await pump.put(str(n), endpoint_id=hook.id)
            pump.start()
            await pump.until_told(FAILURES_TO_OPEN)
            await pump.clock.looks()
            sent = pump.post.count(hook.url)
            assert sent in {FAILURES_TO_OPEN, FAILURES_TO_OPEN + 1}  # two are sent at once
            pump.clock.time = T0 + 59
            await pump.put("other")
            await pump.until_told(sent + 1)
            assert pump.post.count(hook.url) == sent
            gate = pump.post.by_url[hook.url] = asyncio.Event()
            pump.clock.time = T0 + 60
            await pump.clock.until(lambda: pump.post.count(hook.url) > sent)
            await pump.clock.looks()
            assert pump.post.count(hook.url) == sent + 1
            gate.set()
            await pump.until_told(FAILURES_TO_OPEN + 4 + sent + 1)
            assert (await pump.store.webhooks.backlog(T0 + 60)).waiting == 0

    asyncio.run(main())


def test_a_full_disk_makes_it_wait_and_not_send_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with open_pump(tmp_path) as pump:
            settle = pump.store.webhooks.settle
            full = [StorageFull("The disk is full.")] * 2

            async def settle_in_the_end(*told: Any) -> None:
                if full:
                    raise full.pop()
                await settle(*told)

            monkeypatch.setattr(pump.store.webhooks, "settle", settle_in_the_end)
            await pump.put("a")
            pump.start()
            await pump.until_told(1)
            assert len(pump.post.calls) == 1
            assert (await pump.get("a")).delivered_at == T0

    asyncio.run(main())


def test_what_the_store_raises_ends_the_run_and_it_can_be_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with open_pump(tmp_path) as pump:

            async def broken(*_: Any) -> None:
                raise ZeroDivisionError

            with monkeypatch.context() as patch:
                patch.setattr(pump.store.webhooks, "settle", broken)
                await pump.put("a")
                run = pump.start()
                await pump.clock.until(run.done)
                assert isinstance(run.exception(), ZeroDivisionError)
            pump.start()
            await pump.until_told(1)
            assert (await pump.get("a")).delivered_at == T0

    asyncio.run(main())


def test_the_patrol_gives_up_what_an_open_breaker_kept_and_sweeps_what_is_old(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with open_pump(tmp_path) as pump:
            await pump.add("hook", failures=FAILURES_TO_OPEN, open_until=T0 + 10 * HOURS_72)
            await pump.put("kept", endpoint_id="we_hook")
            old = T0 + HOURS_72 - KEPT_SECONDS
            await pump.put("old", next_at=None, created_at=old)
            await pump.put("young", next_at=None, created_at=old + 1)
            pump.clock.time = T0 + HOURS_72
            pump.start()
            await pump.until_told(1)
            await pump.clock.looks(4)
            assert pump.outcomes == ["given_up"]
            assert (await pump.get("kept")).given_up_at == T0 + HOURS_72
            assert (await pump.get("young")).next_at is None
            # the sweep goes on beside the looks: how many of them it takes is nobody's promise
            while await pump.store.webhooks.delivery("acme", "whd_old") is not None:
                await pump.clock.looks(1)

    asyncio.run(main())


def test_bad_receivers_of_every_kind_fail_and_the_good_one_is_served(tmp_path: Path) -> None:
    """Down, slow, lying, redirecting and private ones, through the real sender."""

    async def main() -> None:
        garbage = answering(b"what?\r\n\r\n")
        aside = answering(plain(302, b"Location: http://127.0.0.1/\r\n"))
        flood = endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n")
        async with (
            open_pump(tmp_path) as pump,
            listen(silent) as slow,
            listen(garbage) as liar,
            listen(flood) as flooder,
            listen(aside) as redirector,
            listen(answering(plain(200))) as good,
        ):
            receivers = {"liar": liar, "flooder": flooder, "redirector": redirector, "good": good}
            for name, receiver in receivers.items():
                await pump.put(name, account=name, url=receiver.url)
            pump.start(a_sender(timeout=600.0))
            await pump.until_told(4)
            await pump.kill()
            await pump.put("slow", account="slow", url=slow.url)
            pump.start(a_sender(timeout=0.2))
            await pump.until_told(5)
            states = {name: await pump.get(name, name) for name in (*receivers, "slow")}
            assert {name: one.last_error for name, one in states.items()} == {
                "liar": "broken",
                "flooder": "broken",
                "redirector": None,
                "good": None,
                "slow": "timeout",
            }
            assert states["redirector"].last_status == 302
            assert {name for name, one in states.items() if one.delivered_at == T0} == {"good"}
            await pump.kill()
            await pump.put("inner", account="inner", url=good.url)
            pump.start(a_sender(Dns(["127.0.0.1"])))
            await pump.until_told(6)
            assert (await pump.get("inner", "inner")).last_error == "forbidden_address"
            assert len(good.heard) == 1

    asyncio.run(main())
