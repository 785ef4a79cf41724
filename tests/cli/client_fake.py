"""A server, a clock and two terminals for the client verbs, all in the test's hands.

The server keeps files and batches in dictionaries and notes what it was asked.
A batch goes through the states that a test gives it, one a look.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httpx2
import typer
from rich.console import Console
from typer.testing import CliRunner

from batchmill.cli.client_session import World
from batchmill.cli.client_verbs import register

CHAT = "/v1/chat/completions"
BATCH_ID = "batch_1"
URL = "http://127.0.0.1:8080/v1"
NOON = 1_760_000_000

State = dict[str, Any]
Trouble = Callable[[httpx2.Request], httpx2.Response | None]


def request_line(custom_id: str, url: str = CHAT) -> str:
    body = {"model": "m", "messages": []}
    line = {"custom_id": custom_id, "method": "POST", "url": url, "body": body}
    return json.dumps(line) + "\n"


def result_lines(*custom_ids: str) -> bytes:
    return b"".join(json.dumps({"custom_id": one}).encode() + b"\n" for one in custom_ids)


def state(status: str, done: int = 0, failed: int = 0, total: int = 0, **more: Any) -> State:
    counts = {"total": total, "completed": done, "failed": failed}
    return {"status": status, "request_counts": counts, **more}


def a_batch(batch_id: str, **more: Any) -> dict[str, Any]:
    return {
        "id": batch_id,
        "object": "batch",
        "endpoint": CHAT,
        "errors": None,
        "input_file_id": "file-batch-1",
        "completion_window": "24h",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": NOON,
        "completed_at": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
        "metadata": None,
        **more,
    }


def fault(status: int, message: str, **headers: str) -> httpx2.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, json={"error": error}, headers=names)


def refuse_connection(request: httpx2.Request) -> httpx2.Response | None:
    raise httpx2.ConnectError("refused", request=request)


def cut_off(request: httpx2.Request) -> httpx2.Response | None:
    raise httpx2.ReadError("reset", request=request)


@dataclass
class FakeServer:
    """The server. ``troubles`` come first, each instead of an answer (or, if None, before one)."""

    states: list[State] = field(default_factory=lambda: [state("completed", 2, total=2)])
    files: dict[str, bytes] = field(default_factory=dict)
    batches: list[dict[str, Any]] = field(default_factory=list)
    pages: dict[str, list[tuple[bytes, bool]]] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    asked: list[httpx2.Request] = field(default_factory=list)
    forms: list[bytes] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        if self.troubles and (answer := self.troubles.pop(0)(request)) is not None:
            return answer
        parts = [unquote(part) for part in request.url.raw_path.decode().split("?")[0].split("/")]
        match request.method, parts[2:]:
            case "POST", ["files"]:
                return self.take_file(request)
            case "POST", ["batches"]:
                return self.create(json.loads(request.read()))
            case "GET", ["batches"]:
                return self.list_of(self.batches, request)
            case "GET", ["files"]:
                return self.list_of([self.file(name) for name in self.files], request)
            case _, ["batches", batch_id, *rest]:
                return self.on_batch(request, batch_id, rest)
            case _, ["files", file_id, *rest]:
                return self.on_file(request, file_id, rest)
        return httpx2.Response(404, text="<html>not here</html>")

    def take_file(self, request: httpx2.Request) -> httpx2.Response:
        form = b""
        assert isinstance(request.stream, httpx2.SyncByteStream)
        for chunk in request.stream:
            self.chunks.append(len(chunk))
            form += chunk
        self.forms.append(form)
        file_id = f"file-batch-{len(self.forms)}"
        content = form.split(b"\r\n\r\n", 2)[2].rsplit(b"\r\n--", 1)[0]
        self.files[file_id] = content
        return httpx2.Response(200, json=self.file(file_id))

    def file(self, file_id: str) -> dict[str, Any]:
        return {
            "id": file_id,
            "object": "file",
            "bytes": len(self.files[file_id]),
            "created_at": NOON,
            "expires_at": None,
            "filename": "in.jsonl",
            "purpose": "batch",
        }

    def create(self, body: dict[str, Any]) -> httpx2.Response:
        self.created.append(body)
        more = {name: body[name] for name in ("endpoint", "completion_window", "metadata")}
        return httpx2.Response(200, json=a_batch(BATCH_ID, **state("validating"), **more))

    def on_batch(self, request: httpx2.Request, batch_id: str, rest: list[str]) -> httpx2.Response:
        if batch_id != BATCH_ID:
            return fault(404, f"No batch found with id '{batch_id}'.")
        if rest == ["results"]:
            return self.results(request)
        if rest == ["cancel"]:
            return httpx2.Response(200, json=a_batch(batch_id, **state("cancelling", 1, total=9)))
        now = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return httpx2.Response(200, json=a_batch(batch_id, **now))

    def results(self, request: httpx2.Request) -> httpx2.Response:
        pages = self.pages[request.url.params["status"]]
        at = int(request.url.params.get("after", "0"))
        body, has_more = pages[at]
        headers = {"x-next-after": str(at + 1), "x-has-more": "true" if has_more else "false"}
        return httpx2.Response(200, content=body, headers=headers)

    def on_file(self, request: httpx2.Request, file_id: str, rest: list[str]) -> httpx2.Response:
        if file_id not in self.files:
            return fault(404, f"No such File object: {file_id}")
        if rest == ["content"]:
            return httpx2.Response(200, content=self.files[file_id])
        if request.method == "DELETE":
            del self.files[file_id]
            return httpx2.Response(200, json={"id": file_id, "object": "file", "deleted": True})
        return httpx2.Response(200, json=self.file(file_id))

    def list_of(self, items: Sequence[dict[str, Any]], request: httpx2.Request) -> httpx2.Response:
        params = request.url.params
        after = params.get("after")
        begin = next((at + 1 for at, one in enumerate(items) if one["id"] == after), 0)
        found = items[begin : begin + int(params["limit"])]
        has_more = begin + len(found) < len(items)
        return httpx2.Response(200, json={"object": "list", "data": found, "has_more": has_more})


class Wire(httpx2.BaseTransport):
    """A transport that leaves the bodies of requests unread for the server."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._server.handle(request)


@dataclass
class Ran:
    """What a verb did."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Desk:
    """A person's place: runs verbs against a server. ``naps`` are the pauses that were made."""

    server: FakeServer = field(default_factory=FakeServer)
    naps: list[float] = field(default_factory=list)
    on_nap: Callable[[int], None] = lambda _: None
    screen: io.StringIO | None = None
    error_screen: io.StringIO | None = None

    def run(self, *args: object, stdin: str | bytes | None = None, **env: str) -> Ran:
        app = typer.Typer()
        register(app, self.world())
        names = {"BATCHMILL_SERVER_URL": None, "BATCHMILL_API_KEY": None, **env}
        result = CliRunner(env=names).invoke(app, [str(arg) for arg in args], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    def world(self) -> World:
        return World(
            now=lambda: sum(self.naps),
            sleep=self._nap,
            new_key=lambda: "key-1",
            transport=Wire(self.server),
            stdout=lambda: _console(self.screen),
            stderr=lambda: _console(self.error_screen),
        )

    def _nap(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.on_nap(len(self.naps))


def _console(screen: io.StringIO | None) -> Console | None:
    if screen is None:
        return None
    return Console(file=screen, width=100, force_terminal=True, color_system=None)
