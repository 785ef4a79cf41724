"""HTTP/1.1 from the server's side: requests in, answers out, and ways to misbehave.

Knows no endpoint and no script. One request of a connection is served at a
time; what a client sends ahead waits its turn.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

PIECE = b"x" * 65536
_AUTHORIZATION = b"authorization"
_IDEMPOTENCY_KEY = b"idempotency-key"
_KEPT = frozenset({_AUTHORIZATION, _IDEMPOTENCY_KEY})
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """A whole request; header values that are absent are None."""

    method: str
    url: str
    body: bytes
    authorization: str | None
    idempotency_key: str | None


def make_head(status: int, length: int, fields: str = "") -> bytes:
    """A response head; ``fields`` are further header lines, each with its line end."""
    return (
        f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\nContent-Type: application/json\r\n"
        f"{fields}Content-Length: {length}\r\n\r\n"
    ).encode("ascii")


class ServerConnection(asyncio.Protocol):
    """One client's connection.

    ``on_request`` gets each request in turn and sees to it that exactly one of
    ``answer``, ``cut``, ``pour`` and ``drop`` follows, now or later; ``on_lost``
    is told of the end, at any time.
    """

    __slots__ = (
        "_can_write",
        "_fields",
        "_is_busy",
        "_on_lost",
        "_on_request",
        "_parser",
        "_parts",
        "_to_pour",
        "_transport",
        "_url",
        "_waiting",
        "answered",
        "visit",
    )
    _transport: asyncio.Transport

    def __init__(
        self,
        *,
        on_request: Callable[["ServerConnection", Request], None],
        on_lost: Callable[["ServerConnection"], None],
    ) -> None:
        self._on_request = on_request
        self._on_lost = on_lost
        self._parser = HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._is_busy = False
        self._can_write = True
        self._to_pour = 0
        self.answered = 0
        self.visit: object | None = None
        self._start()

    def answer(self, status: int, body: bytes, fields: str = "") -> None:
        """Send a whole answer, and turn to the next request."""
        self._transport.write(make_head(status, len(body), fields) + body)
        self._turn_to_next()

    def cut(self, body: bytes) -> None:
        """Send an answer up to the middle of its body, and close."""
        self._transport.write(make_head(200, len(body)) + body[: len(body) // 2])
        self._transport.close()

    def pour(self, length: int) -> None:
        """Send a JSON string of ``length`` bytes as fast as the client takes them."""
        self._transport.write(make_head(200, length) + b'"')
        self._to_pour = length - 2
        self._pour_on()

    def drop(self) -> None:
        """Close at once, without a word."""
        self._transport.abort()

    def close_politely(self) -> None:
        """Close after what was written has been sent."""
        self._transport.close()

    def _pour_on(self) -> None:
        while self._can_write and self._to_pour > 0:
            piece = PIECE[: self._to_pour]
            self._to_pour -= len(piece)
            if self._to_pour == 0:
                self._transport.write(piece + b'"')
                self._turn_to_next()
            else:
                self._transport.write(piece)

    def _turn_to_next(self) -> None:
        self.answered += 1
        self._is_busy = False
        if self._waiting:
            # Not at once: a long row of requests sent ahead would nest as deep.
            self._is_busy = True
            asyncio.get_running_loop().call_soon(self._serve_waiting)

    def _serve_waiting(self) -> None:
        if self._waiting:
            self._on_request(self, self._waiting.popleft())

    def _start(self) -> None:
        self._url = b""
        self._parts: list[bytes] = []
        self._fields: dict[bytes, str] = {}

    # --- Called by the parser. ---

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the two fields that matter."""
        name = name.lower()
        if name in _KEPT:
            self._fields[name] = value.decode("latin-1")
        elif name == b"expect":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._parts.append(data)

    def on_message_complete(self) -> None:
        """A request is whole: serve it, or let it wait."""
        request = Request(
            method=self._parser.get_method().decode("ascii"),
            url=self._url.decode("latin-1"),
            body=b"".join(self._parts),
            authorization=self._fields.get(_AUTHORIZATION),
            idempotency_key=self._fields.get(_IDEMPOTENCY_KEY),
        )
        self._start()
        if self._is_busy:
            self._waiting.append(request)
        else:
            self._is_busy = True
            self._on_request(self, request)

    # --- Called by the event loop. ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what is no HTTP gets a 400."""
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._transport.write(make_head(400, 0, "Connection: close\r\n"))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client has gone, or we have closed."""
        self._to_pour = 0
        self._waiting.clear()
        self._on_lost(self)

    def pause_writing(self) -> None:
        """The client is slow."""
        self._can_write = False

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._can_write = True
        self._pour_on()
