"""An upstream that is known by a name: each new connection asks anew where that is."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
import uvloop
from raw_upstream import Peer, RawUpstream, Script, listen, plain
from upstream_loops import run_on

from batchmill.ports import FaultKind, Target, TransportFault
from batchmill.upstream.http import HttpTransport

NAME = "model.example"
FIRST, SECOND, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"


class Resolver(asyncio.SelectorEventLoop):
    """A loop that knows the addresses of one name."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: Sequence[str] = ()

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        if host != NAME:
            return await super().getaddrinfo(host, port, **hints)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, (address, port)) for address in self.addresses]


class Redirector(uvloop.Loop):
    """The same for a loop that looks names up by itself: the name is replaced before."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: Sequence[str] = ()

    async def create_connection(  # type: ignore[override]
        self, factory: Any, host: Any, port: Any, **settings: Any
    ) -> Any:
        if host == NAME:
            [host] = self.addresses
        return await super().create_connection(factory, host, port, **settings)


run_by_name = partial(run_on, Resolver)


def addresses(*known: str) -> None:
    """From now on the name stands for these."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, (Resolver, Redirector))
    loop.addresses = known


def telling(text: bytes) -> Script:
    """A server that tells its own name."""

    async def play(peer: Peer) -> None:
        while True:
            await peer.receive()
            await peer.send(plain(text))

    return play


async def two_servers(stack: AsyncExitStack) -> tuple[RawUpstream, RawUpstream]:
    """At two addresses, on one port."""
    first = await stack.enter_async_context(listen(telling(b"first"), host=FIRST))
    second = await stack.enter_async_context(
        listen(telling(b"second"), host=SECOND, port=first.port)
    )
    return first, second


def by_name(upstream: RawUpstream, **settings: float) -> HttpTransport:
    return HttpTransport(Target(f"http://{NAME}:{upstream.port}/v1", **settings))  # type: ignore[arg-type]


async def told(transport: HttpTransport) -> bytes:
    return (await transport.send("/x", b"{}", "k")).body


async def unreachable(transport: HttpTransport) -> str:
    with pytest.raises(TransportFault) as caught:
        await transport.send("/x", b"{}", "k")
    assert caught.value.kind == FaultKind.UNREACHABLE
    return caught.value.detail


@pytest.mark.parametrize("loop", [Resolver, Redirector], ids=["asyncio", "uvloop"])
def test_a_name_that_moves_is_followed_by_new_connections(loop: Any) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            first, second = await two_servers(stack)
            transport = by_name(first)
            addresses(FIRST)
            assert await told(transport) == b"first"
            addresses(SECOND)
            assert await told(transport) == b"first", "what is open serves on"
            assert sorted(await asyncio.gather(told(transport), told(transport))) == [
                b"first",
                b"second",
            ]
            await first.end()
            assert set(await asyncio.gather(told(transport), told(transport))) == {b"second"}
            assert (first.connections, second.connections) == (1, 2)
            await transport.close()

    run_on(loop, main())


def test_where_the_first_address_refuses_the_next_one_serves() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            first, _ = await two_servers(stack)
            transport = by_name(first)
            addresses(THIRD, SECOND, FIRST)
            assert await told(transport) == b"second"
            await transport.close()

    run_by_name(main())


def test_a_name_whose_addresses_all_refuse_is_unreachable() -> None:
    async def main() -> None:
        async with listen(telling(b"first"), host=FIRST) as upstream:
            transport = by_name(upstream)
            addresses(SECOND, THIRD)
            assert NAME in await unreachable(transport)
            addresses(FIRST)
            assert await told(transport) == b"first", "and is found again later"
            await transport.close()

    run_by_name(main())


def test_a_name_that_nobody_knows_is_unreachable() -> None:
    async def main() -> None:
        async with listen(telling(b"first"), host=FIRST) as upstream:
            transport = by_name(upstream)
            assert "not known" in await unreachable(transport)
            addresses(FIRST)
            assert await told(transport) == b"first"
            await transport.close()

    run_by_name(main())
