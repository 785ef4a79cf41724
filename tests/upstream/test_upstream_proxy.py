"""Upstreams behind a forward proxy, which aiohttp's transport alone knows."""

import socket
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from certificates import Authority
from forward_proxy import ForwardProxy, proxying
from raw_upstream import Peer, RawUpstream, answer, listen, plain
from upstream_loops import Run, on_both_loops

from batchmill.domain.errors import ConfigError
from batchmill.ports import FaultKind, Proxy, Reply, Target, TransportFault
from batchmill.upstream.aiohttp_transport import AiohttpTransport

pytestmark = on_both_loops

KEY = "sk-hush"
LOGIN = "carol:hush:hush é"
FIELD = f"Proxy-Authorization: Basic {b64encode(LOGIN.encode()).decode()}"
OK = plain(b"{}")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def behind(proxy: ForwardProxy, upstream: RawUpstream, login: str | None = None) -> Target:
    """An upstream without TLS, through the proxy."""
    way = Proxy(proxy.url, login)
    return replace(upstream.target(), api_key=KEY, with_aiohttp=True, proxy=way)


def over_tls(target: Target, authority: Authority, host: str = "127.0.0.1") -> Target:
    """The same upstream by HTTPS."""
    url = target.url.replace("http://127.0.0.1", f"https://{host}")
    return replace(target, url=url, ca=authority.path)


async def ask(target: Target, times: int = 1) -> list[Reply]:
    transport = AiohttpTransport(target)
    try:
        return [await transport.send("/x", b"{}", "k") for _ in range(times)]
    finally:
        await transport.close()


async def refusal(target: Target) -> str:
    with pytest.raises(TransportFault) as caught:
        await ask(target)
    assert caught.value.kind == FaultKind.UNREACHABLE
    said = str(caught.value)
    assert KEY not in said
    assert not any(part in said for part in LOGIN.split(":"))
    assert caught.value.__cause__ is None
    return said


@pytest.mark.parametrize("login", [None, LOGIN])
def test_requests_go_through_the_proxy_over_one_connection(run: Run, login: str | None) -> None:
    async def main() -> None:
        heads: list[bytes] = []

        async def play(peer: Peer) -> None:
            while True:
                heads.append((await peer.receive())[0])
                await peer.send(OK)

        proxy = ForwardProxy(FIELD if login else None)
        async with listen(play) as upstream, proxying(proxy):
            assert await ask(behind(proxy, upstream, login), 3) == [Reply(200, b"{}")] * 3
            url = f"{upstream.target().url}/x".encode()
        assert [head.split(b" ", 2)[1] for head in proxy.heads] == [url] * 3
        assert all((FIELD.encode() in head) == (login is not None) for head in proxy.heads)
        assert (proxy.connections, upstream.connections) == (1, 1)
        assert all(head.startswith(b"POST /v1/x HTTP/1.1\r\n") for head in heads)
        assert all(f"Authorization: Bearer {KEY}".encode() in head for head in heads)

    run(main())


@pytest.mark.parametrize("login", [None, LOGIN])
def test_https_goes_through_a_tunnel_in_which_the_proxy_sees_nothing(
    run: Run, authority: Authority, login: str | None
) -> None:
    async def main() -> None:
        heads: list[bytes] = []
        named: list[str | None] = []

        async def play(peer: Peer) -> None:
            while True:
                heads.append((await peer.receive())[0])
                await peer.send(OK)

        context = authority.sign().serve()
        context.sni_callback = lambda _, name, __: named.append(name)
        proxy = ForwardProxy(FIELD if login else None)
        async with listen(play, tls=context) as upstream, proxying(proxy):
            target = over_tls(behind(proxy, upstream, login), authority, "localhost")
            assert await ask(target, 3) == [Reply(200, b"{}")] * 3
        [head] = proxy.heads
        assert head.startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % upstream.port)
        assert (FIELD.encode() in head) == (login is not None)
        assert b"\r\nAuthorization" not in head
        assert KEY.encode() not in head
        assert b"User-Agent: batchmill/" in head
        assert len(heads) == 3
        assert not any(b"Proxy-Authorization" in head for head in heads)
        assert named == ["localhost"]

    run(main())


def test_a_tunnel_to_an_ipv6_address_is_made(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        authority = Authority(tmp_path)
        proxy = ForwardProxy()
        context = authority.sign(["::1"]).serve()
        async with listen(answer(OK), host="::1", tls=context) as upstream, proxying(proxy):
            target = over_tls(behind(proxy, upstream), authority, "[::1]")
            assert (await ask(target))[0].status == 200

    run(main())


def test_the_certificate_behind_a_tunnel_must_be_vouched_for(
    run: Run, authority: Authority, tmp_path: Path
) -> None:
    async def main() -> None:
        proxy = ForwardProxy()
        async with (
            listen(answer(OK), tls=authority.sign().serve()) as upstream,
            proxying(proxy),
        ):
            target = over_tls(behind(proxy, upstream), Authority(tmp_path))
            assert "certificate verify failed" in await refusal(target)

    run(main())


@pytest.mark.parametrize("login", [None, "carol:wrong"])
@pytest.mark.parametrize("is_tunnel", [False, True])
def test_a_proxy_that_wants_another_login_is_no_answer_of_the_upstream(
    run: Run, authority: Authority, login: str | None, *, is_tunnel: bool
) -> None:
    async def main() -> None:
        proxy = ForwardProxy(FIELD)
        async with listen(answer(OK)) as upstream, proxying(proxy):
            target = behind(proxy, upstream, login)
            said = await refusal(over_tls(target, authority) if is_tunnel else target)
            assert "another user and password" in said
            assert upstream.connections == 0

    run(main())


def test_a_407_of_an_upstream_without_a_proxy_is_an_answer(run: Run) -> None:
    async def main() -> None:
        async with listen(answer(plain(b"{}", "407 Odd"))) as upstream:
            assert await ask(upstream.target()) == [Reply(407, b"{}")]

    run(main())


@pytest.mark.parametrize("is_tunnel", [False, True])
def test_without_the_proxy_nothing_is_sent(
    run: Run, authority: Authority, *, is_tunnel: bool
) -> None:
    async def main() -> None:
        gone = ForwardProxy()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            gone.port = probe.getsockname()[1]
        async with listen(answer(OK)) as upstream:
            target = behind(gone, upstream)
            said = await refusal(over_tls(target, authority) if is_tunnel else target)
            assert "the proxy: " in said
            assert upstream.connections == 0

    run(main())


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (plain(b"no", "503 Busy"), "the proxy answered with status 503"),
        (b"", "the connection ended before it could be used"),
        (b"HTTP/1.1 2", "the connection ended before it could be used"),
        (b"220 mail.example ESMTP\r\n", "the connection ended before it could be used"),
    ],
    ids=["refusal", "nothing", "cut", "garbled"],
)
def test_a_proxy_that_makes_no_tunnel_is_unreachable(
    run: Run, authority: Authority, says: bytes, told: str
) -> None:
    async def main() -> None:
        proxy = ForwardProxy(says=says)
        async with listen(answer(OK)) as upstream, proxying(proxy):
            assert told in await refusal(over_tls(behind(proxy, upstream), authority))

    run(main())


def test_the_connect_time_out_holds_for_the_tunnel(run: Run, authority: Authority) -> None:
    async def main() -> None:
        proxy = ForwardProxy(is_silent=True)
        async with listen(answer(OK)) as upstream, proxying(proxy):
            target = over_tls(behind(proxy, upstream), authority)
            assert "connect time-out" in await refusal(replace(target, connect_timeout=0.05))

    run(main())


@pytest.mark.parametrize("is_tunnel", [False, True])
def test_a_kept_connection_that_the_upstream_has_closed_is_replaced_unseen(
    run: Run, authority: Authority, *, is_tunnel: bool
) -> None:
    async def main() -> None:
        async def play(peer: Peer) -> None:
            await peer.receive()
            await peer.send(OK)
            await peer.receive()
            peer.close()

        proxy = ForwardProxy()
        tls = authority.sign().serve() if is_tunnel else None
        async with listen(play, tls=tls) as upstream, proxying(proxy):
            target = behind(proxy, upstream)
            replies = await ask(over_tls(target, authority) if is_tunnel else target, 4)
            assert replies == [Reply(200, b"{}")] * 4
            assert upstream.connections == 4

    run(main())


def test_a_login_without_a_password_is_refused(run: Run) -> None:
    async def main() -> None:
        proxy = Proxy("http://127.0.0.1:9", "hush")
        with pytest.raises(ConfigError, match="must have a : between") as caught:
            AiohttpTransport(Target("http://127.0.0.1:9", with_aiohttp=True, proxy=proxy))
        assert "hush" not in caught.value.message
        assert "hush" not in repr(proxy)

    run(main())
