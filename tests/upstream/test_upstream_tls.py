"""HTTPS: a certificate that is trusted, and one that is not."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from raw_upstream import answer, listen, plain
from upstream_loops import Run, on_both_loops

from batchmill.ports import FaultKind, Target, TransportFault
from batchmill.upstream.http import HttpTransport

pytestmark = [
    on_both_loops,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl program here"),
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-made certificate for localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return cert, key


def server_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_a_trusted_server_is_served_over_tls(run: Run, certificate: tuple[Path, Path]) -> None:
    async def main() -> None:
        trust = ssl.create_default_context(cafile=str(certificate[0]))
        async with listen(answer(plain(b"{}")), tls=server_context(certificate)) as upstream:
            target = Target(f"https://127.0.0.1:{upstream.port}/v1")
            transport = HttpTransport(target, tls=trust)
            sendings = (transport.send("/x", b"{}" * 20_000, "k") for _ in range(4))
            assert {reply.status for reply in await asyncio.gather(*sendings)} == {200}
            assert (await transport.send("/x", b"{}", "k")).body == b"{}"
            assert upstream.connections == 4
            await transport.close()

    run(main())


def test_a_certificate_that_nobody_vouches_for_is_unreachable(
    run: Run, certificate: tuple[Path, Path]
) -> None:
    async def main() -> None:
        async with listen(answer(plain(b"{}")), tls=server_context(certificate)) as upstream:
            transport = HttpTransport(Target(f"https://127.0.0.1:{upstream.port}/v1"))
            with pytest.raises(TransportFault, match="certificate verify failed") as caught:
                await transport.send("/x", b"{}", "k")
            assert caught.value.kind == FaultKind.UNREACHABLE
            await transport.close()

    run(main())


def test_a_server_without_tls_is_unreachable_over_https(run: Run) -> None:
    async def main() -> None:
        async with listen(answer(plain(b"{}"))) as upstream:
            transport = HttpTransport(
                Target(f"https://127.0.0.1:{upstream.port}/v1", connect_timeout=0.2)
            )
            with pytest.raises(TransportFault) as caught:
                await transport.send("/x", b"{}", "k")
            assert caught.value.kind == FaultKind.UNREACHABLE
            await transport.close()

    run(main())
