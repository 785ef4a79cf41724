"""HTTPS: whom to trust, which name to expect, and how to show who is asking."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from certificates import EXPIRED, Authority
from raw_upstream import RawUpstream, answer, listen, plain
from upstream_loops import Run, on_both_loops
from upstream_transports import Make, on_both_transports

from batchmill.ports import FaultKind, Identity, Reply, Target, TransportFault

pytestmark = [on_both_loops, on_both_transports]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def target_of(upstream: RawUpstream, authority: Authority | None, **more: Any) -> Target:
    host = more.pop("host", "127.0.0.1")
    ca = None if authority is None else authority.path
    return Target(f"https://{host}:{upstream.port}/v1", ca=ca, **more)


async def ask(make: Make, target: Target) -> Reply:
    transport = make(target)
    try:
        return await transport.send("/x", b"{}", "k")
    finally:
        await transport.close()


async def refusal(make: Make, target: Target) -> str:
    with pytest.raises(TransportFault) as caught:
        await ask(make, target)
    assert caught.value.kind == FaultKind.UNREACHABLE
    return str(caught.value)


def test_a_server_that_the_own_authority_vouches_for_is_served(
    run: Run, make: Make, authority: Authority
) -> None:
    async def main() -> None:
        async with listen(answer(plain(b"{}")), tls=authority.sign().serve()) as upstream:
            transport = make(target_of(upstream, authority))
            sendings = (transport.send("/x", b"{}" * 20_000, "k") for _ in range(4))
            assert {reply.status for reply in await asyncio.gather(*sendings)} == {200}
            assert (await transport.send("/x", b"{}", "k")).body == b"{}"
            assert upstream.connections == 4
            await transport.close()

    run(main())


def test_a_certificate_that_nobody_vouches_for_is_unreachable(
    run: Run, make: Make, authority: Authority, tmp_path: Path
) -> None:
    async def main() -> None:
        async with listen(answer(plain(b"{}")), tls=authority.sign().serve()) as upstream:
            for trusted in (None, Authority(tmp_path)):
                said = await refusal(make, target_of(upstream, trusted))
                assert "certificate verify failed" in said

    run(main())


def test_a_certificate_of_another_host_is_unreachable(
    run: Run, make: Make, authority: Authority
) -> None:
    async def main() -> None:
        elsewhere = authority.sign(["elsewhere.example"]).serve()
        async with listen(answer(plain(b"{}")), tls=elsewhere) as upstream:
            assert "is not valid for '127.0.0.1'" in await refusal(
                make, target_of(upstream, authority)
            )
            said = await refusal(make, target_of(upstream, authority, host="localhost"))
            assert "is not valid for 'localhost'" in said

    run(main())


def test_a_certificate_that_has_expired_is_unreachable(
    run: Run, make: Make, authority: Authority
) -> None:
    async def main() -> None:
        async with listen(
            answer(plain(b"{}")), tls=authority.sign(valid=EXPIRED).serve()
        ) as upstream:
            assert "expired" in await refusal(make, target_of(upstream, authority))

    run(main())


def test_a_server_without_tls_is_unreachable_over_https(
    run: Run, make: Make, authority: Authority
) -> None:
    async def main() -> None:
        async with listen(answer(plain(b"{}"))) as upstream:
            await refusal(make, target_of(upstream, authority, connect_timeout=0.2))

    run(main())


def test_a_server_hears_by_which_name_it_is_called(
    run: Run, make: Make, authority: Authority
) -> None:
    async def main() -> None:
        named: list[str | None] = []
        context = authority.sign().serve()
        context.sni_callback = lambda _, name, __: named.append(name)
        async with listen(answer(plain(b"{}")), tls=context) as upstream:
            await ask(make, target_of(upstream, authority, host="localhost"))
            await ask(make, target_of(upstream, authority))
        assert named == ["localhost", None], "an address is no name"

    run(main())


def asking_for_certificates(authority: Authority) -> ssl.SSLContext:
    context = authority.sign().serve()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.path)
    return context


@pytest.mark.parametrize("is_one_file", [False, True])
def test_a_server_that_asks_who_is_there_is_shown_the_certificate(
    run: Run, make: Make, authority: Authority, tmp_path: Path, *, is_one_file: bool
) -> None:
    async def main() -> None:
        mine = authority.sign(name="client")
        identity = Identity(mine.certificate, mine.key)
        if is_one_file:
            both = tmp_path / "both.pem"
            both.write_text(mine.certificate.read_text() + mine.key.read_text())
            identity = Identity(both, both)
        context = asking_for_certificates(authority)
        async with listen(answer(plain(b"{}")), tls=context) as upstream:
            target = target_of(upstream, authority, identity=identity)
            assert (await ask(make, target)).status == 200

    run(main())


def test_without_the_right_certificate_such_a_server_answers_nothing(
    run: Run, make: Make, authority: Authority, tmp_path: Path
) -> None:
    async def main() -> None:
        foreign = Authority(tmp_path).sign(name="client")
        async with listen(answer(plain(b"{}")), tls=asking_for_certificates(authority)) as upstream:
            for identity in (None, Identity(foreign.certificate, foreign.key)):
                with pytest.raises(TransportFault):
                    await ask(make, target_of(upstream, authority, identity=identity))

    run(main())
