"""How the client verbs reach a server, what they send, and how failures read."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from client_fake import BATCH_ID, URL, Desk, FakeServer, Wire, a_batch, fault, request_line, state

from batchmill.cli.client_http import Server, Unreachable, open_api
from batchmill.cli.client_session import KEY_VARIABLE, SERVER_VARIABLE, World
from batchmill.cli.client_source import CHUNK_BYTES, Source
from batchmill.config import load_settings

SECRET = "sk-very-secret"


# --- address and key ---


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("http://batch.example/v1", "http://batch.example/v1"),
        ("http://batch.example/v1/", "http://batch.example/v1"),
        ("http://batch.example", "http://batch.example/v1"),
        (
            "https://batch.example:9/compatible-mode/v1",
            "https://batch.example:9/compatible-mode/v1",
        ),
    ],
)
def test_the_address_may_end_in_a_slash_and_leave_out_v1(given: str, asked: str) -> None:
    desk = Desk()
    desk.server.troubles = [lambda _: httpx2.Response(200, json=a_batch("b", **state("failed")))]
    desk.run("show", "b", "--server", given)
    assert str(desk.server.asked[0].url) == f"{asked}/batches/b"


def test_address_and_key_come_from_options_before_variables() -> None:
    desk = Desk()
    env = {"BATCHMILL_SERVER_URL": "http://a/v1", "BATCHMILL_API_KEY": "one"}
    desk.run("show", BATCH_ID, **env)
    desk.run("show", BATCH_ID, "--server", "http://b/v1", "--key", "two", **env)
    desk.run("show", BATCH_ID)
    assert [one.url.host for one in desk.server.asked] == ["a", "b", "127.0.0.1"]
    keys = [one.headers.get("authorization") for one in desk.server.asked]
    assert keys == ["Bearer one", "Bearer two", None]


@pytest.mark.parametrize(
    "address", ["batch.example", "ftp://x/v1", "http://", "http://me:pw@x/v1", "http://[::1", ""]
)
def test_what_is_no_address_is_one_sentence_without_what_it_holds(address: str) -> None:
    ran = Desk().run("list", "--server", address)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("batchmill: --server takes an address such as")
    assert "pw" not in ran.err.replace("http://127.0.0.1", "")


@pytest.mark.parametrize("key", ["sk-ключ", "sk-a\nb"])
def test_a_key_that_no_header_can_carry_is_one_sentence_without_the_key(key: str) -> None:
    ran = Desk().run("list", "--key", key)
    assert ran.code == 2
    assert ran.err.startswith("batchmill: The key holds characters")
    assert "sk-" not in ran.err


def test_spaces_around_a_key_are_not_part_of_it() -> None:
    desk = Desk()
    desk.run("list", BATCHMILL_API_KEY=f" {SECRET}\n")
    assert desk.server.asked[0].headers["authorization"] == f"Bearer {SECRET}"


def test_the_key_is_never_printed() -> None:
    desk = Desk()
    desk.server.troubles = [lambda _: fault(401, f"Incorrect API key provided: {SECRET}.")]
    ran = desk.run("list", "--key", SECRET)
    assert ran.err == "batchmill: Incorrect API key provided: ***.\n"
    assert SECRET not in desk.run("list", "--help", BATCHMILL_API_KEY=SECRET).out
    assert SECRET not in repr(Server(URL, SECRET))


def test_without_a_key_a_401_says_how_to_give_one() -> None:
    desk = Desk()
    desk.server.troubles = [lambda _: fault(401, "You did not provide a key.")]
    assert "BATCHMILL_API_KEY" in desk.run("list").err


# --- what a failure says ---


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (fault(400, "Invalid 'limit'.\x1b[2J"), "Invalid 'limit'.\\x1b[2J"),
        (
            httpx2.Response(403, json={"code": "Denied", "message": "Access denied."}),
            "Access denied.",
        ),
        (httpx2.Response(500, json={"error": "went wrong"}), "went wrong"),
        (
            httpx2.Response(502, text="<html>"),
            "The server answered GET /v1/batches with status 502: check --server.",
        ),
        (
            httpx2.Response(307, headers={"location": "http://elsewhere"}),
            "The server answered GET /v1/batches with status 307: check --server.",
        ),
        (httpx2.Response(418, json=[]), "with status 418"),
        (httpx2.Response(418, json={"error": {"message": ["x"]}}), "with status 418"),
        (httpx2.Response(200, text="<html>"), "is not that of a Batch API"),
        (httpx2.Response(200, json={"data": 1}), "is not that of a Batch API"),
        (httpx2.Response(200, json={"data": [{"no": "id"}]}), "is not that of a Batch API"),
        (httpx2.Response(200, content=b'{"data": "\xff"}'), "is not that of a Batch API"),
        (httpx2.Response(200, text="[" * 100_000), "is not that of a Batch API"),
    ],
)
def test_a_bad_answer_is_one_sentence(answer: httpx2.Response, says: str) -> None:
    desk = Desk()
    desk.server.troubles = [lambda _: answer]
    ran = desk.run("list")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("batchmill: ")
    assert says in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (httpx2.ConnectError("x"), f"Cannot reach {URL}: is it running?"),
        (httpx2.ConnectTimeout("x"), f"Cannot reach {URL}: is it running?"),
        (httpx2.ReadTimeout("x"), f"{URL} did not answer in time"),
        (httpx2.RemoteProtocolError("x"), f"The connection to {URL} broke"),
        (httpx2.WriteError("x"), f"The connection to {URL} broke"),
    ],
)
def test_a_connection_at_fault_is_one_sentence(error: httpx2.RequestError, says: str) -> None:
    def fail(_: httpx2.Request) -> httpx2.Response | None:
        raise error

    desk = Desk()
    desk.server.troubles = [fail]
    ran = desk.run("list")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"batchmill: {says}")
    assert ran.err.count("\n") == 1


def test_a_bad_certificate_is_not_taken_for_a_server_that_is_down() -> None:
    def fail(_: httpx2.Request) -> httpx2.Response | None:
        raise httpx2.ConnectError("x") from ssl.SSLError(1, "certificate verify failed")

    desk = Desk()
    desk.server.troubles = [fail]
    assert "offers no safe connection" in desk.run("list").err


def test_ctrl_c_while_asking_is_quiet() -> None:
    def interrupt(_: httpx2.Request) -> httpx2.Response | None:
        raise KeyboardInterrupt

    desk = Desk()
    desk.server.troubles = [interrupt]
    ran = desk.run("list")
    assert (ran.code, ran.out, ran.err) == (130, "", "Stopped.\n")


# --- large bodies ---


def test_an_upload_reads_no_further_than_it_has_sent() -> None:
    blocks, size = 400, CHUNK_BYTES
    read = sent = furthest = 0

    def pieces() -> Iterator[bytes]:
        nonlocal read, furthest
        for _ in range(blocks):
            read += size
            furthest = max(furthest, read - sent)
            yield b"x" * size

    def note(count: int) -> None:
        nonlocal sent
        sent += count

    class Drain(httpx2.BaseTransport):
        largest = total = 0

        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            assert isinstance(request.stream, httpx2.SyncByteStream)
            for chunk in request.stream:
                self.largest = max(self.largest, len(chunk))
                self.total += len(chunk)
            return httpx2.Response(200, json={"id": "f"})

    drain = Drain()
    with open_api(Server(URL), drain) as api:
        api.upload(Source("in.jsonl", pieces(), blocks * size), note)
    assert (read, sent) == (blocks * size, blocks * size)
    assert furthest == size
    assert drain.largest == size
    assert blocks * size < drain.total < blocks * size + 1024


def test_small_pieces_are_sent_in_blocks() -> None:
    server = FakeServer()
    pieces = (b"x" * 100 for _ in range(CHUNK_BYTES // 50))
    with open_api(Server(URL), Wire(server)) as api:
        api.upload(Source("in.jsonl", pieces), lambda _: None)
    # the head of the form, two full blocks with a little more, the rest, and the form's end
    assert len(server.chunks) == 4
    assert len(server.files["file-batch-1"]) == CHUNK_BYTES // 50 * 100


# --- over a socket ---


Answer = Callable[[BaseHTTPRequestHandler], None]


def send(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, length: int | None = None
) -> None:
    handler.send_response(status)
    handler.send_header("content-length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


class Listener:
    """A real server on a free port; ``answer`` decides what it does with a request."""

    def __init__(self, answer: Answer) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

            def do_GET(self) -> None:
                answer(self)

            def do_POST(self) -> None:
                answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_a_form_with_a_length_arrives_whole_over_a_socket(tmp_path: Path) -> None:
    got: list[bytes] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        got.append(handler.rfile.read(int(handler.headers["content-length"])))
        send(handler, 200, json.dumps({"id": "file-batch-1"}).encode())

    file = tmp_path / "in.jsonl"
    file.write_text(request_line("1") * 5_000)
    with Listener(answer) as url:
        ran = real_desk().run("files", "upload", file, "--server", url)
    assert (ran.code, ran.out) == (0, "file-batch-1\n")
    assert file.read_bytes() in got[0]
    assert got[0].endswith(b"--\r\n")


def test_a_form_without_a_length_is_sent_in_chunks_over_a_socket() -> None:
    got: list[str | None] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        got.append(handler.headers["transfer-encoding"])
        while (size := int(handler.rfile.readline(), 16)) > 0:
            handler.rfile.read(size + 2)
        handler.rfile.readline()
        send(handler, 200, json.dumps({"id": "file-batch-1"}).encode())

    with Listener(answer) as url:
        ran = real_desk().run("files", "upload", "-", "--server", url, stdin=request_line("1"))
    assert (ran.code, ran.out, got) == (0, "file-batch-1\n", ["chunked"])


def test_a_refusal_in_the_middle_of_an_upload_is_heard(tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        message = {"error": {"message": "File is too large."}}
        handler.close_connection = True
        send(handler, 400, json.dumps(message).encode())
        while handler.rfile.read1(65536):
            pass

    file = tmp_path / "in.jsonl"
    file.write_bytes(b"x" * 4_000_000)
    with Listener(answer) as url:
        ran = real_desk().run("files", "upload", file, "--server", url)
    assert (ran.code, ran.err) == (2, "batchmill: File is too large.\n")


def test_a_download_that_is_cut_short_leaves_no_file(tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        send(handler, 200, b"{}\n", length=1000)

    with Listener(answer) as url:
        args = ("files", "download", "f", "-o", tmp_path / "out", "--server", url)
        ran = real_desk().run(*args)
    assert ran.code == 2
    assert "broke before the answer was whole" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_port_without_a_server_cannot_be_reached() -> None:
    with Listener(lambda _: None) as url:
        pass
    ran = real_desk().run("list", "--server", url)
    assert ran.code == 2
    assert ran.err == (
        f"batchmill: Cannot reach {url}: is it running? Start it with `batchmill serve`.\n"
    )


def test_a_proxy_is_not_asked_for_a_server_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, b'{"object":"list","data":[],"has_more":false}')

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with Listener(answer) as url:
        assert real_desk().run("list", "--server", url).code == 0


def real_desk() -> Desk:
    class Plugged(Desk):
        def world(self) -> World:
            return World(stdout=lambda: None, stderr=lambda: None)

    return Plugged()


def test_unreachable_carries_no_cause_that_would_print_a_traceback() -> None:
    server = FakeServer()

    def fail(_: httpx2.Request) -> httpx2.Response | None:
        raise httpx2.ConnectError("x")

    server.troubles = [fail]
    with open_api(Server(URL), Wire(server)) as api, pytest.raises(Unreachable) as caught:
        api.get("/batches")
    assert caught.value.__suppress_context__


def test_a_server_starts_where_the_client_verbs_variables_are_set() -> None:
    env = {SERVER_VARIABLE: URL, KEY_VARIABLE: SECRET}
    origins = load_settings(file=None, env=env, flags={}).origins
    assert set(origins.values()) == {"default"}
