"""Requests as tasks: each end is told once, whatever it is."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from batchmill.ports import FaultKind, Outcome, Reply, TransportFault
from batchmill.upstream.awaited import AwaitedTransport

ANSWER = Reply(200, b"{}")


class Inner:
    """A transport whose one request ends as ``ended`` does."""

    def __init__(self, ended: asyncio.Future[Reply]) -> None:
        self.ended = ended
        self.is_closed = False

    async def send(
        self, path: str, body: bytes, idempotency_key: str, timeout: float | None = None
    ) -> Reply:
        del path, body, idempotency_key, timeout
        return await self.ended

    async def close(self) -> None:
        self.is_closed = True


class House:
    """A request that was just posted, and what was told of its end."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.inner = Inner(self.ended)
        self.transport = AwaitedTransport(self.inner)
        self.told: list[Outcome] = []
        self.exchange = self.transport.post("/x", b"{}", "key", None, self.told.append)

    async def over(self) -> None:
        await asyncio.wait({self.exchange.task})


def run(test: Callable[[House], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        house = House()
        # The task has come to where it waits.
        await asyncio.sleep(0)
        await test(house)

    asyncio.run(main())


@pytest.mark.parametrize("error", [None, TransportFault(FaultKind.RESET), ValueError("odd")])
def test_an_answer_and_a_fault_are_told_once(error: Exception | None) -> None:
    async def test(house: House) -> None:
        if error is None:
            house.ended.set_result(ANSWER)
        else:
            house.ended.set_exception(error)
        await house.over()
        house.exchange.cancel()
        assert house.told == [error or ANSWER]

    run(test)


def test_nobody_is_told_of_a_request_that_was_aborted() -> None:
    async def test(house: House) -> None:
        house.exchange.cancel()
        await house.over()
        assert (house.told, house.exchange.task.cancelled()) == ([], True)

    run(test)


def test_what_is_cancelled_within_the_transport_is_a_broken_connection() -> None:
    async def test(house: House) -> None:
        house.ended.cancel()
        await house.over()
        [fault] = house.told
        assert isinstance(fault, TransportFault)
        assert fault.kind is FaultKind.RESET

    run(test)


def test_closing_tells_of_what_was_in_flight_and_closes_what_is_within() -> None:
    async def test(house: House) -> None:
        await house.transport.close()
        [fault] = house.told
        assert isinstance(fault, TransportFault)
        assert (fault.kind, house.inner.is_closed) == (FaultKind.RESET, True)

    run(test)
