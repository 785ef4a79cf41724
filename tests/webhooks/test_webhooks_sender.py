"""The sender: one POST, to no address that was not checked, whatever the receiver does."""

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from webhooks_receiver import (
    PUBLIC,
    Detour,
    Dns,
    Receiver,
    Run,
    Script,
    a_sender,
    answering,
    endless,
    listen,
    on_both_loops,
    plain,
    silent,
)

from batchmill.ports import PostFault, PostFaultKind
from batchmill.webhooks import Sender
from batchmill.webhooks.names import Names
from batchmill.webhooks.sender import MAX_HEAD_BYTES

pytestmark = on_both_loops
SIGNED = {"webhook-id": "evt_1", "content-type": "application/json"}


async def kind_of(sender: Sender, url: str) -> PostFaultKind:
    with pytest.raises(PostFault) as caught:
        await sender.post(url, b"{}", SIGNED)
    assert str(caught.value) == caught.value.kind
    return caught.value.kind


def test_a_receiver_gets_what_was_sent_and_nothing_else(run: Run) -> None:
    async def main() -> None:
        async with listen(answering(plain(204))) as receiver:
            assert await a_sender().post(receiver.url, b'{"a":1}', SIGNED) == 204
            (message,) = receiver.heard
            assert message.target == "POST /in?x=1 HTTP/1.1"
            assert message.body == b'{"a":1}'
            assert message.headers.pop("user-agent").startswith("batchmill/")
            assert message.headers == {
                **SIGNED,
                "host": f"hooks.example.com:{receiver.port}",
                "accept": "*/*",
                "connection": "close",
                "content-length": "7",
            }

    run(main())


@pytest.mark.parametrize("status", [200, 299, 400, 410, 503])
def test_the_status_is_told_as_it_is(run: Run, status: int) -> None:
    async def main() -> None:
        async with listen(answering(plain(status))) as receiver:
            assert await a_sender().post(receiver.url, b"{}", SIGNED) == status

    run(main())


def test_redirects_are_not_followed(run: Run) -> None:
    async def main() -> None:
        async with listen(answering(plain(200))) as inner:
            aside = b"Location: http://127.0.0.1:%d/\r\n" % inner.port
            async with listen(answering(plain(302, aside))) as receiver:
                assert await a_sender().post(receiver.url, b"{}", SIGNED) == 302
                assert (receiver.connections, inner.connections) == (1, 0)

    run(main())


def test_proxies_of_the_environment_are_not_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with listen(answering(plain(200))) as proxy, listen(answering(plain(200))) as hook:
            for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            assert await a_sender().post(hook.url, b"{}", SIGNED) == 200
            assert proxy.connections == 0

    run(main())


@pytest.mark.parametrize(
    "addresses",
    [
        *(["127.0.0.1"], ["::1"], ["10.0.0.7"], ["169.254.169.254"], ["::ffff:127.0.0.1"]),
        *(["fe80::1%2"], [PUBLIC, "127.0.0.1"], ["0.0.0.0"], ["64:ff9b::7f00:1"]),
    ],
)
def test_a_name_that_leads_inside_is_not_connected_to(run: Run, addresses: Sequence[str]) -> None:
    async def main() -> None:
        async with listen(answering(plain(200))) as receiver:
            detour = Detour()
            kind = await kind_of(a_sender(Dns(addresses), detour), receiver.url)
            assert kind is PostFaultKind.FORBIDDEN
            assert detour.places == []
            assert receiver.connections == 0

    run(main())


def test_a_name_that_changes_is_resolved_once_and_its_checked_address_is_used(run: Run) -> None:
    async def main() -> None:
        async with listen(answering(plain(200))) as receiver:
            dns, detour = Dns([PUBLIC], ["127.0.0.1"]), Detour()
            sender = a_sender(dns, detour)
            assert await sender.post(receiver.url, b"{}", SIGNED) == 200
            assert dns.asked == ["hooks.example.com"]
            assert [place.address for place in detour.places] == [PUBLIC]
            assert await kind_of(sender, receiver.url) is PostFaultKind.FORBIDDEN
            assert receiver.connections == 1

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1"])
def test_spellings_of_this_machine_are_refused_by_the_real_lookup(run: Run, host: str) -> None:
    async def main() -> None:
        async with listen(answering(plain(200))) as receiver:
            sender = Sender(timeout=60.0)
            kind = await kind_of(sender, f"http://{host}:{receiver.port}/")
            assert kind is PostFaultKind.FORBIDDEN
            assert receiver.connections == 0

    run(main())


def test_private_addresses_are_asked_where_that_is_allowed(run: Run) -> None:
    async def main() -> None:
        async with listen(answering(plain(200))) as receiver:
            sender = Sender(timeout=60.0, allow_private=True)
            url = f"http://127.0.0.1:{receiver.port}/"
            assert await sender.post(url, b"{}", SIGNED) == 200

    run(main())


@pytest.mark.parametrize("url", ["http://a b/", "ftp://h.example/", "http://u:p@h.example/"])
def test_what_is_no_receiver_is_not_looked_up(run: Run, url: str) -> None:
    async def main() -> None:
        dns = Dns([PUBLIC])
        assert await kind_of(a_sender(dns), url) is PostFaultKind.FORBIDDEN
        assert dns.asked == []

    run(main())


def test_the_next_address_is_tried_where_one_is_dead(run: Run) -> None:
    async def main() -> None:
        async with listen(answering(plain(200))) as receiver:
            detour = Detour(dead=[PUBLIC])
            sender = a_sender(Dns([PUBLIC, "8.8.8.8"]), detour)
            assert await sender.post(receiver.url, b"{}", SIGNED) == 200
            assert [place.address for place in detour.places] == [PUBLIC, "8.8.8.8"]
            all_dead = a_sender(Dns([PUBLIC]), detour)
            assert await kind_of(all_dead, receiver.url) is PostFaultKind.UNREACHABLE

    run(main())


@pytest.mark.parametrize("found", [OSError("no such name"), UnicodeError(), ()])
def test_a_name_that_nobody_knows_is_unresolved(run: Run, found: Exception | tuple[()]) -> None:
    def look_up(_name: str, _port: int) -> Sequence[str]:
        if isinstance(found, Exception):
            raise found
        return found

    async def main() -> None:
        sender = Sender(timeout=60.0, names=Names(look_up))
        assert await kind_of(sender, "http://h.example/") is PostFaultKind.UNRESOLVED

    run(main())


def test_a_name_server_that_hangs_is_given_up_and_takes_only_so_many_threads(run: Run) -> None:
    held = threading.Event()

    def look_up(_name: str, _port: int) -> Sequence[str]:
        held.wait(60)
        return [PUBLIC]

    async def main() -> None:
        sender = Sender(timeout=0.01, names=Names(look_up, at_once=2))
        kinds = [await kind_of(sender, "http://h.example/") for _ in range(3)]
        assert kinds[:2] == [PostFaultKind.TIMEOUT] * 2
        assert kinds[2] is PostFaultKind.UNRESOLVED

    try:
        run(main())
    finally:
        held.set()


def test_a_receiver_that_never_answers_is_given_up(run: Run) -> None:
    async def main() -> None:
        async with listen(silent) as receiver:
            assert await kind_of(a_sender(timeout=0.2), receiver.url) is PostFaultKind.TIMEOUT

    run(main())


def test_a_receiver_that_trickles_is_given_up_too(run: Run) -> None:
    async def main() -> None:
        async with listen(endless(b"", b"HTTP/1.1 102 Wait\r\n\r\n")) as receiver:
            kind = await kind_of(a_sender(timeout=0.2), receiver.url)
            assert kind in {PostFaultKind.TIMEOUT, PostFaultKind.BROKEN}

    run(main())


@pytest.mark.parametrize(
    "kind",
    [
        answering(b"what?\r\n\r\n"),
        answering(b"\x00\xff" * 100),
        answering(b"HTTP/1.1 2OO OK\r\n\r\n"),
        answering(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxyz"),
        answering(b"HTTP/1.1 200 OK\r\nx: " + b"y" * (MAX_HEAD_BYTES + 1)),
        endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["words", "bytes", "status", "upgrade", "huge-head", "endless-head", "never-final"],
)
def test_what_is_no_answer_is_broken(run: Run, kind: Callable[[Receiver], Script]) -> None:
    async def main() -> None:
        async with listen(kind) as receiver:
            assert await kind_of(a_sender(), receiver.url) is PostFaultKind.BROKEN

    run(main())


def test_a_receiver_that_hangs_up_is_broken(run: Run) -> None:
    def rude(receiver: Receiver) -> Script:
        async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        return script

    async def main() -> None:
        async with listen(rude) as receiver:
            assert await kind_of(a_sender(), receiver.url) is PostFaultKind.BROKEN

    run(main())


def test_an_endless_body_is_not_read(run: Run) -> None:
    async def main() -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        async with listen(endless(head, b"400\r\n" + b"x" * 1024 + b"\r\n")) as receiver:
            assert await a_sender().post(receiver.url, b"{}", SIGNED) == 200
            while receiver.tasks:  # it notices that nobody reads
                await asyncio.wait(tuple(receiver.tasks))

    run(main())


def test_a_final_answer_after_an_early_one_counts(run: Run) -> None:
    async def main() -> None:
        async with listen(
            answering(b"HTTP/1.1 103 Hints\r\na: b\r\n\r\n" + plain(201))
        ) as receiver:
            assert await a_sender().post(receiver.url, b"{}", SIGNED) == 201

    run(main())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-made certificate for hooks.example.com, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=h", "-addext", "subjectAltName=DNS:hooks.example.com"]
    files = ["-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return cert, key


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl program here")
def test_tls_must_prove_the_name_and_not_the_address(
    run: Run, certificate: tuple[Path, Path]
) -> None:
    async def main() -> None:
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(*certificate)

        def trust() -> ssl.SSLContext:
            return ssl.create_default_context(cafile=str(certificate[0]))

        async with listen(answering(plain(200)), serving) as receiver:
            url = receiver.url.replace("http://", "https://")
            other = url.replace("hooks.", "other.")
            assert await a_sender(make_tls=trust).post(url, b"{}", SIGNED) == 200
            assert await kind_of(a_sender(make_tls=trust), other) is PostFaultKind.UNREACHABLE
            assert await kind_of(a_sender(), url) is PostFaultKind.UNREACHABLE
            assert len(receiver.heard) == 1

    run(main())
