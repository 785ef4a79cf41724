"""The road to the S3 server of the tests, with whatever may happen on it.

Every request is noted. Rules say what becomes of those that they match: refused
with a status, held until they are let go, cut off unread, or carried out while
the answer is lost on the way back. The road may be one over TLS.
"""

import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from bucket_server import server_url

Matches = Callable[[str, str], bool]


@dataclass
class Rule:
    """``status`` refuses, 0 loses the answer; ``gate`` holds, before anything else.

    ``cuts`` ends the connection and passes nothing on.
    """

    matches: Matches
    times: int
    status: int | None = None
    cuts: bool = False
    gate: threading.Event | None = None
    strips: str | None = None
    met: threading.Event = field(default_factory=threading.Event)
    count: int = 0
    _meetings: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def meet(self) -> None:
        self.count += 1
        self.met.set()
        self._meetings.release()

    def wait_for(self, meetings: int) -> None:
        """Return when so many more requests have met this rule."""
        for _ in range(meetings):
            self._meetings.acquire()


def writes(method: str, path: str) -> bool:
    return method == "PUT"


def everything(method: str, path: str) -> bool:
    return True


class Road:
    """A server that passes requests on; its rules may be changed at any time."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.rules: list[Rule] = []
        self.seen: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Passing", (_Passing,), {"road": self})
        )
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"

    def refuse(self, matches: Matches, *, times: int = 10**9, status: int = 503) -> Rule:
        return self._add(Rule(matches, times, status))

    def lose_answers(self, matches: Matches, *, times: int = 1) -> Rule:
        return self._add(Rule(matches, times, 0))

    def hold(self, matches: Matches, *, times: int = 10**9) -> Rule:
        return self._add(Rule(matches, times, gate=threading.Event()))

    def cut(self, matches: Matches, *, times: int = 10**9) -> Rule:
        return self._add(Rule(matches, times, cuts=True))

    def strip(self, matches: Matches, header: str) -> Rule:
        return self._add(Rule(matches, 10**9, strips=header))

    def clear(self) -> None:
        """Nothing happens any more; what is held goes on."""
        with self._lock:
            rules, self.rules = self.rules, []
        for rule in rules:
            if rule.gate is not None:
                rule.gate.set()

    def close(self) -> None:
        self.clear()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _add(self, rule: Rule) -> Rule:
        with self._lock:
            self.rules.append(rule)
        return rule

    def due(self, method: str, path: str) -> Rule | None:
        with self._lock:
            self.seen.append((method, path))
            for rule in self.rules:
                if rule.count < rule.times and rule.matches(method, path):
                    rule.meet()
                    return rule
        return None


class _Passing(BaseHTTPRequestHandler):
    """Passes one request after the other of a connection on."""

    protocol_version = "HTTP/1.1"
    road: Road

    def log_message(self, *_args: object) -> None:
        return

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        rule = self.road.due(self.command, self.path)
        if rule is not None and rule.gate is not None:
            rule.gate.wait()
        if rule is not None and rule.cuts:
            self.close_connection = True
            return
        if rule is not None and rule.status:
            self._answer(rule.status, {}, b"<Error><Code>SlowDown</Code></Error>")
            return
        strips = rule.strips if rule is not None else None
        kept = {name: value for name, value in self.headers.items() if name.lower() != strips}
        answer = _ask(self.command, self.path, kept, body)
        if rule is not None and rule.status == 0:
            self.close_connection = True
        else:
            self._answer(*answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        is_head = self.command == "HEAD"
        length = headers.get("content-length", "0") if is_head else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if not is_head:
            with suppress(ConnectionError):  # whoever asked has left
                self.wfile.write(body)


def _ask(
    method: str, path: str, headers: dict[str, str], body: bytes
) -> tuple[int, dict[str, str], bytes]:
    address = urlsplit(server_url()).netloc
    connection = http.client.HTTPConnection(address)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, named, answer.read()
    finally:
        connection.close()


@contextmanager
def open_road(tls: ssl.SSLContext | None = None) -> Iterator[Road]:
    road = Road(tls)
    try:
        yield road
    finally:
        road.close()
