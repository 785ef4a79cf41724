"""The scripted upstream itself: endpoints, faults, the gate, and what tests can wait for.

A request to a model endpoint is a visit: it is counted, refused or let in, works
for its latency in a slot, waits at the gate while that is shut, and is answered
or spoiled. Refusals at the door never wait.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

import msgspec

from batchmill.upstream.mock import answers
from batchmill.upstream.mock.refusals import Refusal, check_ask, check_key
from batchmill.upstream.mock.script import Dice, Fate, Fault, Script, Tokenizes
from batchmill.upstream.mock.slots import Admission, Slots
from batchmill.upstream.mock.stats import Stats
from batchmill.upstream.mock.wire import Request, ServerConnection

BACKLOG = 4096
PAGES = ("/v1/models", "/tokenize", "/stats", "/reset", "/health")


@dataclass(slots=True, eq=False)
class Visit:
    """A request to a model endpoint, from its arrival to its answer."""

    connection: ServerConnection
    path: str
    ask: answers.Ask
    body: bytes
    fate: Fate
    timer: asyncio.TimerHandle | None = field(default=None)


class MockUpstream:
    """An OpenAI-compatible server that behaves as its script says.

    ``script`` may be replaced at any time; requests that have come already keep
    the fate that they drew.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.stats = Stats()
        self._connections: set[ServerConnection] = set()
        self._held: list[Visit] | None = None
        self._watchers: list[tuple[Callable[[Stats], bool], asyncio.Future[None]]] = []
        self._server: asyncio.Server | None = None
        self._slots: Slots[Visit] = Slots(None, None)
        self.tokenized = 0
        self.script = script or Script()

    @property
    def script(self) -> Script:
        """How the server behaves from now on."""
        return self._script

    @script.setter
    def script(self, script: Script) -> None:
        self._script = script
        self._dice = Dice(script)
        self._slots.slots, self._slots.queue = script.slots, script.queue
        self._promote()

    @property
    def hits(self) -> dict[str, int]:
        """How often each Idempotency-Key was sent."""
        return self.stats.hits

    @property
    def url(self) -> str:
        """The base URL for clients, ``/v1`` included; raises RuntimeError before ``start``."""
        if self._server is None:
            raise RuntimeError("The scripted upstream is not started: await start() first.")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen, and return ``url``; port 0 takes any free one. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._welcome, host, port, backlog=BACKLOG)
        return self.url

    async def stop(self) -> None:
        """Stop listening and drop every connection. The server can be started again."""
        if self._server is None:
            return
        self._server.close()
        for connection in tuple(self._connections):
            connection.drop()
        await self.wait_until(lambda _: not self._connections)
        await self._server.wait_closed()
        self._server = None

    def hold(self) -> None:
        """Shut the gate: requests are let in and counted, and their answers wait."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """Open the gate, and send the answers that wait at it."""
        held, self._held = self._held or [], None
        self.stats.held = 0
        for visit in held:
            self._deliver(visit)

    async def wait_until(self, holds: Callable[[Stats], bool]) -> None:
        """Return as soon as ``holds`` is true of the counts."""
        if holds(self.stats):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.append((holds, future))
        await future

    async def wait_for_hits(self, count: int) -> None:
        """Return when at least ``count`` requests to model endpoints have come."""
        await self.wait_until(lambda stats: stats.requests >= count)

    # --- Connections. ---

    def _welcome(self) -> ServerConnection:
        connection = ServerConnection(on_request=self._serve, on_lost=self._part)
        self._connections.add(connection)
        self.stats.connections += 1
        return connection

    def _part(self, connection: ServerConnection) -> None:
        self._connections.discard(connection)
        visit = connection.visit
        if isinstance(visit, Visit):
            self._abort(visit)
        self._notify()

    def _abort(self, visit: Visit) -> None:
        if visit.timer is not None:
            visit.timer.cancel()
        if self._held is not None and visit in self._held:
            self._held.remove(visit)
            self.stats.held -= 1
        self.stats.aborted += 1
        self._leave(visit)

    def _notify(self) -> None:
        for watcher in tuple(self._watchers):
            holds, future = watcher
            if future.done() or holds(self.stats):
                self._watchers.remove(watcher)
                if not future.done():
                    future.set_result(None)

    # --- Requests. ---

    def _serve(self, connection: ServerConnection, request: Request) -> None:
        path, _, query = request.url.partition("?")
        if path in answers.ENDPOINTS and request.method == "POST":
            self._visit(connection, path, request)
            return
        status, body = self._serve_page(request, path, query)
        self._reply(connection, status, body)

    def _serve_page(self, request: Request, path: str, query: str) -> tuple[int, bytes]:
        match request.method, path:
            case "GET", "/v1/models":
                refusal = check_key(self._script, request.authorization)
                if refusal is None:
                    return 200, answers.models_body(self._script.models, int(time.time()))
                return refusal.status, refusal.render()
            case "POST", "/tokenize" if self._script.tokenizes is not Tokenizes.NOT:
                return self._tokenize(request)
            case "GET", "/stats":
                return 200, msgspec.json.encode(
                    self.stats.to_json(lines="lines=false" not in query)
                )
            case "POST", "/reset":
                self.stats.clear()
                return 200, b"{}"
            case "GET", "/health":
                return 200, b'{"status":"ok"}'
            case "POST", "/tokenize":
                pass
            case _, path if path in answers.ENDPOINTS or path in PAGES:
                return 405, Refusal(405, "This method is not allowed here.").render()
        return 404, Refusal(404, "There is nothing at this URL.", "unknown_url").render()

    def _tokenize(self, request: Request) -> tuple[int, bytes]:
        self.tokenized += 1
        refusal = check_key(self._script, request.authorization)
        ask = answers.read_ask(request.body)
        if refusal is not None or ask is None:
            refusal = refusal or Refusal(400, "The body is not that of a request.")
            return refusal.status, refusal.render()
        if self._script.tokenizes is Tokenizes.LLAMA_CPP:
            count = answers.count_words(answers.Ask(content=ask.content))
            return 200, msgspec.json.encode({"tokens": list(range(count))})
        count = answers.count_words(msgspec.structs.replace(ask, content=None))
        return 200, msgspec.json.encode({"count": count, "max_model_len": 32_768})

    def _visit(self, connection: ServerConnection, path: str, request: Request) -> None:
        self.stats.enter()
        fate = self._dice.draw(*self._count(request))
        ask = answers.read_ask(request.body)
        refusal = check_key(self._script, request.authorization)
        refusal = refusal or check_ask(self._script, path, ask)
        visit = Visit(connection, path, ask or answers.Ask(), request.body, fate)
        connection.visit = visit
        if refusal is not None:
            self._conclude(visit, refusal.status, refusal.render())
        else:
            self._let_in(visit)
        if self._watchers:
            self._notify()

    def _let_in(self, visit: Visit) -> None:
        fault = visit.fate.fault
        if fault is not None:
            self.stats.faults[fault] += 1
        if fault is Fault.RATE_LIMITED:
            self._limit(visit)
        elif fault is Fault.SERVER_ERROR:
            self._break(visit)
        elif fault is not Fault.HANG:
            self._admit(visit)

    def _count(self, request: Request) -> tuple[bytes, int]:
        if not self._script.count_lines:
            return b"", 0
        digest = blake2b(request.body, digest_size=16).digest()
        return digest, self.stats.count_line(request.idempotency_key, digest.hex())

    # --- Work: slots, latency, the gate. ---

    def _admit(self, visit: Visit) -> None:
        admission = self._slots.enter(visit)
        if admission is Admission.WORKING:
            self._work(visit)
        elif admission is Admission.REFUSED:
            self._limit(visit)

    def _work(self, visit: Visit) -> None:
        if visit.connection.visit is not visit:
            return
        if visit.fate.latency > 0:
            loop = asyncio.get_running_loop()
            visit.timer = loop.call_later(visit.fate.latency, self._finish, visit)
        else:
            self._finish(visit)

    def _finish(self, visit: Visit) -> None:
        if self._held is None:
            self._deliver(visit)
            return
        self._held.append(visit)
        self.stats.held += 1
        self._notify()

    def _leave(self, visit: Visit) -> None:
        visit.connection.visit = None
        self.stats.in_flight -= 1
        self._slots.leave(visit)
        self._promote()

    def _promote(self) -> None:
        for visit in self._slots.promote():
            # Not at once: a long queue without latency would nest as deep.
            asyncio.get_running_loop().call_soon(self._work, visit)

    # --- Answers. ---

    def _deliver(self, visit: Visit) -> None:
        fault = visit.fate.fault
        whole = answers.answer(visit.path, visit.ask, visit.body, int(time.time()))
        if fault is None:
            self._conclude(visit, 200, whole)
            return
        if fault in _SPOILED:
            self._conclude(visit, 200, _SPOILED[fault](whole))
        else:
            self._misbehave(visit, fault, whole)

    def _misbehave(self, visit: Visit, fault: Fault, whole: bytes) -> None:
        connection = visit.connection
        self._leave(visit)
        if fault is Fault.OVERSIZED:
            connection.pour(self._script.oversized_bytes)
        elif fault is Fault.CUT:
            connection.cut(whole)
        else:
            connection.drop()
        self._notify()

    def _break(self, visit: Visit) -> None:
        message = "The scripted upstream fails this request."
        body = answers.error_body(message, code=None, kind="server_error")
        self._conclude(visit, self._script.status_5xx, body)

    def _limit(self, visit: Visit) -> None:
        wait = self._script.retry_after
        fields = "" if wait is None else f"Retry-After: {wait:g}\r\n"
        message = "Rate limit reached: try again later."
        body = answers.error_body(message, code="rate_limit_exceeded", kind="rate_limit_error")
        self._conclude(visit, 429, body, fields)

    def _conclude(self, visit: Visit, status: int, body: bytes, fields: str = "") -> None:
        self._leave(visit)
        self._reply(visit.connection, status, body, fields)
        self.stats.answered += 1
        self.stats.statuses[status] += 1
        if self._watchers:
            self._notify()

    def _reply(
        self, connection: ServerConnection, status: int, body: bytes, fields: str = ""
    ) -> None:
        connection.answer(status, body, fields)
        after = self._script.close_after
        if after is None or connection.answered < after:
            return
        if self._script.close_delay > 0:
            loop = asyncio.get_running_loop()
            loop.call_later(self._script.close_delay, connection.close_politely)
        else:
            connection.close_politely()


_SPOILED: dict[Fault, Callable[[bytes], bytes]] = {
    Fault.ERROR_BODY: lambda _: answers.error_body(
        "The engine is not well.", code="engine_error", kind="server_error"
    ),
    Fault.NOT_JSON: lambda _: b"<html><body>Bad gateway, politely.</body></html>",
    Fault.CUT_JSON: lambda whole: whole[: len(whole) // 2],
    Fault.BAD_UTF8: lambda whole: whole[:-1] + b',"note":"\xff\xfe"}',
}


async def serve_mock(script: Script, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM; the URL is printed. Raises OSError."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    upstream = MockUpstream(script)
    url = await upstream.start(host, port)
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    try:
        await ended.wait()
    finally:
        await upstream.stop()
