"""How long an answer may take to begin."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from raw_upstream import Peer, listen, plain
from upstream_loops import Run, on_both_loops

from batchmill.ports import FaultKind, TransportFault
from batchmill.upstream.http import HttpTransport

pytestmark = on_both_loops

SHORT = 0.05
INTERIM = b"HTTP/1.1 103 Early Hints\r\n\r\n"
OK = plain(b"{}")


async def timeout_of(sending: Coroutine[Any, Any, object]) -> str:
    """What is said of a request that took too long."""
    with pytest.raises(TransportFault) as caught:
        await sending
    assert caught.value.kind == FaultKind.TIMEOUT
    return caught.value.detail


class Silent:
    """Answers ``/silent`` with nothing; anything else with ``opening`` and, when told to, OK."""

    def __init__(self, opening: bytes) -> None:
        self._opening = opening
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def play(self, peer: Peer) -> None:
        while True:
            head, _ = await peer.receive()
            if b"/silent" in head:
                await peer.wait_for_end()
                return
            await peer.send(self._opening)
            self.begun.set()
            await self.go_on.wait()
            await peer.send((INTERIM + OK)[len(self._opening) :])


def test_an_answer_that_does_not_begin_in_time_is_a_timeout(run: Run) -> None:
    async def main() -> None:
        async with listen(Silent(b"").play) as upstream:
            transport = HttpTransport(upstream.target(first_byte_timeout=SHORT))
            said = await timeout_of(transport.send("/silent", b"{}", "k"))
            assert said == "no byte of an answer in time"
            await transport.close()

    run(main())


@pytest.mark.parametrize("opening", [b"H", INTERIM], ids=["byte", "interim"])
def test_an_answer_that_has_begun_may_take_longer(run: Run, opening: bytes) -> None:
    async def main() -> None:
        server = Silent(opening)
        async with listen(server.play) as upstream:
            transport = HttpTransport(upstream.target(first_byte_timeout=SHORT))
            sending = asyncio.ensure_future(transport.send("/slow", b"{}", "k"))
            await server.begun.wait()
            # Sent later and given up: so the first one's time to begin is over too.
            await timeout_of(transport.send("/silent", b"{}", "k"))
            assert not sending.done()
            server.go_on.set()
            assert (await sending).status == 200
            await transport.close()

    run(main())


def test_an_answer_that_has_begun_must_still_end_in_time(run: Run) -> None:
    async def main() -> None:
        async with listen(Silent(b"H").play) as upstream:
            target = upstream.target(first_byte_timeout=SHORT, request_timeout=2 * SHORT)
            transport = HttpTransport(target)
            said = await timeout_of(transport.send("/slow", b"{}", "k"))
            assert said == "no whole answer in time"
            await transport.close()

    run(main())


def test_each_request_of_a_kept_connection_has_its_own_time_to_begin(run: Run) -> None:
    async def main() -> None:
        server = Silent(b"")
        server.go_on.set()
        async with listen(server.play) as upstream:
            transport = HttpTransport(upstream.target(first_byte_timeout=SHORT))
            for _ in range(3):
                assert (await transport.send("/fast", b"{}", "k")).status == 200
            await timeout_of(transport.send("/silent", b"{}", "k"))
            assert upstream.connections == 1
            await transport.close()

    run(main())


def test_a_deadline_that_comes_first_wins(run: Run) -> None:
    async def main() -> None:
        async with listen(Silent(b"").play) as upstream:
            transport = HttpTransport(upstream.target(first_byte_timeout=3600.0))
            await timeout_of(transport.send("/silent", b"{}", "k", timeout=SHORT))
            await transport.close()

    run(main())


def test_without_the_setting_an_answer_may_begin_late(run: Run) -> None:
    async def main() -> None:
        server = Silent(b"")
        async with listen(server.play) as upstream:
            patient = HttpTransport(upstream.target())
            hasty = HttpTransport(upstream.target(first_byte_timeout=SHORT))
            sending = asyncio.ensure_future(patient.send("/slow", b"{}", "k"))
            await server.begun.wait()
            await timeout_of(hasty.send("/silent", b"{}", "k"))
            assert not sending.done()
            server.go_on.set()
            assert (await sending).status == 200
            await patient.close()
            await hasty.close()

    run(main())
